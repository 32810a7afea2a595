"""Settings: what is shipped loads, what is wrong is named, and the name of a recording is never said."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import skelanon.configs
from skelanon.configs import (
    ConfigError,
    NodeSettings,
    RemoteSettings,
    ReplaySettings,
    SyntheticSettings,
    check,
    load_settings,
)
from skelanon.configs.schema import Settings

OTHERS = ("capture.yaml", "proxy.yaml")
"""Settings of other commands than `run`."""
SHIPPED = sorted(path.name for path in Path(skelanon.configs.__path__[0]).glob("*.yaml") if path.name not in OTHERS)

KINDS: dict[str, type[Settings]] = {
    "remote": RemoteSettings,
    "replay": ReplaySettings,
    "synthetic": SyntheticSettings,
}

SECRET = "/data/ntu/S001C001P042R001A001.skeleton"
SECRETS = (SECRET, "S001C001P042R001A001", "P042", "ntu")
REPLAY = f"sensors:\n  hall:\n    kind: replay\n    path: {SECRET}\n"
SYNTHETIC = "sensors:\n  hall:\n    kind: synthetic\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "node.yaml"


def error_of(config: Path, text: str, *overrides: str) -> str:
    """The message about a configuration, with all that hangs on to the exception; it says no secret."""
    config.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_settings(config, overrides)
    message = str(caught.value)
    for related in (caught.value.__cause__, None if caught.value.__suppress_context__ else caught.value.__context__):
        message += repr(related)
    assert not any(secret in message for secret in SECRETS), message
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_loads_by_its_bare_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(name).sensors


def test_the_kinds_of_sensor_that_everybody_has_are_shipped() -> None:
    kinds = {type(sensor) for name in SHIPPED for sensor in load_settings(name).sensors.values()}
    assert kinds == set(KINDS.values())


def test_a_file_of_ones_own_comes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("synthetic.yaml").write_text(SYNTHETIC)
    assert list(load_settings("synthetic.yaml").sensors) == ["hall"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_holds_only_what_differs_from_the_defaults(name: str) -> None:
    tree = yaml.safe_load((Path(skelanon.configs.__path__[0]) / name).read_text())
    for sensor in tree["sensors"].values():
        assert all(KINDS[sensor["kind"]].model_fields[key].default != value for key, value in sensor.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SYNTHETIC + "    persons: 9\n", r"`sensors.hall.persons` is 9: input should be less than or equal to 6"),
        (SYNTHETIC + "    persons: '2'\n", r"`sensors.hall.persons` is '2': input should be a valid integer"),
        (SYNTHETIC + "    persons: 2.0\n", r"`sensors.hall.persons` is 2.0: input should be a valid integer"),
        (SYNTHETIC + "    persons: true\n", r"`sensors.hall.persons` is True: input should be a valid integer"),
        (SYNTHETIC + "    fast: 1\n", r"`sensors.hall.fast` is 1: input should be a valid boolean"),
        (SYNTHETIC + "    rate_hz: 0\n", r"`sensors.hall.rate_hz` is 0: input should be greater than 0"),
        (SYNTHETIC + "    rate_hz: .nan\n", r"`sensors.hall.rate_hz` is nan: input should be"),
        (SYNTHETIC + "    rate_hz: .inf\n", r"`sensors.hall.rate_hz` is inf: input should be less than or equal"),
        (SYNTHETIC + "    rate: 30\n", r"`sensors.hall.rate` is not a setting"),
        (SYNTHETIC + "model: {bundel: x.onnx}\n", r"`model.bundel` is not a setting"),
        (SYNTHETIC + "model:\n", r"`model` must hold settings, `key: value`"),
        (SYNTHETIC + "model: {sha256: abc}\n", r"`model.sha256` is 'abc': string should match pattern '\^\[0-9a-f\]"),
        (SYNTHETIC + "publish: {endpoint: 7400}\n", r"`publish.endpoint` is 7400: input should be a valid string"),
        (SYNTHETIC + "publish: {curve: {clients: c}}\n", r"`publish.curve.secret_key` is missing"),
        (SYNTHETIC + "publish: {curve: keys}\n", r"`publish.curve` must hold settings, `key: value`"),
        ("model: {}\n", r"`sensors` is missing"),
        ("sensors: {}\n", r"`sensors`: dictionary should have at least 1 item"),
        ("sensors: {Hall: {kind: synthetic}}\n", r"`sensors.Hall` is 'Hall': string should match pattern"),
        ("sensors: {1: {kind: synthetic}}\n", r"`sensors.1` is 1: input should be a valid string"),
        ("sensors: {hall: {kind: kinect}}\n", r"`sensors.hall.kind` is 'kinect': must be one of 'synthetic', 'replay'"),
        ("sensors: {hall: {}}\n", r"`sensors.hall.kind` is missing: must be 'synthetic' or 'replay'"),
        ("sensors: {hall: {kind: replay}}\n", r"`sensors.hall.path` is missing"),
        ("sensors: {hall: {kind: replay, path: ''}}\n", r"`sensors.hall.path`: string should have at least 1"),
        (REPLAY + "    timestamps: later\n", r"`sensors.hall.timestamps` is 'later': input should be 'now' or 'orig"),
    ],
)  # fmt: skip
def test_an_error_names_file_key_value_and_what_is_allowed(text: str, message: str, config: Path) -> None:
    assert re.search(f"^{re.escape(str(config))}: {message}", error_of(config, text))


def test_all_faults_come_in_one_message(config: Path) -> None:
    message = error_of(config, SYNTHETIC + "    persons: 7\n    seed: -1\nmodel: {threads: 0}\n")
    assert [key in message for key in ("`sensors.hall.persons`", "`sensors.hall.seed`", "`model.threads`")] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold settings, `key: value`"),
        ("- sensors\n", "must hold settings, `key: value`"),
        (SYNTHETIC + "    kind: replay\n", "line 4: not valid YAML: the key 'kind' stands twice"),
        (SYNTHETIC + SYNTHETIC, "line 4: not valid YAML: the key 'sensors' stands twice"),
        ("sensors: [", "line 1: not valid YAML: expected"),
        ("sensors:\n\thall: 1\n", "line 2: not valid YAML: found character"),
        ("sensors: !!python/object:os.system {}\n", "line 1: not valid YAML: could not determine a constructor"),
        ("a: \x07", "not valid YAML"),
        ("a: 2001-99-99", "not valid YAML"),
        ("a: " + "9" * 10_000, "not valid YAML"),
        ("[" * 5_000, "not valid YAML"),
    ],
)
def test_what_is_not_yaml_or_no_settings_is_refused_by_line(text: str, message: str, config: Path) -> None:
    assert error_of(config, text).startswith(f"{config}: {message}")


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none.yaml: No such file or directory"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot read the configuration: Is a directory"):
        load_settings(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Käthe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin.yaml: not UTF-8 text"):
        load_settings(tmp_path / "latin.yaml")


def test_yaml_merges_and_anchors_work(config: Path) -> None:
    text = "sensors:\n  a: &a {kind: synthetic, seed: 1}\n  b:\n    <<: *a\n    seed: 2\n"
    config.write_text(text)
    seeds = [sensor.seed for sensor in load_settings(config).sensors.values() if isinstance(sensor, SyntheticSettings)]
    assert seeds == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        REPLAY + "    loop: maybe\n",
        REPLAY + f"    paht: {SECRET}\n",
        REPLAY + f"    path: {SECRET}\n",
        REPLAY + f"    rate_hz: {SECRET}\n",
        REPLAY + "    rate_hz: S001C001P042R001A001\n",
        REPLAY + f"    {SECRET}: 1\n",
        REPLAY + f"  {SECRET}:\n    kind: synthetic\n",
        REPLAY + f"   oops: {SECRET}\n",
        f"sensors: {SECRET}\n",
        f"sensors: [{SECRET}]\n",
        f"sensors: {{hall: {SECRET}}}\n",
        f"sensors: {{hall: [{SECRET}]}}\n",
        f"sensors: {{hall: {{kind: {SECRET}}}}}\n",
        f"sensors: {{hall: {{kind: [{SECRET}]}}}}\n",
        f"sensors: {{hall: {{path: {SECRET}}}}}\n",
        f"sensors: {{hall: {{kind: replay, path: [{SECRET}]}}}}\n",
        f"sensors: {{hall: {{kind: replay, path: {{{SECRET}: 1}}}}}}\n",
        "sensors: {hall: {kind: replay, path: *S001C001P042R001A001}}\n",
        "sensors: {hall: {kind: replay, path: !S001C001P042R001A001 x}}\n",
        f"{SECRET}: 1\n",
        f"{SECRET}: 1\n{SECRET}: 2\n",
        f"path: {SECRET}\nreplay: {SECRET}\n",
    ],
)
def test_no_message_shows_the_path_of_a_recording(text: str, config: Path) -> None:
    assert error_of(config, text).startswith(f"{config}: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"sensors.hall.path {SECRET}", "override 1 must have the form key=value"),
        (f"={SECRET}", "override 1 must have the form key=value"),
        (f"sensors.hall.path=[{SECRET}", "override of `sensors.hall.path`: line 1: not valid YAML"),
        (f"sensors.hall.path=[{SECRET}]", "`sensors.hall.path`: input should be a valid string"),
        (f"sensors.hall.paht={SECRET}", "`sensors.hall.paht` is not a setting"),
        (f"sensors.hall={SECRET}", "`sensors.hall` must hold settings"),
        ("sensors.hall.path.x=1", "override of `sensors.hall.path.x`: `path` holds a value, not settings"),
        ("sensors.hall.rate_hz=2001-99-99", "override of `sensors.hall.rate_hz`: not valid YAML"),
        ("model={threads: 1, threads: 2}", "line 1: not valid YAML: the key 'threads' stands twice"),
        ("model..threads=1", "`model.` is not a setting"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_named_and_shows_no_path(override: str, message: str, config: Path) -> None:
    assert message in error_of(config, REPLAY, override)


def test_overrides_are_yaml_applied_in_order_and_checked_with_the_file(config: Path) -> None:
    config.write_text(REPLAY)
    overrides = [
        "sensors.hall.rate_hz=15",
        "sensors.hall.rate_hz=60",
        "sensors.hall.loop=true",
        "publish.endpoint=ipc://x",
    ]
    settings = load_settings(config, [*overrides, "sensors.new={kind: synthetic, persons: 3}"])
    hall, new = settings.sensors["hall"], settings.sensors["new"]
    assert isinstance(hall, ReplaySettings)
    assert (hall.rate_hz, hall.loop, hall.path) == (60.0, True, SECRET)
    assert isinstance(new, SyntheticSettings)
    assert (new.persons, settings.publish.endpoint) == (3, "ipc://x")


def test_a_tree_of_plain_values_is_checked_like_a_file() -> None:
    assert check({"sensors": {"a": {"kind": "synthetic"}}}, "here").model.bundle == "default"
    wrong: list[object] = [None, [], "sensors", 3]
    for tree in wrong:
        with pytest.raises(ConfigError, match=r"^here: must hold settings"):
            check(tree, "here")


def every_settings(kind: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for inner in kind.__subclasses__():
        yield inner
        yield from every_settings(inner)


def test_every_setting_is_described_closed_and_frozen() -> None:
    kinds = list(every_settings())
    assert NodeSettings in kinds
    assert len(kinds) > 5
    for kind in kinds:
        assert kind.__doc__
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name} has no docstring"
        assert kind.model_config["extra"] == "forbid"
        assert kind.model_config["frozen"]


def test_loaded_settings_do_not_change_and_do_not_show_paths() -> None:
    settings = check({"sensors": {"hall": {"kind": "replay", "path": SECRET}}}, "here")
    for owner, name, value in ((settings, "track_timeout_s", 2.0), (settings.model, "threads", 2)):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(owner, name, value)
    assert not any(secret in f"{settings!r} {settings}" for secret in SECRETS)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["sensors", "hall", "kind", "path", "model", "publish", "curve", "replay", "", "a b"]
    ) | st.integers(), inner, max_size=4)
), max_leaves=12))  # fmt: skip
def test_any_tree_is_settings_or_a_config_error(tree: object) -> None:
    with contextlib.suppress(ConfigError):
        assert check(tree, "here").sensors


def test_live_and_fast_sensors_do_not_share_a_node() -> None:
    sensors = {"a": {"kind": "synthetic"}, "b": {"kind": "synthetic", "fast": True}}
    with pytest.raises(ConfigError, match="give each kind its own node"):
        check({"sensors": sensors}, "test")


@pytest.mark.parametrize("value", ["123451212", "000123451212", "1" * 65])
@pytest.mark.parametrize("key", ["serial", "file"])
def test_no_message_shows_a_serial_number_or_a_cameras_recording(key: str, value: str, config: Path) -> None:
    """Without quotes YAML takes it for a number, one with zeros before it for an octal."""
    config.write_text(f"sensors: {{cam: {{kind: azure_kinect, {key}: {value}}}}}\n")
    with pytest.raises(ConfigError, match=rf"`sensors.cam.{key}`: input should be a valid string") as caught:
        load_settings(config)
    assert not re.search(r"\d{4}", str(caught.value).replace(str(config), ""))
