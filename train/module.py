"""The base of every model that can be streamed. Shapes: N samples, T frames, P bodies, V = 25 joints, S state."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from skelanon.export.manifest import Axes, Root


class StreamModule(nn.Module, ABC):
    """A whole anonymizer, preprocessing included, whose state is fixed by the first frame that has a body in it.

    `forward` is one frame with carried state, as a bundle runs it; `sequence` is the same for all frames at once, as
    training runs it. A model whose state goes on changing overrides `sequence`.
    """

    bodies_per_sample: int
    state_size: int = 0
    persona_size: int = 0
    axes: Axes
    root: Root

    @abstractmethod
    def anonymize(self, joints: Tensor, present: Tensor | None, state: Tensor | None) -> Tensor:
        """Anonymize single frames: (N, P, 25, 3) to (N, P, 25, 3), given the state that holds for them."""

    def advance(self, joints: Tensor, present: Tensor | None, state: Tensor | None) -> Tensor | None:
        """The state (N, S) that holds for this frame and is carried to the next."""
        return state

    def forward(self, joints: Tensor, present: Tensor | None = None, state: Tensor | None = None) -> tuple[Tensor, ...]:
        """One frame: the inputs and outputs that the manifest names.

        joints: (N, P, 25, 3) float32, metres, camera axes, zeros where absent. present: (N, P), 1 where a body is;
        None when P = 1. state: (N, S), zeros for a new track; None when S = 0.
        Returns (anonymous,) or (anonymous, next_state).
        """
        state = self.advance(joints, present, state)
        anonymous = self.anonymize(joints, present, state)
        return (anonymous,) if state is None else (anonymous, state)

    def sequence(self, joints: Tensor, present: Tensor) -> Tensor:
        """Whole tracks: (N, T, P, 25, 3) joints and (N, T, P) presence to (N, T, P, 25, 3)."""
        samples, frames, bodies = present.shape
        state = None
        if self.state_size:
            first = present.amax(2).argmax(1)[:, None]  # (N, 1), 0 where nobody ever comes
            state = self.advance(
                joints.take_along_dim(first[..., None, None, None], 1).squeeze(1),
                present.take_along_dim(first[..., None], 1).squeeze(1) if bodies > 1 else None,
                joints.new_zeros(samples, self.state_size),
            )
            state = None if state is None else state.repeat_interleave(frames, 0)  # (N * T, S)
        anonymous = self.anonymize(joints.flatten(0, 1), present.flatten(0, 1) if bodies > 1 else None, state)
        return anonymous.unflatten(0, (samples, frames))
