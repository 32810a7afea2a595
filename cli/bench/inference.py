"""`skelanon bench-inference`: what one call of a bundle costs on one core, beside the same arithmetic by hand."""

from pathlib import Path
from typing import Annotated

import typer

from skelanon.cli.extras import needing_train


def bench_inference(
    bundles: Annotated[
        list[str] | None, typer.Option("--bundle", help="Bundle file, or `default`; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this file, as JSON.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds instead of a minute; too short to be quoted.")
    ] = False,
) -> None:
    """Time single calls of bundles on one core, flat out and at sensor rate. Needs the `train` extra."""
    with needing_train():
        import onnx  # noqa: F401 - reads the weights of the arithmetic by hand
        import threadpoolctl  # type: ignore[import-untyped]  # noqa: F401 - comes with scikit-learn
    from .calls import run_calls

    run_calls(bundles or ["default"], out=out, quick=quick)
