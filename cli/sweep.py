"""`skelanon sweep`: a trade-off curve: anonymizers that differ in one setting, trained, exported and audited."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .audit import run_audit
from .extras import needing_train
from .train import train_shown

if TYPE_CHECKING:
    from skelanon.configs.training import AdversarialRun, EnsembleRun, TokensRun

    Run = AdversarialRun | EnsembleRun | TokensRun


def sweep(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a run, of an anonymizer.")],
    values: Annotated[str, typer.Argument(metavar="KEY=A,B,...", help="The setting, and its values.")],
    out: Annotated[Path, typer.Option(help="Folder for runs, bundles and the report.")],
    releases: Annotated[
        list[str] | None, typer.Option("--with", help="Audit this too: `template`, `noise=0.05`, a bundle.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of all runs.")
    ] = None,
    axes: Annotated[Literal["camera", "normalised"], typer.Option(help="Axes of what is published.")] = "normalised",
    profile: Annotated[str, typer.Option(help="How hard attackers try: quick, or full.")] = "quick",
    audit_config: Annotated[Path | None, typer.Option(help="YAML file of what is to be told.")] = None,
    audit_overrides: Annotated[
        list[str] | None, typer.Option("--set-audit", metavar="KEY=VALUE", help="Change a setting of the audit.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Attacking processes; one for each core.")] = None,
) -> None:
    """Train an anonymizer once for each value of a setting, and audit all of them side by side.

    Stopped at any point, the same command goes on there. The report's trade-off plot is the curve.
    """
    runs = _runs(config, values, overrides or [], out)
    with needing_train():
        from skelanon.train.build import build_trained
    bundles = []
    for name, run in runs.items():
        train_shown(run)
        bundle = out / "bundles" / f"{name}.onnx"
        if not bundle.exists():
            bundle.parent.mkdir(parents=True, exist_ok=True)
            build_trained(run.out, bundle, axes)
        bundles.append(str(bundle))
    data = Path(next(iter(runs.values())).data.folder)
    run_audit(data, [*bundles, *(releases or [])], out, profile, audit_config, audit_overrides or [], workers)


def _runs(config: str, values: str, overrides: list[str], out: Path) -> "dict[str, Run]":
    """By name the run of each value, all checked before the first begins."""
    from skelanon.configs.training import AdversarialRun, EnsembleRun, TokensRun
    from skelanon.configs.training_loader import load_training_run

    key, _, several = values.partition("=")
    each = [value.strip() for value in several.split(",")]
    if not key or not all(each) or len(set(each)) < len(each):
        raise typer.BadParameter(f"{values!r}: give KEY=A,B,..., each value once")
    if key in ("out", "task") or key.startswith("data."):
        raise typer.BadParameter(f"`{key}` cannot be swept: all runs must be anonymizers of the same data")
    runs: dict[str, Run] = {}
    for value in each:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{key}-{value}")
        run = load_training_run(config, [*overrides, f"{key}={value}", f"out={out / 'runs' / name}"])
        if not isinstance(run, AdversarialRun | EnsembleRun | TokensRun):
            raise typer.BadParameter(f"{config} is a run of `task: {run.task}`, not of an anonymizer")
        if run.trainer.devices > 1:
            raise typer.BadParameter(f"`trainer.devices` is {run.trainer.devices}: a sweep trains in one process")
        runs[name] = run
    return runs
