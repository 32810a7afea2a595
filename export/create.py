"""The runner that settings describe."""

import logging
from functools import partial

from skelanon.configs.schema import ModelSettings, RunnerName

from .bundle import Bundle
from .candidates import make_runner
from .choose import choose_runner
from .errors import BundleError, RunnerError
from .ort_cpu import OnnxRuntimeCpu
from .recovery import RecoveringRunner
from .runner import Runner
from .timing import Load, check_against

log = logging.getLogger(__name__)


def create_runner(bundle: Bundle, settings: ModelSettings, load: Load) -> Runner:
    """The runner of a node, warmed up. load: what the node will ask of it, for `runner: auto`.

    A runner on a GPU is compared with the CPU before it is used, and made anew when it fails.
    Raises RunnerError where it cannot be had and `fallback` names no other, BundleError where the graph is wrong.
    """
    name = settings.runner if settings.runner != "auto" else choose_runner(bundle, settings, load, _checked)
    if name == "cpu":
        return OnnxRuntimeCpu(bundle, threads=settings.threads)
    make = partial(_checked, name, bundle, settings)
    other = settings.fallback if settings.fallback != name else None
    fallback = partial(_checked, other, bundle, settings) if other is not None else None
    try:
        return RecoveringRunner(make(), make, fallback)
    except (RunnerError, BundleError) as error:
        if fallback is None:
            raise RunnerError(f"`model.runner` is {name}: {error}; or allow another with `model.fallback`") from error
        log.error("`model.runner` is %s: %s; `model.fallback` takes over: %s", name, error, other)
    return RecoveringRunner(fallback(), fallback)


def _checked(name: RunnerName, bundle: Bundle, settings: ModelSettings) -> Runner:
    """A runner that computes what the CPU computes."""
    runner = make_runner(name, bundle, settings)
    if name == "cpu":
        return runner
    reference = OnnxRuntimeCpu(bundle)
    try:
        check_against(runner, reference, bundle, tf32=settings.precision == "tf32")
    except (RunnerError, BundleError):
        runner.close()
        raise
    finally:
        reference.close()
    log.info("`model.runner`: %s, which agrees with the CPU", name)
    return runner
