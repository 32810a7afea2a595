"""Pictures of sequences: what is drawn where, files of the right kind and size, and what is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs skelanon[train]")
pytest.importorskip("matplotlib", reason="needs skelanon[train]")

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from skelanon.cli.dataset_show import show
from skelanon.sensors.body import ancestor_matrix, bone_lengths, rest_directions
from skelanon.sensors.joints import BONES, INDEX, JOINTS
from skelanon.train.data.show import PALETTE, View, draw_skeletons, set_limits, show_sequence
from skelanon.train.data.store import DatasetInfo, SkeletonDataset
from skelanon.train.errors import DataError

FRAMES = 6
MEASURED = tuple(joint != INDEX["Neck"] for joint in range(JOINTS))


def standing(x: float = 0.0) -> NDArray[np.float32]:
    """(25, 3): an average body that faces the sensor, three metres away."""
    joints = ancestor_matrix() @ (rest_directions() * bone_lengths()[:, None]) + (x, 0.1, 3.0)
    return joints.astype(np.float32)


@pytest.fixture
def dataset(tmp_path: Path) -> SkeletonDataset:
    """Two sequences: somebody who walks to the left, and somebody beside a body that is not there."""
    folder = tmp_path / "set"
    folder.mkdir()
    walking = np.stack([standing(x) for x in np.linspace(-1, 1, FRAMES)])
    pair = np.stack([standing(), np.zeros((JOINTS, 3), np.float32)])
    joints = np.concatenate([walking, pair])
    np.save(folder / "joints.npy", joints)
    np.save(folder / "tracking.npy", np.full(joints.shape[:2], 2, np.uint8))
    np.savez(
        folder / "index.npz",
        start=np.array([0, FRAMES]),
        frames=np.array([FRAMES, 1]),
        bodies=np.array([1, 2]),
        action=np.array([2, -1]),
        age=np.array([50.0, np.nan]),
    )
    info = DatasetInfo(
        kind="made-up",
        licence="none",
        rate_hz=25.0,
        measured=MEASURED,
        names={"action": {2: "walk"}},
        kept=2,
        fingerprint="",
    )
    (folder / "dataset.json").write_bytes(msgspec.json.encode(info))
    return SkeletonDataset(folder)


def drawn(joints: NDArray[np.float32], view: View = "front") -> tuple[Axes, LineCollection, PathCollection]:
    axes = Figure().subplots()
    draw_skeletons(axes, joints[None], measured=MEASURED, view=view)
    lines, dots = axes.collections
    assert isinstance(lines, LineCollection)
    assert isinstance(dots, PathCollection)
    return axes, lines, dots


def test_bones_have_the_colours_of_their_sides_and_filled_joints_are_hollow() -> None:
    _, lines, dots = drawn(standing())
    colours = dict(zip(BONES, [to_hex(colour) for colour in np.asarray(lines.get_edgecolor())], strict=True))
    assert colours[INDEX["ElbowLeft"]] == PALETTE.left
    assert colours[INDEX["FootRight"]] == PALETTE.right
    assert colours[INDEX["SpineMid"]] == PALETTE.centre
    hollow = [to_hex(colour) == "#ffffff" for colour in np.asarray(dots.get_facecolor())]
    assert hollow == [not measured for measured in MEASURED]
    widths = dict(zip(BONES, np.asarray(lines.get_linewidth()), strict=True))
    assert widths[INDEX["Neck"]] < widths[INDEX["Head"]]


def test_views_are_not_mirrored() -> None:
    places = np.asarray(drawn(standing(0.3))[2].get_offsets())
    assert places[INDEX["ShoulderLeft"], 0] > places[INDEX["ShoulderRight"], 0]  # as one sees somebody one faces
    np.testing.assert_allclose(places[INDEX["SpineBase"]], (-0.3, 0.1), atol=1e-6)
    places = np.asarray(drawn(standing(0.3), "side")[2].get_offsets())
    assert places[INDEX["FootLeft"], 0] < places[INDEX["AnkleLeft"], 0]  # from the sensor's right: looks to the left
    np.testing.assert_allclose(places[INDEX["SpineBase"]], (3.0, 0.1), atol=1e-6)


def test_what_is_not_there_is_not_drawn() -> None:
    joints = standing()
    joints[INDEX["ElbowLeft"]] = 0.0
    axes, lines, dots = drawn(joints)
    assert len(np.asarray(dots.get_offsets())) == JOINTS - 1
    assert len(lines.get_segments()) == len(BONES) - 2
    draw_skeletons(axes, np.zeros((1, JOINTS, 3), np.float32))
    assert len(axes.collections) == 2


def test_limits_hold_all_bodies_at_equal_scale_and_drawing_keeps_them() -> None:
    axes = Figure().subplots()
    bodies = np.stack([standing(-1), standing(1)])
    set_limits(axes, bodies)
    (left, right), (low, high) = limits = axes.get_xlim(), axes.get_ylim()
    assert left < (-bodies[..., 0]).min() < (-bodies[..., 0]).max() < right
    assert low < bodies[..., 1].min() < bodies[..., 1].max() < high
    assert right - left < 3.1
    assert axes.get_aspect() == 1.0
    draw_skeletons(axes, np.stack([standing(5)]))
    assert (axes.get_xlim(), axes.get_ylim()) == limits


def test_a_picture_has_its_panels_in_rows(dataset: SkeletonDataset, tmp_path: Path) -> None:
    sizes = {}
    for name, panels, views in (("few", 3, ("front",)), ("more", 6, ("front",)), ("side", 6, ("front", "side"))):
        show_sequence(dataset, 0, tmp_path / f"{name}.png", panels=panels, views=views)  # type: ignore[arg-type]
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.format == "PNG"
            sizes[name] = image.size
            ink = (np.asarray(image.convert("L")) < 250).mean()
            assert 0.01 < ink < 0.2
    assert sizes["few"][0] < sizes["more"][0]
    assert sizes["few"][1] == sizes["more"][1] < sizes["side"][1]


def test_panels_are_no_more_than_frames(dataset: SkeletonDataset, tmp_path: Path) -> None:
    for panels in (FRAMES, 50):
        show_sequence(dataset, 0, tmp_path / f"{panels}.png", panels=panels)
    assert (tmp_path / f"{FRAMES}.png").read_bytes() == (tmp_path / "50.png").read_bytes()


def test_an_animation_has_all_frames_at_the_sets_rate(dataset: SkeletonDataset, tmp_path: Path) -> None:
    show_sequence(dataset, 0, tmp_path / "walk.gif", views=("front", "side"))
    with Image.open(tmp_path / "walk.gif") as image:
        assert (image.format, getattr(image, "n_frames", 0), image.info["duration"]) == ("GIF", FRAMES, 40)
        columns = []
        for frame in range(FRAMES):
            image.seek(frame)
            pixels = np.asarray(image.convert("RGB")).astype(int)[: image.height // 2]  # the front view
            blue = (pixels[..., 2] > 120) & (pixels[..., 0] < 60)
            columns.append(np.flatnonzero(blue.any(axis=0)).mean())
    assert (np.diff(columns) < -5).all()  # to the sensor's left, which is on the left; nothing of earlier frames stays


def test_an_absent_body_is_left_out_of_the_picture(dataset: SkeletonDataset, tmp_path: Path) -> None:
    show_sequence(dataset, 1, tmp_path / "pair.png")
    assert (tmp_path / "pair.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("index", "out", "panels", "words"),
    [
        (2, "a.png", 8, "has no sequence 2: it has 2, numbered from 0 on"),
        (-1, "a.png", 8, "has no sequence -1"),
        (0, "a.jpg", 8, r"a\.jpg is neither a \.png nor a \.gif"),
        (0, "a", 8, "is neither a .png nor a .gif"),
        (0, "a.png", 0, "`panels` is 0"),
        (0, "nowhere/a.png", 8, r"nowhere/a\.png cannot be written: No such file or directory"),
        (0, "nowhere/a.gif", 8, r"nowhere/a\.gif cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    dataset: SkeletonDataset, tmp_path: Path, index: int, out: str, panels: int, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        show_sequence(dataset, index, tmp_path / out, panels=panels)


def test_the_command_draws(dataset: SkeletonDataset, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(show)
    out = tmp_path / "walk.png"
    done = CliRunner().invoke(app, [str(dataset.folder), "0", "--out", str(out), "--side", "--panels", "2"])
    assert (done.exit_code, done.output) == (0, f"{out}: sequence 0 of {dataset.folder}\n")
    assert out.read_bytes().startswith(b"\x89PNG")
