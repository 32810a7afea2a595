"""Every setting of an audit, checked when it is loaded."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .schema import Settings
from .training import Place, SplitSettings

Family = Literal[
    "proportions", "statistics", "frame", "window", "tcn", "st_gcn", "ctr_gcn", "sgn", "shift_gcn", "agcn", "ms_g3d"
]
Share = Annotated[float, Field(gt=0, lt=1)]


class TaskSettings(Settings):
    """One thing that is told from published skeletons: a label, by attackers who learn on one part of the set."""

    name: Place
    """How the report calls it: `identity across trials`."""
    label: Place
    """Column of the data set; whole numbers are told apart, others (`height_m`) are estimated."""
    split: SplitSettings
    """On what attackers learn, and on what they are tried."""
    use: Literal["private", "utility"] = "private"
    """`private`: nobody should be able to tell; `utility`: recognizers should."""
    known: float | None = Field(default=None, ge=0, le=1)
    """What an attacker of sufficient strength reaches on raw skeletons, measured independently: accuracy, or R2."""


class LinkageSettings(Settings):
    """Whether persons whom the attacker has never seen are found again."""

    label: Place = "subject"
    """Column of the persons."""
    split: SplitSettings
    """By `label`: on which persons the attacker learns, and which are to be linked."""
    name: Place = "linkage of unseen persons"
    """How the report calls it."""

    @model_validator(mode="after")
    def _by_person(self) -> Self:
        if self.split.by != self.label:
            raise ValueError(f"`split.by` is {self.split.by!r}: persons to be linked are unseen only if split by them")
        return self


class AttackerSettings(Settings):
    """How hard attackers try."""

    families: list[Family] = Field(min_length=1)
    """Which kinds of attackers; see docs/privacy.md."""
    seeds: list[int] = Field(min_length=1)
    """Each attacker is trained once with each."""
    max_epochs: int = Field(default=300, ge=1)
    """Who has not stopped improving by then has not converged, and does not count."""
    patience: int = Field(default=20, ge=2)
    """Epochs without improvement on the attacker's own validation sequences before the learning rate falls, twice."""
    batch_size: int = Field(default=32, ge=2)
    """Clips in a step."""
    learning_rate: float = Field(default=0.001, gt=0)
    """Of Adam."""
    draws: int = Field(default=8, ge=1)
    """How often attackers have a release made to learn from, where it is drawn at random: noise, personas."""
    validation: Share = 0.15
    """Share of the sequences that an attacker learns on which it keeps for validation, of each class alike."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where networks learn; `auto` is a GPU where torch finds one."""
    sufficient: float = Field(default=0.9, gt=0, le=1)
    """Of what is `known`, or of the best attacker's score, an attacker must reach this share on raw skeletons."""


class AuditSettings(Settings):
    """An audit: what is published, who attacks it, what they want to tell."""

    data: Place
    """A folder that `skelanon dataset import` wrote."""
    frames: int = Field(default=48, ge=4, multiple_of=4)
    """Frames of the clip that an attacker sees of a sequence, evenly spaced over all of it."""
    person: Place = "subject"
    """Column of the persons: confidence intervals are over persons."""
    tasks: list[TaskSettings] = Field(min_length=1)
    """What is told."""
    linkage: LinkageSettings | None = None
    """Persons never seen; not tried where absent."""
    inversion: bool = True
    """Whether raw skeletons are learned back from published ones."""
    attackers: AttackerSettings
    """Who tells it."""

    @model_validator(mode="after")
    def _each_name_once(self) -> Self:
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"`tasks` has the names {names}: each once")
        return self
