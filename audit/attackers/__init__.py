"""Attackers by the names of their families."""

from functools import partial
from typing import cast

from skelanon.audit.channels import CHANNELS
from skelanon.configs.auditing import AttackerSettings
from skelanon.configs.training import Network

from .attacker import Attacker, Course, Lesson, Scores
from .channel import ChannelAttacker
from .learning import FrameAttacker, NetworkAttacker, WindowAttacker
from .networks import FrameNetwork, OnGraph, TemporalCnn, clips, features
from .proportions import ProportionsAttacker
from .statistics import StatisticsAttacker

__all__ = ["Attacker", "Course", "Lesson", "Scores", "create_attacker"]


def create_attacker(family: str, frames: int, settings: AttackerSettings, seed: int) -> Attacker:
    """A new attacker for clips of `frames` frames; `family` may be a side channel's name too."""
    if family in CHANNELS:
        return ChannelAttacker(family, seed)
    if family == "proportions":
        return ProportionsAttacker(seed)
    if family == "statistics":
        return StatisticsAttacker(seed)
    if family == "frame":
        return FrameAttacker(features, FrameNetwork, 1, settings, seed)
    if family == "window":
        return WindowAttacker(features, TemporalCnn, frames // 4, settings, seed)
    if family == "tcn":
        return NetworkAttacker(features, TemporalCnn, None, settings, seed)
    return NetworkAttacker(clips, partial(OnGraph, cast(Network, family)), None, settings, seed)
