"""What an audit finds, as it is written to `audit.json`."""

from typing import Final, Literal

import msgspec

from .statistics import Interval

FORMAT: Final = 1
RAW: Final = "raw"
TEMPLATE: Final = "template"
"""Names of releases: skeletons as they were recorded, and what the bundle that comes with skelanon makes of them."""

Threat = Literal["adaptive", "ignorant", "from template"]


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was told, and how the sequences were divided."""

    name: str
    label: str
    use: Literal["private", "utility"]
    classes: tuple[int, ...]
    """Values told apart; none where a number is estimated."""
    learned: int
    """Sequences that attackers learned from; of these..."""
    validated: int
    """...so many were kept for their validation."""
    tried: int
    """Sequences that they were tried on."""
    persons: int
    """Whose these are."""
    duplicates: int
    """Sequences left out of learning because they are tried as well, to the bit."""
    unseen: int
    """Sequences not tried because nothing of their class is learned from."""
    prior: float
    """What guessing gets: the share of the most frequent class; 0, an R2, of estimates."""
    prior_interval: Interval
    """Wilson's."""
    known: float | None
    """What attackers of sufficient strength reach on raw skeletons."""


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """One attacker, on one release, for one task; over all seeds."""

    release: str
    task: str
    threat: Threat
    """Who learned from: the release itself, with true labels (adaptive); raw skeletons (ignorant); Template."""
    family: str
    kind: str
    """What it sees: proportions, statistics, frame, window, clip."""
    scores: tuple[float, ...]
    """Accuracy over sequences, or R2, for each seed."""
    interval: Interval
    """Of the mean over seeds; persons drawn anew."""
    epochs: tuple[int, ...]
    """Until the best, for each seed."""
    counts: bool
    """It converged, and on raw skeletons it is as strong as it has to be."""

    @property
    def score(self) -> float:
        """Mean over seeds."""
        return sum(self.scores) / len(self.scores)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What can be told from a release: the strongest adaptive attacker's word."""

    release: str
    task: str
    family: str
    """The strongest attacker, or the side channel that tells most."""
    score: float
    """Its accuracy or R2, mean over seeds."""
    interval: Interval
    """Of the maximum over all adaptive attackers; persons drawn anew."""
    told: bool
    """The interval lies above what guessing gets."""
    of_persons: dict[int, float]
    """Share of each person's sequences that it tells right; empty for estimates."""
    confusion: tuple[tuple[int, ...], ...]
    """[true class][told class], sequences, first seed; empty for estimates."""


class Weak(msgspec.Struct, frozen=True, kw_only=True):
    """An attacker that proves nothing, since it fails on raw skeletons."""

    task: str
    family: str
    score: float
    """On raw skeletons."""
    needed: float
    converged: bool


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a release's skeletons differ from raw ones; centred and turned alike, over measured joints."""

    release: str
    rmse_m: float
    """Root mean square difference of coordinates."""
    mpjpe_m: float
    """Mean distance of joints from where they were."""
    bone_spread_m: float
    """Standard deviation of a bone's length within a sequence, mean over bones and sequences."""
    jerk: float
    """Mean third difference of joints between frames, relative to that of raw skeletons."""
    withheld: float
    """Share of the raw bodies that were not published."""
    shared_least: int
    """Persons who share a frame, themselves included: the fewest. Frames are the same to a millimetre in each joint."""
    shared_median: float
    """The same: the median over frames."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """What something beside the pose tells of a private label: the strongest of its attackers, adaptive."""

    release: str
    task: str
    name: str
    """`ids`, `order`, `timestamps`, `tracking states`, `gaps`, `duration`, `place and stride`, `last bits`."""
    score: float
    """Accuracy, mean over seeds."""
    interval: Interval
    """Persons drawn anew."""
    told: bool
    """The interval lies above what guessing gets."""


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of a private label without any skeleton: by the true `label` and the number of frames published."""

    release: str
    task: str
    label: str
    """The useful label, `action` mostly."""
    score: float
    """Accuracy of the stronger of two attackers."""
    interval: Interval
    """Persons drawn anew."""


class Linkage(msgspec.Struct, frozen=True, kw_only=True):
    """Whether two sequences of a person never seen before are known to be of one person."""

    release: str
    gallery: Literal["released", "raw"]
    """What a released sequence is compared with: others of the release, or raw ones (the threat `cross`)."""
    learned: int
    """Persons that the attacker learned from."""
    persons: int
    """Persons to be linked."""
    auc: float
    """Area under the ROC curve of same person against another; 0.5 says nothing."""
    auc_interval: Interval
    """Persons drawn anew."""
    eer: float
    """Equal error rate; 0.5 says nothing."""
    tpr_at_1_fpr: float
    """True positive rate where 1 % of the pairs of different persons pass for one; 0.01 says nothing."""
    converged: bool
    """The attacker stopped because nothing improved any more."""


class Inversion(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the raw skeleton comes back, by a network that learned it from pairs of other sequences."""

    release: str
    task: str
    """Whose split divides learning and trying, and whose label is read again."""
    mpjpe_m: float
    """Mean distance of inverted from raw joints, centred and turned alike, over measured joints."""
    mpjpe_released_m: float
    """The same without inverting."""
    bone_error_m: float
    """Mean error of the mean length of a bone in a sequence, after inverting."""
    bone_error_guess_m: float
    """The same for one who guesses the mean over all persons that were learned from."""
    read_again: float
    """Accuracy of the strongest attacker that learned from raw skeletons, on inverted ones."""
    interval: Interval
    """Of `read_again`; persons drawn anew."""
    converged: bool
    """The inverter stopped because nothing improved any more."""


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    format: int = FORMAT
    data: str
    """Kind of the data set."""
    fingerprint: str
    """Of the data set."""
    sequences: int
    releases: dict[str, str]
    """Name to a hash of what decides the release: the set, the way, the contents of files."""
    seeds: tuple[int, ...]
    tasks: tuple[TaskRecord, ...]
    attacks: tuple[Attack, ...]
    findings: tuple[Finding, ...]
    weak: tuple[Weak, ...]
    failed: tuple[str, ...]
    """Why this audit says nothing of privacy; empty where it does."""
    shapes: tuple[Shape, ...]
    channels: tuple[Channel, ...] = ()
    floors: tuple[Floor, ...] = ()
    linkage: tuple[Linkage, ...] = ()
    inversions: tuple[Inversion, ...] = ()
    bits_per_frame: dict[str, float] = {}
    """Of releases by bundles that say so: the most that one frame carries, on average."""
    settings: dict[str, object]
