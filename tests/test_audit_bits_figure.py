"""The curve over bits: drawn from an audit's own words, and only where it has any."""

import json
from pathlib import Path

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
