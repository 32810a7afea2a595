"""Clips one after the other, as a sensor sees them: who is done with one action does another."""

from typing import NamedTuple

import torch
from torch import Tensor

from skelanon.configs.training import AugmentationSettings


class Stream(NamedTuple):
    """N streams of S frames that are looked at, each of two clips."""

    directions: Tensor
    """(N, S, 72)."""
    begins: Tensor
    """(N, 2), the frames at which the clips begin."""


def stream_of(directions: Tensor, second: Tensor, begins: Tensor, frames: int, blend: int) -> Stream:
    """(N, F, 72) directions of clips, held at the end, to streams of so many frames; at first and at the end, too, they
    are held.

    second: (N,), which clip follows. begins: (N, 2); in the `blend` frames before the second clip, one goes over into
    the other.
    """
    clips, longest, _ = directions.shape
    at = torch.arange(frames, device=directions.device)
    clip = torch.arange(clips, device=directions.device)[:, None]
    since = at - begins[..., None]  # (N, 2, S)
    first, following = since.clamp(0, longest - 1).unbind(1)
    share = ((since[:, 1] + blend + 1).float() / (blend + 1)).clamp(0, 1)[..., None]
    return Stream(torch.lerp(directions[clip, first], directions[second[:, None], following], share), begins)


def halves(values: Tensor, begins: Tensor, longest: int) -> Tensor:
    """(N, L, ...) of streams to (2 N, longest, ...): of all first clips, then of all second ones.

    begins: (N, 2), in L, at most L - longest.
    """
    at = torch.arange(longest, device=values.device)
    clip = torch.arange(len(values), device=values.device)[:, None]
    return torch.cat([values[clip, begin[:, None] + at] for begin in begins.unbind(1)])


def wanted(courses: Tensor, action: Tensor, starts: Tensor, frames: int) -> Tensor:
    """Courses (actions, F, D) to (N, frames, D): those of first actions, then of second ones.

    action: (2N,), first ones, then second ones. starts: (N, 2), the frame at which each begins; it goes on to its end,
    then is held; before the first, its first frame.
    """
    longest = courses.shape[1]
    since = torch.arange(frames, device=courses.device) - starts[..., None]  # (N, 2, frames)
    first, following = (since.clamp(0, longest - 1) + action.reshape(2, -1).T[..., None] * longest).unbind(1)
    return courses.flatten(0, 1)[torch.where(since[:, 1] < 0, first, following)]


def augmented(
    directions: Tensor, frames: Tensor, onset: Tensor, settings: AugmentationSettings, window: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Clips (N, F, 72) with another pace, a rest of less than a window before, and noise; how long they are, and when
    they begin to move. Past their end they are held exactly, as the stream holds who has left.

    frames: (N,), how long they were; onset: (N,), when they began to move.
    """
    clips, longest, _ = directions.shape
    device = directions.device
    pace = torch.exp(settings.pace * (2 * torch.rand(clips, device=device) - 1))
    rest = torch.randint(window, (clips,), device=device)
    at = torch.arange(longest, device=device) * pace[:, None] - rest[:, None]  # (N, F), in recorded frames
    last = (frames - 1)[:, None]
    lower = at.clamp_min(0).long().minimum(last)
    upper = (lower + 1).minimum(last)
    share = (at - lower).clamp(0, 1)[..., None]
    clip = torch.arange(clips, device=device)[:, None]
    warped = torch.lerp(directions[clip, lower], directions[clip, upper], share)
    fixed = torch.randn(clips, 1, warped.shape[2], device=device)
    noisy = warped + settings.noise * (3 * fixed + torch.randn_like(warped))
    left = ((frames + rest) / pace).long().clamp(min(2 * window, longest), longest)
    held = torch.arange(longest, device=device).minimum(left[:, None] - 1)  # (N, F)
    return noisy[clip, held], left, ((onset + rest) / pace).long().clamp_max(longest - 1)
