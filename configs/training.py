"""Every setting of a training run, checked when it is loaded. A docstring line per field; nothing changes silently."""

import os
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from .schema import Settings

Network = Literal["ms_g3d", "ms_g3d_without_g3d", "shift_gcn", "agcn", "st_gcn", "ctr_gcn", "sgn"]
Label = Literal["action", "private"]
Place = Annotated[str, StringConstraints(min_length=1)]
"""A file, a folder or a column."""
Value = Annotated[int, Field(ge=0)]
"""Of a label; -1 stands for unknown."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

UNET_FRAMES = 16
"""The U-Net halves a clip four times."""


class SplitSettings(Settings):
    """Which sequences train and which test, by one label column. A sequence whose value is unknown is in neither."""

    by: Place
    """The column: `view`, `subject`, `trial`, `setup`, `action`."""
    test: list[Value] = Field(min_length=1)
    """Values of the sequences that test."""
    train: list[Value] | None = Field(default=None, min_length=1)
    """Values of the sequences that train; all others where absent."""
    modulo: int | None = Field(default=None, ge=2)
    """Take the values modulo this number first: ETRI tests on subjects with 0 modulo 3."""
    where: dict[Place, Annotated[list[Value], Field(min_length=1)]] = Field(default_factory=dict)
    """Only sequences whose label columns have one of these values, as if there were no others."""

    @field_validator("test", "train")
    @classmethod
    def _each_once(cls, values: list[int] | None) -> list[int] | None:
        if values is not None and len(set(values)) < len(values):
            raise ValueError(f"{values} holds a value twice")
        return values

    @model_validator(mode="after")
    def _apart(self) -> Self:
        both = sorted(set(self.test) & set(self.train or []))
        if both:
            raise ValueError(f"`train` and `test` share {both}: a sequence must not do both")
        largest = max(*self.test, *(self.train or []), 0)
        if self.modulo is not None and largest >= self.modulo:
            raise ValueError(f"`train` or `test` holds {largest}, which nothing is modulo {self.modulo}")
        return self


class DataSettings(Settings):
    """The data, how it is split, and how a sequence of any length becomes a clip of a fixed one."""

    folder: Place
    """A folder that `skelanon dataset import` wrote."""
    split: SplitSettings
    """Training and test sequences."""
    action: Place = "action"
    """Label column of what recognizers must still tell."""
    private: Place = "subject"
    """Label column of what nobody must be able to tell."""
    frames: int = Field(default=300, ge=4)
    """T, the length of a clip."""
    fit: Literal["repeat", "resample", "pad"] = "repeat"
    """`repeat`: from the start again until the clip is full, as the paper does; `resample`: one frame from each of T
    equal parts: the middle one in tests, in training another one each time; `pad`: as recorded, then nobody."""
    bodies: Literal[1, 2] = 1
    """P = M, bodies of a clip."""
    choice: Literal["appearance", "motion_energy"] = "appearance"
    """Which bodies: those that appear first, as the stream takes them, or those that move most, as the paper does."""

    def column(self, label: Label) -> str:
        """The data set's column of one of the two labels."""
        return self.action if label == "action" else self.private

    @model_validator(mode="after")
    def _two_labels(self) -> Self:
        if self.action == self.private:
            raise ValueError(f"`action` and `private` are both {self.action!r}: what is told cannot be hidden")
        return self


class OptimizerSettings(Settings):
    """How weights are changed."""

    name: Literal["sgd", "adam"] = "sgd"
    """SGD with momentum, or Adam."""
    learning_rate: Positive
    """At the start."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of SGD."""
    nesterov: bool = True
    """Of SGD."""
    weight_decay: Weight = 0.0
    """L2 penalty."""
    milestones: list[int] = Field(default_factory=list)
    """Epochs after which the learning rate is multiplied by `gamma`."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """See `milestones`."""
    warm_up_epochs: int = Field(default=0, ge=0)
    """Epochs over which the learning rate grows linearly to `learning_rate`."""

    @model_validator(mode="after")
    def _schedule(self) -> Self:
        steps = self.milestones
        if any(later <= earlier for earlier, later in zip([0, *steps], steps, strict=False)):
            raise ValueError(f"`milestones` is {steps}: must ascend from 1 on, each epoch once")
        if steps and steps[0] < self.warm_up_epochs:
            raise ValueError(
                f"`milestones` starts at {steps[0]}, before the end of {self.warm_up_epochs} warm-up epochs"
            )
        return self

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> Self:
        if self.name == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("`nesterov` needs `momentum`: set `nesterov: false`, or a momentum above 0")
        return self


class TrainerSettings(Settings):
    """Length, seed and machine of a run."""

    epochs: int = Field(ge=0)
    """Passes over the training sequences; the last one is the result, nothing is selected on test data."""
    batch_size: int = Field(ge=1)
    """Clips (for the auto-encoder's pre-training: frames) of one step, over all devices together."""
    seed: int = Field(default=0, ge=0)
    """Decides first weights, order and whatever else is random."""
    test_every: int = Field(default=1, ge=1)
    """Epochs between evaluations on the test sequences; the last epoch is always evaluated."""
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs."""
    devices: int = Field(default=1, ge=1)
    """Processes, one for each device; more than one train data-parallel."""
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    """Of the networks' arithmetic; losses are float32."""
    workers: int = Field(default=0, ge=0)
    """Processes that load clips, for each device."""

    @model_validator(mode="after")
    def _fits_the_machine(self) -> Self:
        if self.batch_size < self.devices:
            raise ValueError(f"`batch_size` is {self.batch_size}: must be `devices`, {self.devices}, or more")
        if (self.accelerator, self.precision) == ("cpu", "16-mixed"):
            raise ValueError("`precision: 16-mixed` needs a GPU: take bf16-mixed or 32-true on the CPU")
        return self


class NetworkSettings(Settings):
    """A classifier's architecture."""

    name: Network
    """The architecture."""
    weights: Place | None = None
    """A public state dict to start from; with `epochs: 0` it becomes a run of its own, unchanged."""


class AnonymizerSettings(Settings):
    """An anonymizer's architecture."""

    kind: Literal["residual", "auto_encoder", "unet"]
    """The paper's three; `unet` cannot be streamed."""
    form: Literal["paper", "code"] = "paper"
    """As the paper words it (residual: two layers, the identity when new) or as the public code has it."""
    weights: Place | None = None
    """Run of an auto-encoder's pre-training: its weights are the start, and its encoder stays as it is."""

    @model_validator(mode="after")
    def _only_auto_encoders_are_pre_trained(self) -> Self:
        if self.weights is not None and self.kind != "auto_encoder":
            raise ValueError(f"`weights` is for `kind: auto_encoder`, not for {self.kind}")
        return self


class _Run(Settings):
    """What every run has."""

    out: Place
    """Folder of the run: checkpoints, resolved settings, fingerprint of the data, metrics."""
    data: DataSettings
    """Data."""
    trainer: TrainerSettings
    """Length, seed, machine."""


class ClassifierRun(_Run):
    """Trains a recognizer of one label on raw skeletons."""

    task: Literal["classifier"]
    """What is trained."""
    label: Label
    """Which of the data's two labels."""
    network: NetworkSettings
    """Architecture."""
    optimizer: OptimizerSettings
    """SGD or Adam."""
    noise_m: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Training clips get Gaussian noise of a standard deviation between 0 and this, drawn for each clip, in metres."""
    offset_m: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """As `noise_m`, but the same through a clip for each joint: as if somebody held himself otherwise."""
    bones: float = Field(default=0.0, ge=0, le=1)
    """Training clips are of other bodies: each bone is exp(`bones` * z) times as long, z standard normal."""

    @model_validator(mode="after")
    def _can_be_learnt(self) -> Self:
        if self.network.name == "shift_gcn" and self.data.frames % 4:
            raise ValueError(f"`data.frames` is {self.data.frames}: shift_gcn halves clips twice, take a multiple of 4")
        if self.data.column(self.label) == self.data.split.by:
            raise ValueError(
                f"`data.split.by` is {self.data.split.by!r}, the label itself: no class would both train and test"
            )
        return self


class AutoEncoderRun(_Run):
    """Pre-trains the auto-encoder to give back single frames."""

    task: Literal["auto_encoder"]
    """What is trained."""
    anonymizer: AnonymizerSettings
    """Architecture; `kind` must be `auto_encoder`."""
    optimizer: OptimizerSettings
    """SGD or Adam."""

    @model_validator(mode="after")
    def _is_auto_encoder(self) -> Self:
        if self.anonymizer.kind != "auto_encoder" or self.anonymizer.weights is not None:
            raise ValueError("pre-training is for `anonymizer.kind: auto_encoder`, without `anonymizer.weights`")
        return self


class ObjectiveSettings(Settings):
    """Equation 1: CE(action) - alpha * H(private) + beta * ||x - f(x)||^2."""

    alpha: Weight
    """Weight of privacy."""
    beta: Weight
    """Weight of the distance to the raw skeleton."""
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Of the whole. v1's code minimises 1 / beta of it, to which its learning rates belong."""
    reduction: Literal["masked", "reference"] = "masked"
    """Mean of the distance over the bodies that are there, or, as the public code does, over absent ones too."""
    privacy: Literal["entropy", "kl_to_prior"] = "entropy"
    """Maximise the entropy, or minimise KL(private prediction || prior of the training labels)."""


class _AnonymizerRun(_Run):
    """What both algorithms have."""

    anonymizer: AnonymizerSettings
    """Architecture."""
    objective: ObjectiveSettings
    """What is minimised."""
    optimizer: OptimizerSettings
    """Of the anonymizer."""
    action: list[Place] = Field(min_length=1)
    """Runs of the action recognizers that stay fixed."""
    private: list[Place] = Field(min_length=1)
    """Runs of the privacy classifiers."""

    @model_validator(mode="after")
    def _is_no_run_that_it_reads(self) -> Self:
        read = [*self.action, *self.private, *([self.anonymizer.weights] if self.anonymizer.weights else [])]
        if os.path.normpath(self.out) in map(os.path.normpath, read):
            raise ValueError(f"`out` is {self.out!r}, a run that this one reads: take another folder")
        return self

    @model_validator(mode="after")
    def _fills_the_unet(self) -> Self:
        if self.anonymizer.kind == "unet" and self.data.frames < UNET_FRAMES:
            raise ValueError(f"`data.frames` is {self.data.frames}: the U-Net needs {UNET_FRAMES} or more")
        return self


class AdversarialRun(_AnonymizerRun):
    """Algorithm 1: anonymizer against privacy classifiers that go on learning; the paper has one h and one g."""

    task: Literal["adversarial"]
    """What is trained."""
    private_optimizer: OptimizerSettings
    """Of the privacy classifiers."""
    k: int = Field(default=1, ge=1)
    """Minimisation steps for each maximisation step."""


class EnsembleRun(_AnonymizerRun):
    """Algorithm 2: anonymizer against fixed ensembles."""

    task: Literal["ensemble"]
    """What is trained."""


class TokensSettings(Settings):
    """The form of motion tokens."""

    codes: int = Field(default=32, ge=2, le=4096)
    """K: a window carries log2 K bits at most."""
    stride: int = Field(default=2, ge=1, le=8)
    """Every so many frames one is looked at."""
    window: int = Field(default=8, ge=1, le=32)
    """Frames that are looked at for each code."""
    delay: int = Field(default=1, ge=1, le=8)
    """Windows by which what is drawn is late: it is drawn with the codes that were named meanwhile. Recognizers that
    know recorded motion want to see an action from its beginning, which is drawn best by who knows its middle."""
    presence: int = Field(default=0, ge=0, le=3600)
    """Bodies are published for a multiple of so many frames: they stay as they were last seen. 0: until they leave."""
    hidden: int = Field(default=96, ge=4, le=1024)
    """What encoder and decoder remember, each."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Of what the encoder sees and knows, in training."""
    smoothing: float = Field(default=0.7, gt=0, le=1)
    """The share of the way to what is drawn that each of two low-pass filters goes in a frame."""


class TokensObjective(Settings):
    """CE(action of codes) + alpha * privacy + surprise * H(code | action, codes before) + reconstruction * MSE(joints)
    - usage * H(codes) + hint * CE(action of the encoder)."""

    alpha: Weight
    """Of privacy: the divergence of attackers' predictions from the prior, half the worst attacker's, half the mean."""
    reconstruction: Weight = 50.0
    """Of the mean squared difference, square metres, between joints drawn and those of an average body that stands on
    the same floor and does what is done as it is typically done, `tokens.delay` windows late."""
    surprise: Weight = 0.0
    """Of what a code says beside the action and the codes before it, in nats: the most by which persons who do the same
    can be told apart."""
    usage: Weight = 0.1
    """Of the entropy of how often codes are used."""
    hint: Weight = 0.5
    """Of a recognizer that sees what the encoder knows at the end of a clip: it finds what matters before codes do."""
    warm_up_epochs: int = Field(default=30, ge=0)
    """Epochs without alpha and surprise, in which codes learn to tell actions; over the next 20 both grow."""


class TokensAdversaries(Settings):
    """Privacy classifiers of whole clips of codes, trained beside the anonymizer: recurrent, convolutional, linear."""

    number: int = Field(default=3, ge=1)
    """How many."""
    steps: int = Field(default=2, ge=1)
    """Of each, for one of the anonymizer."""
    renewed_every: int = Field(default=15, ge=1)
    """Epochs after which the next one forgets everything and starts anew."""
    optimizer: OptimizerSettings
    """Of each, and of the recognizer's."""


class AugmentationSettings(Settings):
    """How training clips differ from what was recorded."""

    noise: float = Field(default=0.02, ge=0, le=1)
    """Gaussian noise on directions; three times as much is fixed for a clip."""
    pace: float = Field(default=0.2, ge=0, le=1)
    """Clips go up to exp(pace) times faster or slower."""


class TokensRun(_Run):
    """Trains motion tokens, with a recognizer and with attackers who begin anew."""

    task: Literal["tokens"]
    """What is trained."""
    tokens: TokensSettings = TokensSettings()
    """Its form."""
    objective: TokensObjective
    """What is minimised."""
    optimizer: OptimizerSettings
    """Of the anonymizer and of the recognizer beside it."""
    adversaries: TokensAdversaries
    """Attackers."""
    augmentation: AugmentationSettings = AugmentationSettings()
    """Of training clips."""
    gumbel: Weight = 0.3
    """Scale of Gumbel noise when a code is chosen in training."""

    @model_validator(mode="after")
    def _sees_one_body_as_recorded(self) -> Self:
        if self.data.fit != "pad" or self.data.bodies != 1:
            raise ValueError("tokens are trained on clips as recorded, of one body: `data.fit: pad`, `data.bodies: 1`")
        window = self.tokens.stride * self.tokens.window
        if self.tokens.presence % window:
            raise ValueError(f"`tokens.presence` must be a multiple of {window} frames, those of a window")
        if self.data.frames < 2 * window:
            raise ValueError(f"`data.frames` is {self.data.frames}: two windows have {2 * window} frames")
        return self


TrainingRun = Annotated[
    ClassifierRun | AutoEncoderRun | AdversarialRun | EnsembleRun | TokensRun, Field(discriminator="task")
]
"""Any run."""
