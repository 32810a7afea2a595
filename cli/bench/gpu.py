"""`skelanon bench --gpu`: many bodies in one call, beside a call that does nothing, and many sensors on one runner."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from skelanon.configs.schema import ModelSettings, RunnerName
from skelanon.export.availability import available_runners
from skelanon.export.bundle import Bundle, read_bundle
from skelanon.export.candidates import make_runner
from skelanon.export.errors import BundleError, RunnerError
from skelanon.export.manifest import Manifest
from skelanon.export.runner import Runner
from skelanon.export.timing import Load, measure

from .figures import Figure
from .gathering import gather
from .plan import RATE_HZ, Candidate

FLOOR: Final = "floor: a call that does nothing"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured: bodies in one call, and sensors of two bodies each on one runner."""

    bodies: tuple[int, ...] = (1, 64, 1024, 8192)
    seconds: float = 3.0
    sensors: int = 1000
    sensors_s: float = 10.0


SMALL: Final = Scale(bodies=(1, 8), seconds=0.05, sensors=20, sensors_s=0.5)


def measure_gpu(
    bundles: Sequence[Candidate],
    names: Sequence[RunnerName],
    scale: Scale,
    settings: ModelSettings,
    note: Callable[[str], None],
) -> list[Figure]:
    """Each named runner, or each that this machine has; what is absent or fails is noted with its reason."""
    figures: list[Figure] = []
    usable = {one.name: one for one in available_runners()}
    for name in names or list(usable):
        if not usable[name].usable:
            note(f"{name}: {usable[name].reason}")
            continue
        for bundle in bundles:
            note(f"{bundle.name} on {name}")
            try:
                figures += _measure(name, read_bundle(bundle.path), bundle.name, scale, settings)
            except (RunnerError, BundleError) as error:
                note(f"{name}: {error}")
    return figures


def _measure(name: RunnerName, bundle: Bundle, label: str, scale: Scale, settings: ModelSettings) -> list[Figure]:
    size = bundle.manifest.bodies_per_sample
    samples = [-(-bodies // size) for bodies in scale.bodies]
    settings = settings.model_copy(update={"buckets": sorted({*settings.buckets, *samples})})
    figures = []
    runner, floor = make_runner(name, bundle, settings), make_runner(name, _nothing(bundle.manifest), settings)
    try:
        for bodies, count in zip(scale.bodies, samples, strict=True):
            part = f"{name}, {bodies:,} bodies"
            load = Load(float("inf"), count)
            found, least = measure(runner, load, scale.seconds), measure(floor, load, scale.seconds)
            rate = 1e6 * bodies / found.p50_us
            figures += [
                Figure(part=part, what="call", bundle=label, value=found.p50_us, p99=found.p99_us, unit="us"),
                Figure(part=part, what=FLOOR, bundle=label, value=least.p50_us, p99=least.p99_us, unit="us"),
                Figure(part=part, what="throughput", bundle=label, value=rate, unit="bodies/s"),
            ]
        return [*figures, *_crowd(name, runner, label, scale)]
    finally:
        runner.close()
        floor.close()


def _crowd(name: RunnerName, runner: Runner, label: str, scale: Scale) -> list[Figure]:
    found = gather(runner, sensors=scale.sensors, bodies=2, rate_hz=RATE_HZ, seconds=scale.sensors_s)
    part = f"{name}, {scale.sensors:,} sensors of 2 bodies at {RATE_HZ:.0f} Hz"
    p50_us, p95_us, p99_us = np.percentile(found.added_us, [50, 95, 99]).tolist() if found.added_us else [np.nan] * 3
    return [
        Figure(part=part, what="added latency", bundle=label, value=p50_us, p95=p95_us, p99=p99_us, unit="us"),
        Figure(part=part, what="anonymized", bundle=label, value=found.rate_hz, unit="frames/s"),
        Figure(part=part, what="dropped", bundle=label, value=found.dropped, unit="frames", at_most=0),
        Figure(part=part, what="withheld or at fault", bundle=label, value=found.lost, unit="frames", at_most=0),
    ]


def _nothing(manifest: Manifest) -> Bundle:
    """A model that returns what it gets: its call costs what launching and copying cost."""
    try:
        from onnx import TensorProto, helper
    except ImportError as error:
        raise RunnerError("onnx is not installed, which makes the empty model: pip install 'skelanon[gpu]'") from error
    about = msgspec.structs.replace(manifest, name="nothing", anonymizer="nothing", state_size=0, persona_size=0)
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in shapes.items()]
        for shapes in (about.inputs, about.outputs)
    )
    nodes = [helper.make_node("Identity", ["joints"], ["anonymous"])]
    if "present" in about.inputs:  # an input that nobody reads is dropped by some
        nodes = [
            helper.make_node("Reshape", ["present", "wide"], ["there"]),
            helper.make_node("Mul", ["joints", "there"], ["anonymous"]),
        ]
    wide = helper.make_tensor("wide", TensorProto.INT64, [4], [-1, about.bodies_per_sample, 1, 1])
    graph = helper.make_graph(nodes, "nothing", inputs, outputs, initializer=[wide])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    content = model.SerializeToString()
    return Bundle(about, hashlib.sha256(content).hexdigest(), content)
