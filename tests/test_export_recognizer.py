"""Recognizers as files: what was exported tells what torch told, and nothing else is taken for one."""

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="needs skelanon[train]")

import torch

from skelanon.configs.training import Network
from skelanon.export.bundle import default_bundle_path, read_bundle, seal_text
from skelanon.export.errors import BundleError
from skelanon.export.recognizer import Recognizer, RecognizerManifest, to_json
from skelanon.export.recognizer_exporter import export_recognizer
from skelanon.export.runner import Floats
from skelanon.train.networks import create_network
from skelanon.train.recognizer import RecognizerModule
from skelanon.train.samples import random_samples

FRAMES = 8


def about(**changes: Any) -> RecognizerManifest:
    tree: dict[str, Any] = {
        "name": "test", "frames": FRAMES, "fit": "resample", "bodies_per_sample": 1, "classes": (3, 5, 9),
        "names": ("wave", "walk", "sit"), "rate_hz": 30.0, "seconds": 2.0, "parity_tolerance": 1e-4,
        "data_licence": "-",
    }  # fmt: skip
    return RecognizerManifest(**(tree | changes))


def made_up(bodies: int) -> Floats:
    """(6, T, P, 25, 3): the last but one is there for a frame, the last never."""
    clips = random_samples(tracks=6, frames=FRAMES, bodies_per_sample=bodies).joints.swapaxes(0, 1).copy()
    clips[-2, 1:] = clips[-1] = 0
    return clips


def module_of(network: Network, bodies: Literal[1, 2]) -> RecognizerModule:
    torch.manual_seed(1)
    return RecognizerModule(create_network(network, 3, bodies), bodies).eval()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recognizers") / "sgn.onnx"
    export_recognizer(module_of("sgn", 1), about(), path, made_up(1))
    return path


def test_it_tells_what_torch_tells(written: Path) -> None:
    recognizer = Recognizer(written)
    assert recognizer.manifest.names == ("wave", "walk", "sit")
    assert recognizer.manifest.provenance["packages"]["torch"]
    clips = made_up(1)[::-1][:5] * np.float32(1.01) + np.float32(0.5) * (made_up(1)[::-1][:5] != 0)
    with torch.inference_mode():
        expected = module_of("sgn", 1)(torch.from_numpy(clips)).numpy()
    found = recognizer.confidences(clips)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(np.diff(found, axis=0)).max() > 1e-3  # it looks at what it is shown


def test_where_bodies_stand_makes_no_difference(written: Path) -> None:
    recognizer, clips = Recognizer(written), made_up(1)[:4]
    moved = clips + np.array((1, -0.5, 2), np.float32)
    np.testing.assert_allclose(recognizer.confidences(moved), recognizer.confidences(clips), atol=1e-4)


def test_a_recognizer_of_two_bodies_does_without_the_second(tmp_path: Path) -> None:
    module, clips = module_of("sgn", 2), made_up(2)
    recognizer = export_recognizer(module, about(bodies_per_sample=2), tmp_path / "two.onnx", clips)
    clips[:, :, 1] = 0
    with torch.inference_mode():
        expected = module(torch.from_numpy(clips)).numpy()
    np.testing.assert_allclose(recognizer.confidences(clips), expected, atol=1e-4)


def test_st_gcn_as_well(tmp_path: Path) -> None:
    module = module_of("st_gcn", 1)
    network: Any = module.network
    network.st_gcn_networks = network.st_gcn_networks[:2]  # the rest is more of the same
    network.edge_importance = network.edge_importance[:2]
    network.fcn = torch.nn.Conv2d(64, 3, 1)
    assert export_recognizer(module, about(), tmp_path / "st.onnx", made_up(1)).confidences(made_up(1)).shape == (6, 3)


def test_what_torch_and_the_graph_tell_differently_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Path
) -> None:
    monkeypatch.setattr("skelanon.export.recognizer_exporter.to_onnx", lambda *_: written.read_bytes())
    other = module_of("sgn", 1)
    with torch.no_grad():
        list(other.network.parameters())[-1].add_(torch.tensor([0.0, 0.5, 1.0]))  # the bias of the last layer
    with pytest.raises(BundleError, match=r"parity gate: confidences .* differ by .*, 0.0001 is allowed; nothing was"):
        export_recognizer(other, about(), tmp_path / "other.onnx", made_up(1))
    with pytest.raises(BundleError, match=r"tells \(6, 3\), not 2 classes of 6 clips"):
        export_recognizer(other, about(classes=(1, 2), names=("a", "b")), tmp_path / "other.onnx", made_up(1))
    assert list(tmp_path.iterdir()) == []


def test_clips_are_made_as_in_training(written: Path) -> None:
    recognizer = Recognizer(written)
    body = np.arange(1, 17, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 25, 3), np.float32)
    assert recognizer.clip(body)[:, 0, 0, 0].tolist() == [2, 4, 6, 8, 10, 12, 14, 16]
    assert recognizer.clip(body[:4])[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    with pytest.raises(ValueError, match=r"clips are \(1, 4, 1, 25, 3\), this recognizer takes \(N, 8, 1, 25, 3\)"):
        recognizer.confidences(np.zeros((1, 4, 1, 25, 3), np.float32))


def test_nothing_takes_a_recognizer_for_an_anonymizer_or_the_other_way(written: Path) -> None:
    with pytest.raises(BundleError, match="this is a recognizer, which anonymizes nothing"):
        read_bundle(written)
    with pytest.raises(BundleError, match="this bundle is an anonymizer; a recognizer is made by `skelanon export`"):
        Recognizer(default_bundle_path())


def test_an_edited_or_future_recognizer_is_refused(written: Path, tmp_path: Path) -> None:
    content = written.read_bytes()
    path = tmp_path / "edited.onnx"
    path.write_bytes(content.replace(b'"wave"', b'"rave"'))
    with pytest.raises(BundleError, match="edited after it was exported"):
        Recognizer(path)
    for changes, message in (
        ({"format": 2}, "the recognizer has format 2; this skelanon reads 1"),
        ({"fit": "stretch"}, "manifest is not valid: Invalid enum value"),
        ({"names": ("wave",)}, "`names` has 1 entries, `classes` 3"),
    ):
        tree = msgspec.to_builtins(about()) | changes
        path.write_bytes(seal_text(b"", "skelanon.recognizer", msgspec.json.encode(tree).decode()))
        with pytest.raises(BundleError, match=message):
            Recognizer(path)


def test_a_graph_that_is_not_what_the_manifest_says_is_refused(written: Path, tmp_path: Path) -> None:
    sealed = to_json(Recognizer(written).manifest).encode()
    content = written.read_bytes()
    graph = content[: content.rindex(b"r", 0, content.index(b"skelanon.recognizer"))]
    path = tmp_path / "other.onnx"
    assert sealed in content
    path.write_bytes(seal_text(graph, "skelanon.recognizer", to_json(about(frames=FRAMES + 1))))
    with pytest.raises(BundleError, match=r"the recognizer's graph has .*, but its manifest says"):
        Recognizer(path)
