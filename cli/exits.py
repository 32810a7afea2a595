"""The exit codes of every command. docs/operations.md explains them to supervisors."""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """Why a command ended. A restart helps after INTERNAL and UNAVAILABLE alone."""

    OK = 0
    """Done, or ended as it was asked to."""
    INTERNAL = 1
    """skelanon itself has failed: a defect."""
    USAGE = 2
    """Wrong usage, settings, bundle, keys or recording: the same command will fail again."""
    NO = 3
    """It ran, and the answer is no: nothing came, there were faults, a node could not run here."""
    UNAVAILABLE = 4
    """Something outside is not to be had now: an address, a GPU, space on a disk, a node that does not answer."""
    INTERRUPTED = 130
    """Ctrl-C, where that is not the way to end it."""


PASSING: Final = {"skelanon.stream.errors.AddressError", "skelanon.export.errors.RunnerError"}
"""Errors that a restart may mend. By name: nothing is imported to end with."""


def code_of(error: Exception) -> Exit:
    """The exit code of an error in skelanon's own words."""
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return Exit.UNAVAILABLE if kinds & PASSING else Exit.USAGE
