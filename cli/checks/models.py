"""Runners and bundles: what can run a model here, and whether it does. All of it in a child process."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from .line import Line, said, without_folders

if TYPE_CHECKING:
    from skelanon.export import Runner

CALLS: Final = 100
_SLOW_US: Final = 20_000.0
"""Of the 33 ms between two frames at 30 Hz, some must be left for the rest."""


def runners(*wanted: str) -> Iterator[Line]:
    """All runners, with the reason why one is absent; a node needs one of those that are wanted."""
    from skelanon.export.availability import available_runners

    found = available_runners()
    served = any(runner.usable for runner in found if runner.name in wanted)
    for runner in found:
        what, reason = f"runner {runner.name}", without_folders(runner.reason)
        if runner.usable:
            yield Line("model", what, "ok", reason, needed=runner.name in wanted)
            continue
        reason, _, remedy = reason.rpartition(": ")
        if not reason:
            reason, remedy = remedy, f"choose another `model.runner`, or reinstall what runner {runner.name} needs"
        yield Line("model", what, "missing", reason, remedy, needed=runner.name in wanted and not served)


def bundle(path: str = "default", sha256: str = "", threads: str = "1") -> Iterator[Line]:
    """Read and verify a bundle, and run frames of one sample through it on the CPU."""
    from skelanon.export import BundleError, OnnxRuntimeCpu, RunnerError, default_bundle_path, read_bundle

    what = "default bundle" if path == "default" else "`model.bundle`"
    remedy = "reinstall skelanon" if path == "default" else "name a file that `skelanon export` has written"
    try:
        found = read_bundle(default_bundle_path() if path == "default" else path, sha256=sha256 or None)
    except BundleError as error:
        pinned = "; `skelanon inspect FILE` prints the digest for `model.sha256`" if sha256 else ""
        reason, remedy = said(error, remedy + pinned)
        yield Line("model", what, "broken", reason, remedy, needed=True)
        return
    about = f"{found.manifest.name}, sha256 {found.sha256[:12]}{', as `model.sha256` asks' if sha256 else ''}"
    yield Line("model", what, "ok", about, needed=True)
    what += " on the CPU"
    try:
        runner = OnnxRuntimeCpu(found, threads=int(threads))
        yield _timed(runner, what)
    except RunnerError as error:  # it names the line that installs onnxruntime
        yield Line("model", what, "missing", str(error).partition(": ")[0], "pip install 'skelanon[cpu]'", needed=True)
    except BundleError as error:
        yield Line("model", what, "broken", str(error), remedy, needed=True)


def _timed(runner: "Runner", what: str) -> Line:
    """Median of so many calls of one sample each, in microseconds."""
    import numpy as np

    joints = np.random.default_rng(0).standard_normal((1, *runner.manifest.inputs["joints"])).astype(np.float32)
    present = np.ones(joints.shape[:2], np.float32)
    took_ns = []
    for call in range(CALLS):
        started_ns = time.perf_counter_ns()
        runner.step([0], [call == 0], joints, present)
        took_ns.append(time.perf_counter_ns() - started_ns)
    runner.close()
    median_us = sorted(took_ns)[CALLS // 2] / 1000
    found = f"{median_us:,.0f} us, p50 of {CALLS} calls, bodies in each: {joints.shape[1]}"
    if median_us > _SLOW_US:
        remedy = "too slow for 30 Hz: stop other programs, use a smaller model, or a GPU (`model.runner`)"
        return Line("model", what, "warn", found, remedy)
    return Line("model", what, "ok", found, needed=True)
