"""What `deploy/` holds: units that systemd takes, images whose files exist, a dashboard of metrics that exist."""

import configparser
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from skelanon.cli.exits import Exit
from skelanon.cli.main import app
from skelanon.configs import check

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "skelanon@.service"
DROP_INS = sorted((DEPLOY / "systemd").glob("*.conf"))
DOCKERFILES = sorted((DEPLOY / "docker").glob("Dockerfile.*"))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text("utf-8")
ALERTS = re.findall(r"```promql\n(.*?)```", OPERATIONS, re.DOTALL)


def understood(arguments: list[str]) -> None:
    """Parse a command as the command line would, and run nothing."""
    group: Any = typer.main.get_command(app)
    command = group.commands[arguments[0]]
    try:
        command.make_context(arguments[0], arguments[1:])
    except Exception as error:
        if "does not exist" not in str(error):
            raise


def directives(path: Path) -> dict[str, list[str]]:
    """All `KEY=VALUE` lines of a unit."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", path.read_text("utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def installed(folder: Path, *drop_ins: Path) -> Path:
    """The unit in a folder like systemd's, its program being one that is there."""
    unit = folder / "skelanon@hall.service"
    unit.write_text(UNIT.read_text("utf-8").replace("/opt/skelanon/bin/skelanon", sys.executable), "utf-8")
    for drop_in in drop_ins:
        (folder / f"{unit.name}.d").mkdir(exist_ok=True)
        shutil.copy(drop_in, folder / f"{unit.name}.d")
    return unit


@pytest.mark.parametrize("drop_in", [None, *DROP_INS], ids=lambda path: path.name if path else "alone")
def test_systemd_takes_the_unit(drop_in: Path | None, analyze: str, tmp_path: Path) -> None:
    unit = installed(tmp_path, *filter(None, [drop_in]))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in done.stderr.splitlines() if "skelanon" in line or "camera" in line or "Unknown" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_a_directive_that_is_none_would_be_found(analyze: str, tmp_path: Path) -> None:
    unit = installed(tmp_path)
    unit.write_text(unit.read_text("utf-8").replace("NoNewPrivileges", "NoMorePrivileges"), "utf-8")
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "NoMorePrivileges" in done.stderr


def test_the_unit_is_shut_in(analyze: str, tmp_path: Path) -> None:
    command = [analyze, "security", "--offline=true", "--no-pager", str(installed(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "offline" in done.stderr:
        pytest.skip("this systemd-analyze knows no --offline")
    exposure = re.search(r"Overall exposure level for \S+: (\d+\.\d)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= 2.0  # other versions count a little differently


def test_the_unit_and_the_program_agree() -> None:
    unit = directives(UNIT)
    assert unit["Type"] == ["notify"]
    (start,) = unit["ExecStart"]
    program, *arguments = shlex.split(start)
    assert program == "/opt/skelanon/bin/skelanon"
    understood(arguments)
    never = {int(code) for code in unit["RestartPreventExitStatus"][0].split()}
    assert never == {Exit.USAGE, Exit.NO}
    assert "kill -HUP" in unit["ExecReload"][0]
    assert int(unit["WatchdogSec"][0]) >= 2
    assert unit["LimitCORE"] == ["0"]
    assert "@resources" not in " ".join(unit["SystemCallFilter"])  # forbidding core dumps is one of them
    assert "AF_NETLINK" in unit["RestrictAddressFamilies"][0].split()  # or ZeroMQ aborts as it binds a tcp:// address
    assert unit["ConfigurationDirectoryMode"] == ["0750"]  # as docs/operations.md makes it, or each start warns


def test_drop_ins_only_touch_the_service_and_are_documented() -> None:
    for path in DROP_INS:
        parser = configparser.ConfigParser(strict=False, allow_no_value=True)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read(path, "utf-8")
        assert parser.sections() == ["Service"]
        assert f"| `{path.name}` |" in OPERATIONS


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    """(name, rest) of each instruction, lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_made_of_files_that_exist(path: Path) -> None:
    lines = list(instructions(path))
    assert {name for name, _ in lines} <= {
        *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    }
    copied = [part for name, rest in lines if name == "COPY" and "--from" not in rest for part in rest.split()[:-1]]
    assert all((ROOT / part).exists() for part in copied)
    folders = re.search(r"^FOLDERS = (\[.*\])$", (ROOT / "setup.py").read_text("utf-8"), re.MULTILINE)
    assert folders is not None
    assert set(json.loads(folders[1])) <= set(copied)  # or the wheel would lack one
    bases = [rest.split()[0] for name, rest in lines if name == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"[\w/.-]+:[\w.-]*\d[\w.-]*", base) for base in bases)  # a version, not `latest`
    assert bases[0] == bases[1]  # the environment is moved from one to the other


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_nobody_in_particular_without_torch(path: Path) -> None:
    lines = list(instructions(path))
    last_user = [rest for name, rest in lines if name == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last_user)
    text = path.read_text("utf-8")
    assert "torch" not in text
    assert "train]" not in text
    assert text.count("-c constraints.txt") == text.count("pip install")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_images_command_is_understood_and_its_health_check_asks_where_it_serves(path: Path) -> None:
    lines = dict(instructions(path))
    command = [*json.loads(lines["ENTRYPOINT"]), *json.loads(lines["CMD"])]
    assert command[0] == "skelanon"
    understood(command[1:])
    overrides = dict(item.split("=", 1) for item in command if "=" in item)
    settings: dict[str, Any] = {"sensors": {"hall": {"kind": "synthetic"}}}
    for key, value in overrides.items():
        first, second = key.split(".")
        settings.setdefault(first, {})[second] = yaml.safe_load(value)
    asked = check(settings, "image").metrics
    assert asked is not None
    *_, code = json.loads(lines["HEALTHCHECK"].partition("CMD ")[2])
    assert f"http://{asked.endpoint}/health" in code
    compile(code, "health check", "exec")


def expressions() -> Iterator[str]:
    for panel in json.loads((DEPLOY / "grafana" / "skelanon.json").read_text("utf-8"))["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def test_the_dashboard_shows_all_of_our_metrics_and_no_others() -> None:
    documented = set(re.findall(r"`((?:skelanon|process)_[a-z_]+)`", OPERATIONS))  # which are those that exist
    shown = {re.sub("_bucket$", "", name) for text in expressions() for name in re.findall(r"[a-z]+(?:_[a-z]+)+", text)}
    shown = {name for name in shown if name.startswith(("skelanon", "process"))}
    assert shown <= documented
    assert {name for name in documented if name.startswith("skelanon")} <= shown


def test_the_dashboard_hangs_together() -> None:
    board = json.loads((DEPLOY / "grafana" / "skelanon.json").read_text("utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        own = set(itertools.product(columns, rows))
        assert max(x for x, _ in own) < 24
        assert not own & cells, f"{panel['title']} covers another panel"
        cells |= own
    variables = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval", "__range"}
    for text in expressions():
        assert set(re.findall(r"\$(\w+)", text)) <= variables
        assert text.count("(") == text.count(")")
        assert text.count("{") == text.count("}")


def test_what_the_dashboard_counts_is_of_now() -> None:
    for panel in json.loads((DEPLOY / "grafana" / "skelanon.json").read_text("utf-8"))["panels"]:
        if panel["type"] == "stat":  # or a node that is gone keeps its last value, green
            assert [target["instant"] for target in panel["targets"]] == [True]


def test_prometheus_takes_what_the_dashboard_and_the_documentation_ask(tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or pytest.skip("promtool is not installed")
    (alerts,) = ALERTS
    asked = [re.sub(r"\$__\w+", "1m", text) for text in [*expressions(), *alerts.splitlines()]]
    rules = [{"record": f"asked:{index}", "expr": text} for index, text in enumerate(asked)]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}), "utf-8")
    done = subprocess.run(
        [promtool, "check", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_of_the_documentation_are_about_metrics_that_exist() -> None:
    (alerts,) = ALERTS
    table = set(re.findall(r"^\| `(skelanon_[a-z_]+)`", OPERATIONS, re.MULTILINE))
    assert set(re.findall(r"skelanon_[a-z_]+", alerts)) <= table
