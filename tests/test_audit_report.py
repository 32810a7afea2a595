"""The audit's report: what it says, what it must never say, and whether it can be read on a desk and on a phone."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("jinja2", reason="needs skelanon[train]")

from made_up_audit import GENDER, PRIORS, SCORES, TRIALS, TRIED, USEFUL, an_audit, task

from skelanon.audit.errors import AuditError
from skelanon.audit.report import read_audit, render, summary, write_report
from skelanon.audit.report.charts import trade_offs
from skelanon.audit.report.words import percent
from skelanon.audit.results import Audit, Finding
from skelanon.audit.statistics import Interval, wilson


def words_of(page: str) -> str:
    """What is read on a page, in one line; no style, no tags."""
    text = re.sub(r"<style>.*?</style>|<title>.*?</title>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def test_audit_comes_back_from_its_file(tmp_path: Path) -> None:
    audit = an_audit()
    page = write_report(audit, tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    assert read_audit(tmp_path / "out" / "audit.json") == audit
    assert (tmp_path / "out" / "audit.json").read_bytes().startswith(b'{\n  "format": 1,')
    assert sorted(path.name for path in page.parent.iterdir()) == ["audit.json", "report.html"]


def test_lengths_that_do_not_exist_come_back_as_such_and_are_shown_as_dashes(tmp_path: Path) -> None:
    shapes = (replace(an_audit().shapes[1], rmse_m=float("nan")),)
    page = write_report(an_audit(shapes=shapes), tmp_path)
    assert np.isnan(read_audit(tmp_path / "audit.json").shapes[0].rmse_m)
    assert "nan" not in words_of(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("content", ['{"format": 2}', "[]", "{", '{"format": 1, "shapes": [3]}', '{"format": 1}'])
def test_files_that_are_no_audit_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "audit.json").write_text(content)
    with pytest.raises(AuditError, match="is no audit"):
        read_audit(tmp_path / "audit.json")


def test_missing_file_and_folder_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="cannot be read"):
        read_audit(tmp_path / "audit.json")
    (tmp_path / "file").touch()
    with pytest.raises(AuditError, match="cannot be written"):
        write_report(an_audit(), tmp_path / "file")


def test_verdict_says_who_by_what_and_how_sure() -> None:
    text = words_of(render(an_audit())).replace("\u00a0", " ")
    assert (
        "Of 429 sequences of 8 persons, the strongest of 4 attackers who learned from the published skeletons names "
        "the right person for 61 % (95 % interval 56 to 66 %). Guessing gets 13 %."
    ) in text
    assert "tells the right gender for 71 %" in text
    assert (
        "It sees whole sequences, ST-GCN. On raw skeletons: 99.5 %. Without any skeleton, by the true action and the "
        "number of frames: 27 %. Worst protected: person 8, recognised"
    ) in text
    assert "Recognizers that learned from these skeletons tell the right action for 91 %" in text


def test_raw_is_the_last_verdict_wherever_it_stands() -> None:
    verdict = render(an_audit()).split('id="verdict"')[1].split("</section>")[0]
    cards = re.findall(r'<p class="of">(.*?)</p>', verdict, re.DOTALL)
    assert ["raw</span> skeletons, for comparison" in card for card in cards] == [False, False, False, True]


def test_release_that_tells_nothing_is_not_called_safe() -> None:
    audit = an_audit(channels=(), linkage=(), inversions=())
    prior = {"told": False, "score": 0.13, "interval": wilson(0.125, TRIED)}
    quiet = [replace(one, **prior) if one.release == "runs/residual/model.onnx" else one for one in audit.findings]
    card = render(replace(audit, findings=tuple(quiet))).split("<article")[3]
    assert "No attacker here did better than guessing" in card
    assert "does not show that nobody can do better" in card
    assert not re.search(r"\b(safe|anonymous|protected)\b", words_of(card))


def test_told_side_channel_is_in_the_verdict_even_where_the_pose_tells_nothing() -> None:
    audit = an_audit(linkage=(), inversions=())
    quiet = tuple(replace(one, told=False) for one in audit.findings)
    card = render(replace(audit, findings=quiet)).split("<article")[2]
    assert "is-told" in card.split(">")[0]
    assert "Something private can be told" in card
    assert "duration" in card


@pytest.mark.parametrize(("seeds", "warned"), [((0,), True), ((0, 1), True), ((0, 1, 2), False)])
def test_few_seeds_are_mentioned(seeds: tuple[int, ...], warned: bool) -> None:
    assert ("with at least three seeds" in render(an_audit(seeds=seeds))) == warned


def test_failed_audit_claims_nothing_and_says_why() -> None:
    page = render(an_audit(failed=("identity across trials: raw skeletons are read at 0.41, below the known 0.99",)))
    text = words_of(page).replace("\u00a0", " ")
    assert "This audit says nothing about privacy" in text
    assert "raw skeletons are read at 0.41" in text
    for claim in ("names the right person", "can be recognised", "Guessing gets 13 %.", "Worst protected", "<article"):
        assert claim not in page.split('id="attackers"')[0].replace("\u00a0", " ")
    for section in ("verdict", "trade-off", "persons", "channels", "linkage", "inversion", "utility"):
        assert f'id="{section}"' not in page
        assert f'href="#{section}"' not in page
    assert "61 %" not in text.replace("61 % 90 %", ""), "a score on a release; 61 % on raw is the weak attacker's"
    assert "99.5 %" in text, "scores on raw skeletons show what went wrong"


def test_ignorant_attackers_never_stand_without_adaptive_ones() -> None:
    audit = an_audit()
    mine = {
        one.threat: one for one in audit.attacks if (one.release, one.task, one.family) == ("template", TRIALS, "tcn")
    }
    alone = tuple(one for one in audit.attacks if one != mine["adaptive"])
    rows = []
    for shown in (audit, replace(audit, attacks=alone)):
        table = render(shown).split("<h3>identity across trials</h3>")[1].split("</table>")[0]
        rows.append(next(row for row in table.split(">template<")[1].split("<tr") if ">tcn<" in row))
    assert percent(mine["ignorant"].score) in rows[0]
    assert percent(mine["ignorant"].score) not in rows[1]
    assert "adaptive not tried" in rows[1]


def test_what_recognizers_tell_who_were_not_told_of_the_release_is_beside_what_retrained_ones_tell() -> None:
    rows = render(an_audit()).split('id="utility"')[1].split("</table>")[0].split("<tr")
    shown = {name: re.findall(r"<td>([^<]*)</td>", next(row for row in rows if f">{name}<" in row)) for name in SCORES}
    frozen = {name: PRIORS[USEFUL] + 0.2 * (SCORES[name][USEFUL] - PRIORS[USEFUL]) for name in SCORES}
    for name, cells in shown.items():
        wanted = ["–"] * 2 if name == "raw" else [percent(frozen[name]), percent(frozen[name] / 7)]
        if name == "template":
            wanted[1] = "–"
        assert cells[-3:-1] == wanted


def test_attackers_that_do_not_count_say_why() -> None:
    assert re.findall("no: too weak on raw|no: not converged", render(an_audit())) == (
        ["no: too weak on raw"] * 4 + ["no: not converged"] * 12  # `frame` across trials is in `weak`, and only there
    )


def test_page_needs_nothing_else_and_no_script() -> None:
    page = render(an_audit())
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(|\bsrc=|\bon\w+=", page)
    assert set(re.findall(r'href="(.)', page)) == {"#"}
    assert set(re.findall(r'href="#(.*?)"', page)) <= set(re.findall(r'id="(.*?)"', page))


def test_sections_without_content_are_left_out() -> None:
    audit = an_audit(channels=(), linkage=(), inversions=(), shapes=(), weak=())
    private = tuple(one for one in audit.findings if one.task != USEFUL)
    tasks = tuple(record for record in audit.tasks if record.name != USEFUL)
    page = render(replace(audit, findings=private, tasks=tasks))
    for section in ("channels", "linkage", "inversion", "shape", "utility", "trade-off"):
        assert f'id="{section}"' not in page
        assert f'href="#{section}"' not in page
    assert "prove nothing" not in page
    assert 'id="persons"' in page


@pytest.mark.parametrize("hostile", ["</style><script>a()</script>", '"><img src=x onerror=a()>', "{{ 77*77 }}"])
def test_text_from_data_is_escaped(hostile: str) -> None:
    rename = {TRIALS: hostile, "template": hostile, "subject": hostile, "duration": hostile, "utd_mhad": hostile}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {rename.get(key, key): renamed(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [renamed(one) for one in value]
        return rename.get(value, value) if isinstance(value, str) else value

    page = render(msgspec.convert(renamed(msgspec.to_builtins(an_audit())), Audit))
    assert (hostile in page) == (hostile == html.escape(hostile))
    assert "<script" not in page
    assert "<img" not in page
    assert "5929" not in page
    assert page.count("</style>") == 1
    assert html.escape(hostile, quote=False) in page.replace("&#34;", '"')


def test_estimates_are_r_squared_and_have_no_confusion() -> None:
    audit = an_audit()
    height = task(GENDER, name="stature", label="height_m", classes=(), prior=0.0, prior_interval=Interval(0, 0))
    found = Finding(
        release="template", task="stature", family="tcn", score=-0.2, interval=Interval(-0.5, 0.1), told=False,
        of_persons={}, confusion=(),
    )  # fmt: skip
    page = render(replace(audit, tasks=(*audit.tasks, height), findings=(*audit.findings, found)))
    text = words_of(page).replace("\u00a0", " ")
    assert "estimates height_m with an R² of −0.20 (95 % interval −0.50 to 0.10)" in text
    chart = trade_offs(replace(audit, tasks=(*audit.tasks, height), findings=(*audit.findings, found)))
    assert [point.name for point in chart[-1].points] == ["template"]
    assert chart[-1].y.low == -0.5


def test_trade_off_puts_releases_where_their_scores_are() -> None:
    chart = trade_offs(an_audit())[0]
    by_name = {point.name: point for point in chart.points}
    assert (chart.private.name, chart.utility.name) == (TRIALS, USEFUL)
    assert sorted(by_name, key=lambda name: by_name[name].x) == ["noise=0.05", "model.onnx", "template", "raw"]
    assert sorted(by_name, key=lambda name: -by_name[name].y) == ["model.onnx", "noise=0.05", "template", "raw"]
    assert chart.prior > max(point.y for point in chart.points), "guessing lies under all"
    for point in chart.points:
        assert point.across[0] < point.x < point.across[1] + 1e-9
        assert point.along[0] > point.y > point.along[1] - 1e-9
    assert by_name["raw"].shape == "ring"
    assert len({point.shape for point in chart.points}) == len(chart.points), "not told apart by colour alone"


def test_summary_is_small_and_plain() -> None:
    found = summary(an_audit(), "runs/residual/model.onnx")
    assert json.loads(json.dumps(found)) == found
    assert len(json.dumps(found)) < 4000
    assert "runs" not in json.dumps(found), "a release's name may be a path of the machine"
    assert found["failed"] is False
    assert (found["data"], found["fingerprint"], found["sequences"]) == ("utd_mhad", "5f" * 32, 861)
    assert found["seeds"] == [0, 1, 2]
    assert found["private"][0] == {
        "task": TRIALS, "label": "subject", "measure": "accuracy", "score": 0.61, "interval": [0.56, 0.66],
        "prior": 0.125, "told": True, "attacker": "st_gcn", "attackers": 4, "tried": 429, "persons": 8,
    }  # fmt: skip
    assert [(one["task"], one["score"], one["raw_score"]) for one in found["utility"]] == [(USEFUL, 0.91, 0.95)]
    assert summary(an_audit(), "template")["channels_told"] == ["duration"]


def test_summary_of_a_failed_audit_is_refused() -> None:
    with pytest.raises(AuditError, match="says nothing of privacy"):
        summary(an_audit(failed=("too weak",)), "template")


def test_summary_of_what_was_not_audited_is_refused() -> None:
    with pytest.raises(AuditError, match="was not audited, but"):
        summary(an_audit(), "other.onnx")
    with pytest.raises(AuditError, match="no private label"):
        summary(an_audit(findings=()), "template")


MEASURE = """<!doctype html><style>body{margin:0}</style><script>
const page = %s, sizes = [[1280, 900], [375, 812]], found = [];
function measured(frame) {
  const inside = frame.contentDocument, root = inside.documentElement, overlaps = [];
  for (const chart of inside.querySelectorAll(".charts svg")) {
    const boxes = [...chart.querySelectorAll("text.label")].map(text => text.getBoundingClientRect());
    const edge = chart.getBoundingClientRect();
    boxes.forEach((a, i) => {
      if (a.left < edge.left - 1 || a.right > edge.right + 1) overlaps.push([i, i]);
      boxes.slice(0, i).forEach((b, j) => {
        if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) overlaps.push([i, j]);
      });
    });
  }
  return {width: root.clientWidth, needed: root.scrollWidth, height: root.scrollHeight, overlaps,
          labels: inside.querySelectorAll("text.label").length, words: inside.body.innerText.length};
}
for (const [width, height] of sizes) {
  const frame = document.createElement("iframe");
  Object.assign(frame, {width, height, srcdoc: page});
  frame.onload = () => {
    found.push(measured(frame));
    if (found.length == sizes.length) {
      const out = document.createElement("pre"); out.id = "found";
      out.textContent = JSON.stringify(found); document.body.append(out);
    }
  };
  addEventListener("load", () => document.body.append(frame));
}
</script><body></body>"""
"""Shows the page in frames of a desk's and a phone's width, and says what it measured there."""


@pytest.fixture(scope="session")
def browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return next(filter(None, map(shutil.which, names)), None) or pytest.skip("no Chromium is installed")


def browse(browser: str, folder: Path, page: Path, *options: str) -> str:
    flags = ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars", f"--user-data-dir={folder}/profile"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to run as root with it
    command = [browser, *flags, *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("failed", [(), ("too weak",)])
def test_page_fits_a_desk_and_a_phone(browser: str, tmp_path: Path, failed: tuple[str, ...]) -> None:
    harness = tmp_path / "harness.html"
    page = json.dumps(render(an_audit(failed=failed))).replace("</", "<\\/")
    harness.write_text(MEASURE % page)
    dumped = browse(browser, tmp_path, harness, "--window-size=1400,1000", "--virtual-time-budget=5000", "--dump-dom")
    found = json.loads(html.unescape(re.findall(r'<pre id="found">(.*?)</pre>', dumped)[0]))
    assert sorted(one["width"] for one in found) == [375, 1280]
    for one in found:
        assert one["needed"] <= one["width"], "the page scrolls sideways"
        assert one["words"] > 1000
        assert one["overlaps"] == []
        assert one["labels"] == (0 if failed else 3 * len(SCORES))


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True])
def test_page_is_not_blank(browser: str, tmp_path: Path, dark: bool) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs skelanon[train]")
    page, shot = write_report(an_audit(), tmp_path), tmp_path / "page.png"
    scheme = "--blink-settings=preferredColorScheme=" + ("0" if dark else "1")
    browse(browser, tmp_path, page, scheme, "--window-size=1280,900", f"--screenshot={shot}")
    pixels = np.asarray(image.open(shot).convert("L"), np.float64)
    ground = float(np.median(pixels))
    assert (ground < 64) if dark else (ground > 192)
    assert 0.02 < (np.abs(pixels - ground) > 96).mean() < 0.5, "words on a ground"
