"""The auto-encoder anonymizer of "Anonymization for Skeleton Action Recognition" (arXiv 2111.15129), in two forms.

It is first trained to give back single frames; then its encoder is frozen, and the decoder learns to anonymize.
"""

from itertools import pairwise
from typing import Final, Literal

from torch import Tensor, nn

from skelanon.sensors.joints import JOINTS

Form = Literal["paper", "code"]

LATENT: Final = 10
_HIDDEN: Final[dict[Form, tuple[int, ...]]] = {"paper": (500,), "code": (500, 100)}
"""Widths between a frame and its latent."""


class AutoEncoder(nn.Module):
    """Rows (N, 75 P) float32, metres, to the same: a frame is told by ten numbers, and there is no way round them.

    `code`: n-500-100-10-100-500-n as in the public code, ReLU everywhere but at the output: the latent is >= 0.
    `paper`: two layers to encode and two to decode. The paper gives no widths; n-500-10-500-n keeps the code's
    outermost width and its latent. Its latent has no ReLU: with so few numbers, one that is zero for every frame of the
    start would never learn, and frames would be told by nine.
    """

    def __init__(self, bodies_per_sample: Literal[1, 2], form: Form) -> None:
        super().__init__()
        widths = (bodies_per_sample * JOINTS * 3, *_HIDDEN[form], LATENT)
        self.encoder = nn.Sequential(*_layers(widths))
        if form == "code":
            self.encoder.append(nn.ReLU())
        self.decoder = nn.Sequential(*_layers(widths[::-1]))

    def forward(self, x: Tensor) -> Tensor:
        anonymous: Tensor = self.decoder(self.encoder(x.to(next(self.parameters()).dtype)))
        return anonymous.to(x.dtype)

    def freeze_encoder(self) -> None:
        """Keep the encoder as it is: its weights get no gradients from now on, and no optimizer changes them."""
        self.encoder.requires_grad_(False)


def _layers(widths: tuple[int, ...]) -> list[nn.Module]:
    """Linear layers with a ReLU between any two."""
    layers: list[nn.Module] = []
    for start, end in pairwise(widths):
        layers += [nn.Linear(start, end), nn.ReLU()]
    return layers[:-1]
