"""Miniature data sets: read by the importers, the same for the same seed, identity and action can be learned."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.cli.dataset_miniature import miniature
from skelanon.sensors.body import difference_matrix
from skelanon.sensors.joints import BONES, INDEX, JOINTS, ROOT
from skelanon.sensors.population import population
from skelanon.train.data.importers.etri import EtriImporter
from skelanon.train.data.importers.importer import ImportedSequence, Importer, Skipped
from skelanon.train.data.importers.ntu import NtuImporter
from skelanon.train.data.miniature import ACTIVITIES, write_miniature_etri, write_miniature_ntu
from skelanon.train.errors import DataError

SIZE: dict[str, int] = {"subjects": 3, "actions": 2, "views": 2, "trials": 2, "frames": 10, "seed": 5}
Doubles = NDArray[np.float64]


def sequences(importer: Importer) -> list[ImportedSequence]:
    return [sequence for item in importer.items() for sequence in importer.read(item).sequences]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def lengths(sequence: ImportedSequence) -> Doubles:
    """(24,) mean length of each bone."""
    bones = difference_matrix() @ sequence.joints[:, 0].astype(np.float64)
    means: Doubles = np.linalg.norm(bones[:, list(BONES)], axis=2).mean(axis=0)
    return means


def movement(sequence: ImportedSequence) -> Doubles:
    """(75,) where joints are in the body, on average and how far around it: nothing of place, little of proportions."""
    body = sequence.joints[:, 0].astype(np.float64)
    size = np.linalg.norm(body[:, INDEX["SpineShoulder"]] - body[:, ROOT], axis=-1).mean()
    joints = (body - body[:, [ROOT]]) / size
    heights = joints[..., 1]
    around: Doubles = np.concatenate([heights.mean(axis=0), heights.std(axis=0), joints.std(axis=0).max(axis=1)])
    return around


def nearest(features: Doubles, labels: Doubles, train: NDArray[np.bool_]) -> float:
    """How often the nearest training sequence has the label of a test sequence."""
    distances = np.linalg.norm(features[~train, None] - features[train], axis=-1)
    return float((labels[train][distances.argmin(axis=1)] == labels[~train]).mean())


def test_the_ntu_importer_reads_all_of_it(tmp_path: Path) -> None:
    assert write_miniature_ntu(tmp_path / "out", **SIZE) == 24
    found = sequences(NtuImporter(tmp_path / "out"))
    assert len(found) == 24
    assert {sequence.joints.shape for sequence in found} == {(10, 1, JOINTS, 3)}
    assert {sequence.labels["setup"] for sequence in found} == {1}
    labels = {tuple(s.labels[key] for key in ("subject", "action", "view", "trial")) for s in found}
    assert labels == {(p, a, c, r) for p in (1, 2, 3) for a in (1, 2) for c in (1, 2) for r in (1, 2)}


def test_the_etri_importer_reads_all_but_pairs_and_the_malformed(tmp_path: Path) -> None:
    assert write_miniature_etri(tmp_path / "out", **SIZE, malformed=True) == 24 + 3 + 1
    importer = EtriImporter(tmp_path / "out")
    read: list[ImportedSequence] = []
    refused: list[str] = []
    for item in importer.items():
        try:
            read += importer.read(item).sequences
        except (Skipped, DataError) as error:
            refused.append(str(error))
    assert len(read) == 24
    assert sorted(refused) == [
        "P001/A001_P001_G003_C001.csv: row 11 has 301 columns, the header has 302",
        *["action of two persons"] * 3,
    ]
    statures = [person.stature_m for person in population(SIZE["seed"], 3)]
    tallest = 1 + statures.index(max(statures))
    assert {(s.labels["subject"], s.labels["gender"]) for s in read} == {(p, int(p == tallest)) for p in (1, 2, 3)}


def test_both_formats_hold_the_same_recordings(tmp_path: Path) -> None:
    write_miniature_ntu(tmp_path / "ntu", **SIZE)
    write_miniature_etri(tmp_path / "etri", **SIZE, malformed=False)
    (ntu,) = NtuImporter(tmp_path / "ntu").read("S001C002P003R001A002.skeleton").sequences
    (etri,) = EtriImporter(tmp_path / "etri").read("P003/A002_P003_G001_C002.csv").sequences
    np.testing.assert_array_equal(ntu.joints, etri.joints)
    np.testing.assert_array_equal(ntu.tracking, etri.tracking)


def test_the_seed_decides(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_miniature_etri(tmp_path / name, **SIZE | {"seed": seed}, malformed=False)
    first, again, other = (contents(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    assert not [name for name in first if name.endswith(".csv") and first[name] == other[name]]


def test_views_are_turned_about_the_vertical(tmp_path: Path) -> None:
    write_miniature_ntu(tmp_path / "out", subjects=1, actions=1, views=3, trials=1, frames=10)
    front, one, other = (
        NtuImporter(tmp_path / "out").read(f"S001C00{view}P001R001A001.skeleton").sequences[0] for view in (1, 2, 3)
    )

    def heading(sequence: ImportedSequence) -> float:
        shoulders = np.subtract(
            *(sequence.joints[:, 0, INDEX[f"Shoulder{side}"]].mean(axis=0) for side in ("Right", "Left"))
        )
        return math.degrees(math.atan2(shoulders[2], shoulders[0]))

    x, _, z = front.joints[:, 0, ROOT].mean(axis=0)
    assert heading(front) == pytest.approx(math.degrees(math.atan2(-x, z)), abs=3)  # who waves faces the sensor
    assert sorted(heading(view) - heading(front) for view in (one, other)) == pytest.approx([-25, 25], abs=2)
    np.testing.assert_allclose(one.joints[..., 1], front.joints[..., 1], atol=0.03)  # the sensors' noise differs
    assert np.abs(one.joints - front.joints).max() > 0.1


def test_identity_and_action_can_be_learned(tmp_path: Path) -> None:
    write_miniature_ntu(tmp_path / "out", subjects=8, actions=len(ACTIVITIES), views=3, trials=2, frames=60)
    found = sequences(NtuImporter(tmp_path / "out"))
    columns = {name: np.array([s.labels[name] for s in found]) for name in ("subject", "action", "view", "trial")}
    first_trial = columns["trial"] == 1
    assert nearest(np.array([lengths(s) for s in found]), columns["subject"], first_trial) > 0.95
    assert nearest(np.array([movement(s) for s in found]), columns["action"], columns["subject"] <= 4) > 0.9
    assert nearest(np.array([lengths(s) for s in found]), columns["action"], columns["subject"] <= 4) < 0.5  # no motion


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"subjects": 0}, "`subjects` is 0, a miniature has 1 to 999"),
        ({"actions": 6}, "`actions` is 6, a miniature has 1 to 5"),
        ({"views": 9}, "`views` is 9"),
        ({"trials": 0}, "`trials` is 0"),
        ({"frames": 0}, "`frames` is 0"),
        ({"seed": -1}, "`seed` is -1, a miniature has 0 to"),
    ],
)
def test_a_size_out_of_range_is_refused(tmp_path: Path, change: dict[str, int], words: str) -> None:
    write: Any
    for write in (write_miniature_ntu, write_miniature_etri):
        with pytest.raises(DataError, match=words):
            write(tmp_path / "out", **SIZE | change)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for write in (write_miniature_ntu, write_miniature_etri):
        with pytest.raises(DataError, match="is not empty: name a new folder"):
            write(tmp_path)
        with pytest.raises(DataError, match="cannot be written"):
            write(tmp_path / "mine.txt" / "below")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_writes_either_kind(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(miniature)
    options = ["--subjects", "2", "--actions", "1", "--views", "1", "--trials", "1", "--frames", "5"]
    for kind, count in (("ntu", 2), ("etri", 2 + 2)):
        done = CliRunner().invoke(app, [kind, str(tmp_path / kind), *options])
        assert (done.exit_code, done.output) == (0, f"{tmp_path / kind}: {count} recordings of 2 made-up persons\n")
    assert len(NtuImporter(tmp_path / "ntu").items()) == 2
    assert len(EtriImporter(tmp_path / "etri").items()) == 4
    wrong = CliRunner().invoke(app, ["ntu", str(tmp_path / "x"), "--malformed"])
    assert wrong.exit_code == 2
    assert "--malformed is for etri" in wrong.output


def test_actions_have_names_and_recordings_may_begin_late(tmp_path: Path) -> None:
    write_miniature_ntu(tmp_path / "early", **SIZE)
    write_miniature_ntu(tmp_path / "late", **SIZE, late_s=5.0)
    early, late = (NtuImporter(tmp_path / name) for name in ("early", "late"))
    assert early.names == {"action": {1: "wave", 2: "walk"}}
    assert early.items() == late.items()
    assert not np.allclose(sequences(early)[0].joints, sequences(late)[0].joints, atol=0.02)
    (tmp_path / "late" / "actions.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"actions\.txt cannot be read .*: line n of it names action n"):
        NtuImporter(tmp_path / "late")
    (tmp_path / "early" / "actions.txt").write_text("\nstroll \n", "utf-8")
    assert NtuImporter(tmp_path / "early").names == {"action": {2: "stroll"}}
