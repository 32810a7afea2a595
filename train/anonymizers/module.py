"""The base of every model that can be streamed. Shapes: N samples, T frames, P bodies, V = 25 joints, S state."""

import copy
from abc import ABC, abstractmethod
from typing import Literal, Self

import torch
from torch import Tensor, nn

from skelanon.export.manifest import Axes, Root


class StreamModule(nn.Module, ABC):
    """A whole anonymizer, preprocessing included, whose state is fixed by the first frame that has a body in it.

    `forward` is one frame with carried state, as a bundle runs it; `sequence` is the same for all frames at once, as
    training runs it. A model whose state goes on changing overrides `sequence`.
    """

    bodies_per_sample: Literal[1, 2]
    state_size: int = 0
    persona_size: int = 0
    axes: Axes
    root: Root

    @abstractmethod
    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        """Anonymize single frames: (N, P, 25, 3) to (N, P, 25, 3), given the state that holds for them."""

    def advance(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        """The state (N, S) that holds for this frame and is carried to the next."""
        return state

    def settled(self, state: Tensor) -> Tensor | None:
        """() bool: `advance` gives every sample its own state back, and need not be computed. None: it never does."""
        return None

    def in_half_precision(self) -> Self:
        """A copy whose network has float16 weights; inputs, outputs, state and normalisation stay float32."""
        copied = copy.deepcopy(self)
        copied.halve()
        return copied

    @abstractmethod
    def halve(self) -> None:
        """Turn the weights of the network, and what is computed with them, into float16."""

    def forward(self, joints: Tensor, present: Tensor | None = None, state: Tensor | None = None) -> tuple[Tensor, ...]:
        """One frame: the inputs and outputs that the manifest names.

        joints: (N, P, 25, 3) float32, metres, camera axes, zeros where absent. present: (N, P), 1 where a body is;
        None when P = 1. state: (N, S), zeros for a new track; None when S = 0.
        Returns (anonymous,) or (anonymous, next_state).
        """
        if state is None:
            return (self.anonymize(joints, present, joints.new_zeros(joints.shape[0], 0)),)
        state = self._advance_unless_settled(joints, present, state)
        return self.anonymize(joints, present, state), state

    def sequence(self, joints: Tensor, present: Tensor) -> Tensor:
        """Whole tracks: (N, T, P, 25, 3) joints and (N, T, P) presence to (N, T, P, 25, 3)."""
        samples, frames, bodies = present.shape
        several = bodies > 1
        track = torch.arange(samples, device=present.device)
        first = present.amax(2).argmax(1)  # (N,), 0 where nobody ever comes
        state = self.advance(
            joints[track, first],
            present[track, first] if several else None,
            joints.new_zeros(samples, self.state_size),
        )
        anonymous = self.anonymize(
            joints.flatten(0, 1),  # (N * T, P, V, 3)
            present.flatten(0, 1) if several else None,
            state.repeat_interleave(frames, 0),
        )
        return anonymous.reshape(joints.shape)

    def _advance_unless_settled(self, joints: Tensor, present: Tensor | None, state: Tensor) -> Tensor:
        """In a bundle an `If`: most frames are spared most kernels. (Runners on a device take its `else` always.)"""
        settled = self.settled(state)
        if settled is None:
            return self.advance(joints, present, state)
        if not torch.compiler.is_exporting():
            return state if bool(settled) else self.advance(joints, present, state)
        carried: Tensor = torch.cond(
            settled, lambda state: state.clone(), lambda state: self.advance(joints, present, state), (state,)
        )
        return carried
