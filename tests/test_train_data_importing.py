"""Imports: the same bytes however they came about, and nothing that opens where they did not."""

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")

from skelanon.cli.main import app
from skelanon.sensors.frame import BodyFrame
from skelanon.sensors.ntu import read_skeleton
from skelanon.sensors.skeleton_writer import write_skeleton
from skelanon.train.data.importing import CHUNK, import_dataset
from skelanon.train.data.store import SkeletonDataset
from skelanon.train.errors import DataError

RECORDINGS = 2 * CHUNK + 10

IMPORT = """
import os, resource, signal, sys, time
import psutil
from skelanon.train.data.importing import import_dataset
from skelanon.train.errors import DataError

def ids():
    return [child.pid for child in psutil.Process().children(recursive=True)]

def limited(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))

def run(workers, progress=lambda done, total: None):
    return import_dataset("ntu", sys.argv[1], sys.argv[2], workers=workers, progress=progress)

if __name__ == "__main__":
"""
"""Start of a script, which goes on indented; its arguments are the folder and OUT."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of one to three frames, three chunks of them."""
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    for i in range(RECORDINGS):
        frames = [
            BodyFrame(t, random.normal(size=(bodies, 25, 3)).astype(np.float32), states(bodies), tuple(range(bodies)))
            for t, bodies in enumerate([1 + i % 2] * (1 + i % 3))
        ]
        write_skeleton(folder / f"S001C{1 + i % 3:03}P{1 + i % 5:03}R001A{1 + i:03}.skeleton", frames)
    return folder


def states(bodies: int) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    return np.full((bodies, 25), 2, np.uint8)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set that one process makes of them in one go."""
    out = tmp_path_factory.mktemp("whole") / "out"
    import_dataset("ntu", folder, out, workers=1)
    return out


def test_own_recordings_have_a_licence_of_their_own(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "own"
    command = ["dataset", "import", "ntu", str(folder), str(out), "--workers", "1", "--licence", "ours, CC0"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    own, named = SkeletonDataset(out).info, SkeletonDataset(whole).info
    assert own.licence == "ours, CC0"
    assert "NTU RGB+D" in named.licence
    assert own.fingerprint == named.fingerprint


def content(out: Path) -> dict[str, str]:
    """A digest of each file below a folder."""
    files = [path for path in out.rglob("*") if path.is_file()]
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def script(body: str, folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    path = out.parent / "script.py"  # a file, for spawned workers import it
    path.write_text(IMPORT + lines)
    command: list[str | Path] = [sys.executable, path, folder, out]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, start_new_session=True)


def test_what_is_imported_is_what_was_recorded(folder: Path, whole: Path) -> None:
    dataset = SkeletonDataset(whole)
    paths = sorted(folder.iterdir())
    assert len(dataset) == dataset.info.kept == RECORDINGS
    assert (dataset.info.kind, dataset.info.rate_hz, dataset.info.skipped) == ("ntu", 30.0, {})
    for i, path in enumerate(paths):
        recording = read_skeleton(path)
        assert_array_equal(dataset[i].joints.reshape(-1, 25, 3), recording.joints)
        assert_array_equal(dataset[i].tracking.reshape(-1, 25), recording.tracking)
    assert_array_equal(dataset.labels["action"], [int(path.stem[-3:]) for path in paths])
    assert {name: values.dtype for name, values in dataset.labels.items()} == dict.fromkeys(
        ("setup", "view", "subject", "trial", "action"), np.dtype(np.int64)
    )
    assert set(content(whole)) == {"dataset.json", "index.npz", "joints.npy", "tracking.npy"}


def test_floats_and_names_of_labels_are_stored(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "gait.npz",
        joints_i16=np.ones((3, 25, 3), np.int16), scale_m=0.1, start=[0, 1, 3], kinect25_index=np.arange(25),
        subject=[1, 2], action=[1, 1], trial=[1, 1], gender=["F", "M"],
        height_m=[1.7, np.nan], weight_kg=[60.0, 70.0], age=[20.0, 30.0],
    )  # fmt: skip
    import_dataset("npz", tmp_path / "gait.npz", tmp_path / "out", workers=1)
    dataset = SkeletonDataset(tmp_path / "out")
    assert_array_equal(dataset.labels["height_m"], [1.7, np.nan])
    assert [dataset.info.names["gender"][code] for code in dataset.labels["gender"].tolist()] == ["female", "male"]


def test_the_fingerprint_is_of_joints_tracking_and_labels(folder: Path, whole: Path, tmp_path: Path) -> None:
    def fingerprint_with(change: Callable[[Path], object]) -> str:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        change(copy)
        found = import_dataset("ntu", copy, tmp_path / "out", workers=1).fingerprint
        shutil.rmtree(copy)
        shutil.rmtree(tmp_path / "out")
        return found

    def infer(copy: Path) -> None:
        path = min(copy.iterdir())
        path.write_text(path.read_text().removesuffix("2\n") + "1\n")

    def move(copy: Path) -> None:
        path = min(copy.iterdir())
        path.write_text(path.read_text().replace("0.", "1.", 1))

    def rename(copy: Path) -> None:
        path = min(copy.iterdir())
        path.rename(path.with_name(path.name.replace("R001", "R002")))

    found = [fingerprint_with(change) for change in (lambda copy: None, infer, move, rename)]
    assert found[0] == SkeletonDataset(whole).info.fingerprint
    assert len(set(found)) == 4


def test_two_processes_make_the_same_bytes(folder: Path, whole: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    import_dataset("ntu", folder, tmp_path / "out", workers=2, progress=lambda done, total: seen.append((done, total)))
    assert content(tmp_path / "out") == content(whole)
    assert seen[0] == (0, RECORDINGS)
    assert seen[-1] == (RECORDINGS, RECORDINGS)
    assert seen == sorted(seen)
    assert len(seen) == 4


@pytest.mark.slow
def test_a_killed_import_goes_on_and_leaves_no_processes(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kill = """
def progress(done, total):
    if done:
        sys.stdout.write(" ".join(map(str, ids())))
        sys.stdout.flush()
        os.kill(os.getpid(), signal.SIGKILL)
run(2, progress)
"""
    done = script(kill, folder, out)
    assert done.returncode == -signal.SIGKILL, done.stderr
    children = [int(pid) for pid in done.stdout.split()]
    assert len(children) >= 2
    alive = [psutil.Process(pid) for pid in children if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(alive, timeout=20)[1]

    with pytest.raises(DataError, match=r"is no data set: dataset\.json is missing"):
        SkeletonDataset(out)
    shards = {path: path.stat().st_mtime_ns for path in (out / "partial").glob("*.npz")}
    seen: list[int] = []
    import_dataset("ntu", folder, out, workers=1, progress=lambda done, total: seen.append(done))
    assert shards
    assert seen[0] == sum(RECORDINGS - 2 * CHUNK if path.stem == "000002" else CHUNK for path in shards) > 0
    assert content(out) == content(whole)


@pytest.mark.slow
def test_ctrl_c_ends_an_import_that_can_go_on(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    interrupt = """
try:
    run(2, lambda done, total: done and os.killpg(0, signal.SIGINT))  # as a terminal does: to workers as well
except KeyboardInterrupt:
    sys.stdout.write("interrupted")
"""
    done = script(interrupt, folder, out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "interrupted"
    assert not (out / "dataset.json").exists()
    import_dataset("ntu", folder, out, workers=1)
    assert content(out) == content(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize(("workers", "sizes"), [(1, (1000, 100_000)), pytest.param(2, (1000,), marks=pytest.mark.slow)])
def test_a_full_disk_is_an_error_and_leaves_nothing_that_opens(
    folder: Path, whole: Path, tmp_path: Path, workers: int, sizes: tuple[int, ...]
) -> None:
    out, enough = tmp_path / "out", (whole / "joints.npy").stat().st_size - 1
    full = f"""
for size in {(*sizes, enough)}:
    limited(size)
    try:
        run({workers})
    except DataError as error:
        sys.stdout.write(f"{{error}} {{os.path.exists(sys.argv[2] + '/dataset.json')}}\\n")
"""
    done = script(full, folder, out)
    assert (done.returncode, done.stderr) == (0, "")
    words = "cannot be written: File too large; make room, and run the same import again: it goes on where it stopped"
    assert done.stdout == f"{out} {words} False\n" * (len(sizes) + 1)
    with pytest.raises(DataError, match="is no data set"):
        SkeletonDataset(out)
    assert len(list((out / "partial").glob("*.npz"))) == 3
    import_dataset("ntu", folder, out, workers=1)
    assert content(out) == content(whole)


def test_a_folder_is_never_written_over(folder: Path, whole: Path, tmp_path: Path) -> None:
    before = content(whole)
    with pytest.raises(DataError, match="exists already: name another folder"):
        import_dataset("ntu", folder, whole)
    assert content(whole) == before
    (tmp_path / "thesis.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(DataError, match="exists and is no unfinished import: name another folder"):
            import_dataset("ntu", folder, out)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def stopped(folder: Path, out: Path) -> None:
    """Import, as far as the first chunk."""

    def progress(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset("ntu", folder, out, workers=1, progress=progress)
    assert [path.name for path in (out / "partial").glob("*.npz")] == ["000000.npz"]


@pytest.mark.parametrize("change", ["less", "longer", "listed"])
def test_an_import_does_not_go_on_with_other_input(folder: Path, tmp_path: Path, change: str) -> None:
    copy, out = tmp_path / "copy", tmp_path / "out"
    shutil.copytree(folder, copy)
    stopped(copy, out)
    last = max(copy.iterdir())
    if change == "less":
        last.unlink()
    elif change == "longer":
        last.write_text(last.read_text() + "\n")
    else:
        (copy / "my_missing_skeletons.txt").write_text(last.stem)
    with pytest.raises(DataError, match="holds an unfinished import of other recordings"):
        import_dataset("ntu", copy, out, workers=1)


def test_a_damaged_shard_is_named(folder: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped(folder, out)
    shard = out / "partial" / "000000.npz"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"000000\.npz is damaged: remove it"):
        import_dataset("ntu", folder, out, workers=1)
    shard.unlink()
    import_dataset("ntu", folder, out, workers=1)
    assert content(out) == content(whole)


def test_what_is_left_out_is_counted(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first, second, third, *_ = sorted(copy.iterdir())
    first.write_text("1\n0\n")
    second.write_text("1\n1\n")
    third.rename(copy / "third.skeleton")
    (copy / "S001C001P001R001A999.skeleton").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        info = import_dataset("ntu", copy, tmp_path / "out", workers=1)
    assert info.skipped == {"malformed": 2, "name of no sample": 1, "no bodies": 1}
    assert info.kept == len(SkeletonDataset(tmp_path / "out")) == RECORDINGS - 3
    assert "A999.skeleton: line 1" in caplog.text or f"{second.name}: line" in caplog.text


def test_nothing_to_keep_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    for i in range(3):
        (folder / f"S001C001P001R001A00{i}.skeleton").write_text("1\nx\n")
    with pytest.raises(
        DataError, match=r"nothing to keep of 3 recordings: \{'malformed': 3\}; the first .*A000.*line 2"
    ):
        import_dataset("ntu", folder, out, workers=1)
    assert not out.exists()


def test_other_kinds_and_folders_are_refused_at_once(tmp_path: Path) -> None:
    for kind, folder, message in (
        ("kinetics", tmp_path, "'kinetics' is no kind of data set that can be imported: ntu, etri, utd-mhad, npz"),
        ("ntu", tmp_path / "none", "none does not exist: name the folder of the recordings"),
        ("ntu", tmp_path, "holds no NTU RGB"),
        ("etri", tmp_path, r"gender_age\.txt"),
        ("utd-mhad", tmp_path, "holds no UTD-MHAD recordings"),
        ("npz", tmp_path, "holds 0 npz files"),
    ):
        with pytest.raises(DataError, match=message):
            import_dataset(kind, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "folder", "sequences", "persons", "actions"), [
    ("ntu", "ntu", 10, 4, 9),
    ("npz", "ucalgary_gait.npz", 153, 26, 3),
    ("utd-mhad", "utd_mhad", 861, 8, 27),
])  # fmt: skip
def test_real_sets(
    data: Path, tmp_path: Path, kind: str, folder: str, sequences: int, persons: int, actions: int
) -> None:
    info = import_dataset(kind, data / folder, tmp_path / "out", workers=1)
    dataset = SkeletonDataset(tmp_path / "out")
    assert (len(dataset), info.kept, info.skipped) == (sequences, sequences, {})
    assert len(set(dataset.labels["subject"].tolist())) == persons
    assert len(set(dataset.labels["action"].tolist())) == actions
    assert os.path.getsize(tmp_path / "out" / "joints.npy") > 300 * int(dataset.frames.sum())
