"""The adversarial-attack baseline: clips changed just enough that one privacy classifier errs.

After Wang et al., "Understanding the Robustness of Skeleton-based Action Recognition under Adversarial Attack" (SMART,
CVPR 2021), untargeted: the perturbation minimises w * L_class + (1 - w) * L_perceptual, where L_class = -CE(z, g(x))
and L_perceptual is made of deviations of bone lengths and of the motion's derivatives. As in the authors' released
implementation (BSD-2-Clause), the two gradients are each scaled to unit length in every frame before they are added,
so that w says how much either counts whatever its units, and a clip is left alone once it is misclassified.

It says nothing about another classifier, nor about one trained on attacked clips: report those too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from pydantic import Field
from torch import Tensor, nn

from skelanon.configs.schema import Settings
from skelanon.sensors.joints import BONES, INDEX, JOINTS, PARENTS

from .errors import TrainingError

_ENDS: Final = list(BONES)
_STARTS: Final = [PARENTS[joint] for joint in BONES]
_SPINE: Final = [INDEX[name] for name in ("SpineBase", "SpineMid", "SpineShoulder", "Neck", "Head")]


class AttackSettings(Settings):
    """How hard and how gently. Weights are the defaults of the released implementation; the rest is ours.

    There, the perceptual loss is .4 position + .6 (.7 bones + .3 acceleration), with accelerations per second squared,
    beside which all else vanishes (30^4 = 810,000 times); here derivatives are differences between frames. It descends
    plainly, by .01 on standardised coordinates; here it is Adam, in metres.
    """

    steps: int = Field(default=300, ge=1)
    """Steps at most; clips that are misclassified earlier stop earlier."""
    learning_rate: float = Field(default=0.001, gt=0)
    """Of Adam: about how far a coordinate can go in one step, in metres."""
    classification_weight: float = Field(default=0.6, ge=0, le=1)
    """w; the perceptual loss counts 1 - w."""
    bone_weight: float = Field(default=0.42, ge=0)
    """Of squared differences of bone lengths."""
    position_weight: float = Field(default=0.4, ge=0)
    """Of squared differences of positions, times .04 for joints of the spine and .02 for others."""
    velocity_weight: float = Field(default=0.0, ge=0)
    """Of squared differences of velocities (first differences between frames); the released one has none."""
    acceleration_weight: float = Field(default=0.18, ge=0)
    """Of squared differences of accelerations (second differences between frames)."""


def attack(classifier: nn.Module, joints: Tensor, present: Tensor, labels: Tensor, settings: AttackSettings) -> Tensor:
    """Clips that the classifier misclassifies, or after `settings.steps` still does not.

    classifier: clips (N, 3, T, 25, P) to logits (N, classes); runs in eval mode here and is left as it was found.
    joints: (N, T, P, 25, 3) float32, metres, in the axes that the classifier takes (normalised), zeros where absent.
    present: (N, T, P), 1 where a body is. labels: (N,) int64, the true private labels.
    Returns (N, T, P, 25, 3), absent bodies zeros; a clip that was misclassified before is unchanged. Each clip is
    attacked as if it were alone.
    Raises TrainingError: the classifier gives logits that are not finite.
    """
    there = present[..., None, None]
    perturbation = torch.zeros_like(joints).requires_grad_()
    optimizer = torch.optim.Adam([perturbation], lr=settings.learning_rate)
    result, fooled = joints, torch.zeros_like(labels, dtype=torch.bool)
    with _in_eval_mode(classifier), torch.enable_grad():
        for step in range(settings.steps + 1):
            attacked = (joints + perturbation) * there
            logits = classifier(attacked.permute(0, 4, 1, 3, 2)).float()  # of (N, C, T, V, M)
            if not logits.isfinite().all():
                raise TrainingError("the attacked classifier gives logits that are not finite: it diverged in training")
            result = torch.where(fooled[:, None, None, None, None], result, attacked.detach())
            fooled = fooled | (logits.argmax(1) != labels)
            if fooled.all() or step == settings.steps:
                break
            certainty = -nn.functional.cross_entropy(logits, labels, reduction="sum")
            perceived = perceptual_loss(joints, attacked, settings)
            w = settings.classification_weight
            perturbation.grad = w * _unit_gradient(certainty, perturbation)
            perturbation.grad += (1 - w) * _unit_gradient(perceived, perturbation)
            optimizer.step()
    return result


def perceptual_loss(joints: Tensor, attacked: Tensor, settings: AttackSettings) -> Tensor:
    """How much a viewer sees of the attack: a sum over (N, T, P, 25, 3) clips before and after it, a scalar."""
    deviation = attacked - joints
    importance = deviation.new_full((JOINTS,), 0.02)
    importance[_SPINE] = 0.04
    return (
        settings.bone_weight * (_bone_lengths(attacked) - _bone_lengths(joints)).square().sum()
        + settings.position_weight * (deviation.square().sum(-1) * importance).sum()
        + settings.velocity_weight * deviation.diff(dim=1).square().sum()
        + settings.acceleration_weight * deviation.diff(n=2, dim=1).square().sum()
    )


def _bone_lengths(joints: Tensor) -> Tensor:
    """(N, T, P, 25, 3) to (N, T, P, 24)."""
    lengths: Tensor = torch.linalg.vector_norm(joints[..., _ENDS, :] - joints[..., _STARTS, :], dim=-1)
    return lengths


def _unit_gradient(loss: Tensor, perturbation: Tensor) -> Tensor:
    """Of length one for each body in each frame, or zero; no other tensor gets a gradient."""
    (gradient,) = torch.autograd.grad(loss, perturbation, retain_graph=True)
    length: Tensor = torch.linalg.vector_norm(gradient, dim=(3, 4), keepdim=True)
    return gradient / length.clamp_min(1e-18)


@contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Each of its modules returns to its own mode at the end: some may be frozen in a network that trains."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
