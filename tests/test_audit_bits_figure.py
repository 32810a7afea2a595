"""The curve over bits: drawn from an audit's own words, and only where it has any."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("jinja2", reason="needs skelanon[train]")

from made_up_audit import SCORES, TRIALS, USEFUL, an_audit
from matplotlib.image import imread
from typer.testing import CliRunner

from skelanon.audit.errors import AuditError
from skelanon.audit.report import write_report
from skelanon.audit.results import Audit
from skelanon.cli.main import app

BITS = {"runs/residual/model.onnx": 0.5, "noise=0.05": 0.125}  # made up: neither says so


def test_releases_with_bits_are_points_and_the_others_lines(tmp_path: Path) -> None:
    write_report(an_audit(bits_per_frame=BITS), tmp_path)
    out = tmp_path / "bits.png"
    done = CliRunner().invoke(app, ["figure", "bits", str(tmp_path / "audit.json"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "not what a clip does" in done.output
    numbers = json.loads(out.with_suffix(".json").read_bytes())
    told = {(one["release"], one["task"]): (one["bits_per_frame"], one["told"]) for one in numbers["points"]}
    for release, scores in SCORES.items():
        for task in (TRIALS, USEFUL):
            assert told[release, task] == (BITS.get(release), scores[task])
    assert [(one["release"], one["score"]) for one in numbers["floors"]] == [(release, 0.27) for release in SCORES]
    with_bits = imread(out)
    write_report(an_audit(bits_per_frame={"noise=0.05": 0.125}), tmp_path)
    CliRunner().invoke(app, ["figure", "bits", str(tmp_path / "audit.json"), "--out", str(out)])
    assert imread(out).shape == with_bits.shape
    assert (imread(out) != with_bits).any()


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        (an_audit(), "no release says how many bits"),
        (replace(an_audit(bits_per_frame=BITS), failed=("nobody converged",)), "failed and says nothing: nobody"),
    ],
)
def test_what_cannot_be_drawn_is_said(audit: Audit, words: str, tmp_path: Path) -> None:
    write_report(audit, tmp_path)
    done = CliRunner().invoke(app, ["figure", "bits", str(tmp_path / "audit.json"), "--out", str(tmp_path / "b.png")])
    assert isinstance(done.exception, AuditError)
    assert words in str(done.exception)
    assert not (tmp_path / "b.png").exists()


def test_audits_of_the_same_attackers_stand_side_by_side(tmp_path: Path) -> None:
    """What is in both comes from the first; settings that no finding depends on may differ."""
    whole = an_audit(bits_per_frame=BITS)
    one, other = "noise=0.05", "runs/residual/model.onnx"
    first = without(other, whole)
    second = without(one, replace(whole, settings={**whole.settings, "data": "elsewhere", "inversion": False}))
    second = replace(
        second, findings=tuple(replace(f, score=0.5) if f.release == "raw" else f for f in second.findings)
    )
    done = drawn(tmp_path, first, second)
    assert done.exit_code == 0, done.output
    numbers = json.loads((tmp_path / "bits.json").read_bytes())
    told = {(point["release"], point["task"]): point["told"] for point in numbers["points"]}
    assert told == {(release, task): score for release, scores in SCORES.items() for task, score in scores.items()}
    assert len(numbers["points"]) == len(told)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fingerprint": "6f" * 32}, "another set"),
        ({"settings": {"frames": 7}}, "other attackers"),
        ({"releases": {"raw": "0" * 64, "template": "f" * 64}}, "template is another release"),
        ({"failed": ("nobody converged",)}, "failed and says nothing"),
    ],
)
def test_audits_that_cannot_be_compared_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    first = an_audit(bits_per_frame=BITS)
    done = drawn(tmp_path, first, replace(first, **changes))
    assert isinstance(done.exception, AuditError)
    assert words in str(done.exception)
    assert not (tmp_path / "bits.png").exists()


def without(release: str, audit: Audit) -> Audit:
    return replace(
        audit,
        releases={name: one for name, one in audit.releases.items() if name != release},
        findings=tuple(one for one in audit.findings if one.release != release),
        bits_per_frame={name: one for name, one in audit.bits_per_frame.items() if name != release},
    )


def drawn(tmp_path: Path, *audits: Audit) -> Any:
    files = [tmp_path / f"{number}.json" for number in range(len(audits))]
    for file, audit in zip(files, audits, strict=True):
        file.write_bytes(msgspec.json.encode(audit))
    return CliRunner().invoke(app, ["figure", "bits", *map(str, files), "--out", str(tmp_path / "bits.png")])
