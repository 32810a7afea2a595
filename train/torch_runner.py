"""Runs a module as the node would run its bundle: for parity, and on machines that have torch and nothing else."""

import torch

from skelanon.export.bundle import Bundle
from skelanon.export.errors import RunnerError
from skelanon.export.runner import Floats, HostRunner

from .anonymizers.module import StreamModule


class TorchRunner(HostRunner):
    """The module of which the bundle was made, in torch.

    device: as torch names it. Raises RunnerError where torch has no such device.
    """

    def __init__(self, module: StreamModule, bundle: Bundle, *, device: str = "cpu") -> None:
        super().__init__(bundle)
        try:
            self._device = torch.device(device)
            self._module: StreamModule | None = module.eval().to(self._device)
        except (RuntimeError, AssertionError) as error:  # AssertionError: a torch that is built without CUDA
            raise RunnerError(f"torch cannot use the device {device!r}: see `torch.cuda.is_available()`") from error

    def _call(self, joints: Floats, present: Floats, state: Floats, persona: Floats) -> tuple[Floats, Floats]:
        values = {"joints": joints, "present": present, "state": state, "persona": persona}
        inputs = {name: torch.from_numpy(values[name]).to(self._device) for name in self.manifest.inputs}
        if self._module is None:
            raise RunnerError("the runner is closed")
        try:
            with torch.inference_mode():
                results = [result.cpu().numpy() for result in self._module(**inputs)]
        except Exception as error:
            raise RunnerError(f"the model call failed in torch ({type(error).__name__})") from error
        return results[0], results[1] if len(results) > 1 else state

    def close(self) -> None:
        self._module = None
