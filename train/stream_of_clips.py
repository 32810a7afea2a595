"""Clips one after the other, as a sensor sees them: who is done with one action does another."""

from typing import NamedTuple

import torch
from torch import Tensor

from skelanon.configs.training import AugmentationSettings


class Stream(NamedTuple):
    """N streams of S frames that are looked at, each of two clips."""

    directions: Tensor
    """(N, S, 72)."""
    second_at: Tensor
    """(N,), the frame at which the second clip begins."""


def stream_of(directions: Tensor, second_at: Tensor, second: Tensor, blend: int) -> Stream:
    """(N, F, 72) directions of clips, held at the end, to streams of 2 F frames, also held.

    second_at: (N,), at most F, a multiple of `blend`; second: (N,), which clip then follows. In the `blend` frames
    before it one goes over into the other.
    """
    clips, longest, _ = directions.shape
    at = torch.arange(2 * longest, device=directions.device).expand(clips, -1)
    clip = torch.arange(clips, device=directions.device)[:, None]
    later = at - second_at[:, None]
    first = directions[clip, at.clamp_max(longest - 1)]
    following = directions[second[:, None], later.clamp(0, longest - 1)]
    share = ((later + blend + 1).float() / (blend + 1)).clamp(0, 1)[..., None]
    return Stream(torch.lerp(first, following, share), second_at)


def halves(values: Tensor, second_at: Tensor, longest: int) -> Tensor:
    """(N, L, ...) of streams to (2 N, longest, ...): of all first clips, then of all second ones."""
    at = torch.arange(longest, device=values.device)
    clip = torch.arange(len(values), device=values.device)[:, None]
    return torch.cat([values[:, :longest], values[clip, second_at[:, None] + at]])


def wanted(courses: Tensor, stream: Stream, late: int) -> Tensor:
    """(2 N, F, 72), courses of first actions, then of second ones, to (N, 2 F, 72): each begins `late` frames after
    its clip and goes on to its end, then is held; before, its first frame.
    """
    first, second = courses.chunk(2)
    longest = first.shape[1]
    at = torch.arange(2 * longest, device=courses.device) - late
    clip = torch.arange(len(first), device=courses.device)[:, None]
    later = at - stream.second_at[:, None]  # (N, 2 F)
    before = first[:, at.clamp(0, longest - 1)]
    return torch.where(later[..., None] < 0, before, second[clip, later.clamp(0, longest - 1)])


def augmented(directions: Tensor, frames: Tensor, settings: AugmentationSettings, window: int) -> tuple[Tensor, Tensor]:
    """Clips (N, F, 72) with another pace, another beginning within the first window, and noise; and how long they are.

    frames: (N,), how long they were.
    """
    clips, longest, _ = directions.shape
    device = directions.device
    pace = torch.exp(settings.pace * (2 * torch.rand(clips, device=device) - 1))
    start = torch.randint(0, window, (clips,), device=device)
    at = start[:, None] + torch.arange(longest, device=device) * pace[:, None]  # (N, F), in recorded frames
    last = (frames - 1)[:, None]
    lower = at.long().minimum(last)
    upper = (lower + 1).minimum(last)
    share = (at - lower).clamp(0, 1)[..., None]
    clip = torch.arange(clips, device=device)[:, None]
    warped = torch.lerp(directions[clip, lower], directions[clip, upper], share)
    fixed = torch.randn(clips, 1, warped.shape[2], device=device)
    noisy = warped + settings.noise * (3 * fixed + torch.randn_like(warped))
    left = ((frames - start).clamp_min(1) / pace).long().clamp(min(2 * window, longest), longest)
    return noisy, left
