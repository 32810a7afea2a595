"""The bundle: what was written is read, and anything else, by accident or on purpose, is refused."""

import contextlib
import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from skelanon.export import Bundle, BundleError, Manifest, OnnxRuntimeCpu, RunnerError
from skelanon.export.bundle import DIGEST_KEY, MANIFEST_KEY, default_bundle_path, read_bundle, seal
from skelanon.export.manifest import FORMAT, manifest_from_json, manifest_to_json

DEFAULT = default_bundle_path().read_bytes()
SECRET = 1234.5
"""What lies in another file, and must not be read."""

Value = tuple[str, int, list[int | str]]
"""Name, type and shape of an input or output of a graph."""


def about(**changes: Any) -> Manifest:
    fields = {"name": "test", "anonymizer": "test", "bodies_per_sample": 1, "axes": "camera", "root": "model"}
    return Manifest(**{**fields, "parity_tolerance_m": 1e-5, **changes})


def graph(
    nodes: list[onnx.NodeProto],
    inputs: list[Value] | None = None,
    outputs: list[Value] | None = None,
    tensors: list[TensorProto] | None = None,
    **domains: int,
) -> bytes:
    """A serialised model of float32 joints [N, 1, 25, 3] to the same, but for what is given."""
    joints: list[int | str] = ["N", 1, 25, 3]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info(*value) for value in inputs or [("joints", TensorProto.FLOAT, joints)]],
            [helper.make_tensor_value_info(*value) for value in outputs or [("anonymous", TensorProto.FLOAT, joints)]],
            tensors,
        ),
        opset_imports=[helper.make_opsetid("", 18), *(helper.make_opsetid(*domain) for domain in domains.items())],
        ir_version=10,
    )
    serialised: bytes = model.SerializeToString()
    return serialised


def node(kind: str, *inputs: str, output: str = "anonymous", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


HALF = numpy_helper.from_array(np.array([0.5], np.float32), "half")
SHRINK = graph([node("Mul", "joints", "half")], tensors=[HALF])


def opened(content: bytes, folder: Path) -> Bundle:
    path = folder / "bundle.onnx"
    path.write_bytes(content)
    return read_bundle(path)


def refusal(content: bytes, folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        opened(content, folder)
    return str(caught.value)


def test_the_default_bundle_is_whole_and_onnx_agrees() -> None:
    bundle = read_bundle(default_bundle_path())
    assert (bundle.manifest.name, bundle.manifest.format, bundle.model) == ("template", FORMAT, DEFAULT)
    model = onnx.load_from_string(bundle.model)
    onnx.checker.check_model(model)
    assert {entry.key for entry in model.metadata_props} == {MANIFEST_KEY, DIGEST_KEY}
    assert [value.name for value in model.graph.input] == list(bundle.manifest.inputs)
    assert [value.name for value in model.graph.output] == list(bundle.manifest.outputs)


def test_what_is_sealed_is_read(tmp_path: Path) -> None:
    manifest = about(provenance={"seed": 7, "versions": {"torch": "2"}}, audit={"gender": 0.5}, data_licence="ß")
    bundle = opened(seal(SHRINK, manifest), tmp_path)
    assert bundle.manifest == manifest
    assert bundle.model.startswith(SHRINK)
    assert OnnxRuntimeCpu(bundle).manifest == manifest
    assert "model" not in repr(bundle).replace("'model'", "")


def test_the_pinned_digest_is_kept_to(tmp_path: Path) -> None:
    bundle = read_bundle(default_bundle_path())
    assert read_bundle(default_bundle_path(), sha256=bundle.sha256) == bundle
    with pytest.raises(BundleError, match=rf"sha256 is {bundle.sha256}, but `model.sha256` asks for {'0' * 64}"):
        read_bundle(default_bundle_path(), sha256="0" * 64)


def flips(content: bytes) -> Iterator[tuple[int, int]]:
    """Places and bits: all of the manifest, and as many all over the graph."""
    random = np.random.default_rng(0)
    start = content.index(MANIFEST_KEY.encode()) - 8
    for position in (*range(start, len(content)), *range(64), *random.integers(0, start, 1200).tolist()):
        yield position, 1 << int(random.integers(0, 8))


def test_any_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bundle.onnx"
    edited = bytearray(DEFAULT)
    for position, bit in flips(DEFAULT):
        edited[position] ^= bit
        path.write_bytes(edited)
        with pytest.raises(BundleError):
            read_bundle(path)
        edited[position] ^= bit
    path.write_bytes(edited)
    assert read_bundle(path).model == DEFAULT


def test_any_truncation_and_any_addition_is_refused(tmp_path: Path) -> None:
    for length in (*range(0, len(DEFAULT), 997), *range(len(DEFAULT) - 300, len(DEFAULT))):
        refusal(DEFAULT[:length], tmp_path)
    for more in (b"\0", b"\x72\0", DEFAULT, DEFAULT[-80:], b"\x0a\x01x"):
        refusal(DEFAULT + more, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0", b"# a text\n", b"\x80\x04\x95", bytes(5000), b"\xff" * 5000])
def test_what_is_no_bundle_at_all(content: bytes, tmp_path: Path) -> None:
    assert re.fullmatch("not an ONNX file|not a skelanon bundle: .* `skelanon export`", refusal(content, tmp_path))


@given(st.binary(max_size=200) | st.binary(max_size=50).map(lambda tail: DEFAULT[:200] + tail + DEFAULT[-900:]))
def test_random_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    refusal(content, tmp_path_factory.getbasetemp())


@given(st.text() | st.text().map(lambda text: manifest_to_json(about())[:-1] + text + "}"))
def test_a_manifest_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BundleError):
        assert manifest_from_json(text).format == FORMAT


def test_nesting_without_end_is_refused(tmp_path: Path) -> None:
    inner = b""
    for _ in range(2000):  # a graph in an attribute of a node of a graph
        inner = field(1, field(5, field(6, inner)))
    assert refusal(seal(field(7, inner), about()), tmp_path) == "not an ONNX file"
    text = manifest_to_json(about())[:-1] + ',"audit":' + '{"a":' * 5000
    assert "manifest is not valid" in refusal(SHRINK + entries((MANIFEST_KEY, text)), tmp_path)


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    size, length = bytearray(), len(value)
    while length >= 0x80:
        size.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + value


def test_a_foreign_model_has_no_manifest(tmp_path: Path) -> None:
    assert refusal(SHRINK, tmp_path) == ("not a skelanon bundle: it has no manifest; make one with `skelanon export`")


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, "9" * 1000])
def test_another_format_is_refused_with_both_versions(version: object, tmp_path: Path) -> None:
    content = seal(SHRINK, about(format=version))
    message = refusal(content, tmp_path)
    assert message.startswith(f"the bundle has format {version!r:.20}; this skelanon reads format 1")
    assert len(message) < 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bodies_per_sample": 3}, "bodies_per_sample"),
        ({"state_size": -1}, "state_size"),
        ({"state_size": 1 << 40}, "state_size"),
        ({"axes": "world"}, "axes"),
        ({"root": "raw"}, "root"),
        ({"layout": "azure-32"}, "layout"),
        ({"name": "Name"}, "name"),
        ({"name": "name\n"}, "name"),
        ({"parity_tolerance_m": 1.0}, "parity_tolerance_m"),
        ({"provenance": 3}, "provenance"),
    ],
)
def test_a_manifest_with_a_wrong_value_names_it(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert re.search(rf"manifest is not valid: .*\$\.{message}", refusal(seal(SHRINK, about(**changes)), tmp_path))


def entries(*pairs: tuple[str, str]) -> bytes:
    """Metadata entries, as bytes to append to a model."""
    model = onnx.ModelProto()
    for key, value in pairs:
        model.metadata_props.add(key=key, value=value)
    serialised: bytes = model.SerializeToString()
    return serialised


def test_an_unknown_field_of_the_manifest_is_refused(tmp_path: Path) -> None:
    text = manifest_to_json(about())[:-1] + ',"passthrough":true}'
    assert "`passthrough`" in refusal(SHRINK + entries((MANIFEST_KEY, text), (DIGEST_KEY, "")), tmp_path)


def test_metadata_besides_the_manifest_is_refused(tmp_path: Path) -> None:
    sealed = seal(SHRINK, about())
    edited = "the bundle was edited after it was exported (its digest does not match); export it again"
    assert refusal(sealed + entries(("ort_config", "{}")), tmp_path) == edited
    assert refusal(entries(("ort_config", "{}")) + sealed, tmp_path) == edited
    manifest, digest = (entry.value for entry in onnx.load_from_string(sealed).metadata_props)
    assert refusal(SHRINK + entries((MANIFEST_KEY, manifest)), tmp_path) == edited
    assert refusal(SHRINK + entries((DIGEST_KEY, digest), (MANIFEST_KEY, manifest)), tmp_path) == edited
    twice = refusal(sealed + entries((MANIFEST_KEY, manifest)), tmp_path)
    assert twice == "the bundle has an entry twice in its metadata; export it again"


def test_another_graph_under_the_same_manifest_is_refused(tmp_path: Path) -> None:
    sealed = seal(SHRINK, about())
    keep = graph([node("Identity", "joints")])
    assert "edited" in refusal(keep + sealed[len(SHRINK) :], tmp_path)


def external() -> TensorProto:
    """A tensor whose values lie in the file `secret.bin`."""
    tensor = TensorProto(name="half", data_type=TensorProto.FLOAT, dims=[3, 3], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def in_initializer() -> bytes:
    return graph([node("MatMul", "joints", "half")], tensors=[external()])


def in_constant() -> bytes:
    return graph([node("Constant", output="half", value=external()), node("MatMul", "joints", "half")])


def in_branch() -> bytes:
    branch = helper.make_graph(
        [node("MatMul", "joints", "half", output="y")],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, 25, 3])],
        [external()],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    return graph([node("If", "yes", then_branch=branch, else_branch=branch)], tensors=[yes])


def in_function() -> bytes:
    model = onnx.load_from_string(graph([node("Leak", "joints", domain="test")], test=1))
    body = [node("Constant", output="w", value=external()), node("MatMul", "x", "w", output="y")]
    model.functions.append(helper.make_function("test", "Leak", ["x"], ["y"], body, [helper.make_opsetid("", 18)]))
    serialised: bytes = model.SerializeToString()
    return serialised


def in_sparse() -> bytes:
    model = onnx.load_from_string(SHRINK)
    model.graph.sparse_initializer.add(values=external(), dims=[3, 3])
    serialised: bytes = model.SerializeToString()
    return serialised


@pytest.mark.parametrize("model", [in_initializer, in_constant, in_branch, in_function, in_sparse])
def test_no_other_file_is_read(model: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime by itself reads files of the working folder: joints @ secret would come out."""
    monkeypatch.chdir(tmp_path)
    np.full((3, 3), SECRET, np.float32).tofile("secret.bin")
    message = refusal(seal(model(), about()), tmp_path)
    assert message == "the bundle keeps weights in other files; it must be one file: export it again"


JOINTS: list[int | str] = ["N", 1, 25, 3]
F, D, I64, S = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING


@pytest.mark.parametrize(
    ("model", "changes", "message"),
    [
        (SHRINK, {"bodies_per_sample": 2}, r"the graph's inputs are \{'joints': \(1, 25, 3\)\}, but the manifest says"),
        (SHRINK, {"state_size": 4}, r"inputs are .* but the manifest says .*'state': \(4,\)"),
        (SHRINK, {"persona_size": 4}, r"inputs are .* but the manifest says .*'persona': \(4,\)"),
        (graph([node("Mul", "x", "half")], [("x", F, JOINTS)], tensors=[HALF]), {}, "inputs are .*'x'"),
        (graph([node("Cast", "joints", to=F)], [("joints", D, JOINTS)]), {}, "the graph's inputs are .* all float32"),
        (graph([node("Cast", "joints", to=F)], [("joints", I64, JOINTS)]), {}, "the graph's inputs are .* all float32"),
        (graph([node("Cast", "joints", to=F)], [("joints", S, JOINTS)]), {}, "the graph's inputs are .* all float32"),
        (graph([node("Cast", "joints", to=I64)], None, [("anonymous", I64, JOINTS)]), {}, "outputs are .* all float32"),
        (graph([node("Shape", "joints")], None, [("anonymous", I64, [4])]), {}, "the graph's outputs are"),
        (graph([node("Foo", "joints", domain="evil")], evil=1), {}, r"refuses the bundle's graph \(\w+\)$"),
        (graph([node("Mul", "joints", "nothing")]), {}, r"refuses the bundle's graph \(\w+\)$"),
        (b"\x3a\x03abc", {}, "not an ONNX file"),
        (b"", {}, "refuses the bundle's graph"),
        (b"\x08\x0a", {}, "refuses the bundle's graph"),
        (
            graph([node("Reshape", "joints", "x")], tensors=[numpy_helper.from_array(np.array([2, 1, 25, 3]), "x")]),
            {},
            "cannot run the exported graph",
        ),
        (
            graph([node("Slice", "joints", "zero", "one", "zero")], tensors=[
                numpy_helper.from_array(np.array([0]), "zero"), numpy_helper.from_array(np.array([1]), "one")
            ]),
            {},
            r"the graph returns \(1, 1, 25, 3\) and \(2, 0\) for 2 samples, but the manifest says \(2, 1, 25, 3\)",
        ),
    ],
)  # fmt: skip
def test_a_graph_that_is_not_what_the_manifest_says_is_refused(
    model: bytes, changes: dict[str, Any], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        OnnxRuntimeCpu(opened(seal(model, about(**changes)), tmp_path))
    assert "onnxruntime_src" not in str(caught.value)
    assert "ONNXRuntimeError" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_call_that_fails_tells_no_more_than_the_kind_of_error(tmp_path: Path) -> None:
    runner = OnnxRuntimeCpu(opened(seal(SHRINK, about()), tmp_path))
    with pytest.raises(RunnerError, match=r"^the model call failed in onnxruntime \(\w+\)$"):
        runner.step([0], [True], np.zeros((1, 1, 24, 3), np.float32), np.ones((1, 1), np.float32))
    runner.close()
    runner.close()
    with pytest.raises(RunnerError):
        runner.step([0], [True], np.zeros((1, 1, 25, 3), np.float32), np.ones((1, 1), np.float32))


def test_without_onnxruntime_the_install_line_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RunnerError, match=r"^onnxruntime is not installed: pip install 'skelanon\[cpu\]'"):
        OnnxRuntimeCpu(read_bundle(default_bundle_path()))


def test_a_path_that_cannot_be_read_gives_the_reason(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"^cannot read the bundle: Is a directory$"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match=r"^cannot read the bundle: No such file or directory$"):
        read_bundle(tmp_path / "none.onnx")


def test_what_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("skelanon.export.bundle.MAX_BYTES", len(DEFAULT) - 1)
    assert refusal(DEFAULT, tmp_path) == f"the bundle is larger than {len(DEFAULT) - 1} bytes"


def test_a_bundle_does_not_change() -> None:
    bundle = read_bundle(default_bundle_path())
    with pytest.raises(dataclasses.FrozenInstanceError):
        bundle.sha256 = ""  # type: ignore[misc]
    with pytest.raises(AttributeError):
        bundle.manifest.root = "keep"  # type: ignore[misc]


def test_reading_a_bundle_imports_no_runtime_and_no_torch() -> None:
    script = (
        "import sys\nfrom skelanon.export import default_bundle_path, read_bundle\n"
        "read_bundle(default_bundle_path())\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'onnx', 'onnxruntime', 'torch', 'google'})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"
