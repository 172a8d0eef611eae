"""CAIPI: counterexamples with noise where the evidence is wrong and the same label (Teso and Kersting 2019).

Equations (1) to (3): `docs/methods/caipi.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor

from xfeedback.feedback import Feedback, PresetModule, Step, View, WeightedConfig
from xfeedback.feedback.regions import wrong_region


@dataclass(frozen=True, kw_only=True)
class CAIPIConfig(WeightedConfig):
    """Options of CAIPI.

    Attributes:
        weight: of a counterexample, relative to its image.
    """


class CAIPIFeedback(Feedback[CAIPIConfig]):
    """Train on one counterexample of each annotated image beside the image."""

    name = "caipi"
    stacks = True
    compiles = True
    Config = CAIPIConfig
    strength_option = "weight"
    annotation = "wrong"

    def view(self, step: Step) -> View:
        """Return the images with new noise in their wrong regions; equations (1) and (2)."""
        wrong = wrong_region(step.batch, self.name)
        return View(x=counterexamples(step.batch.x, wrong, step.generator("caipi")), shared_noise=False)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"counterexamples": weight * (1/B) sum of their cross-entropy}``; equation (3)."""
        losses = step.cross_entropy(step.views[self.name])
        made = wrong_region(step.batch, self.name).flatten(1).any(1)
        return {"counterexamples": self.strength(step.epoch) * (losses * made.to(losses.dtype)).mean()}


class CAIPI(PresetModule):
    """LightningModule for CAIPI."""

    feedback_class: ClassVar[type[Feedback]] = CAIPIFeedback


def counterexamples(x: Tensor, wrong: Tensor, generator: Generator) -> Tensor:
    """Replace the wrong region by uniform noise over the batch's range of each channel; equations (1) and (2).

    The range is the batch's because an image's own may show the decoy's colour.

    Args:
        x: images ``(B, C, H, W)``.
        wrong: Wr, bool ``(B, H, W)``.
        generator: source of the noise, on the device of ``x``.

    Returns:
        ``(B, C, H, W)``.
    """
    x = x.detach()
    low, high = x.amin((0, 2, 3), keepdim=True), x.amax((0, 2, 3), keepdim=True)
    noise = torch.rand(x.shape, device=x.device, dtype=x.dtype, generator=generator)
    return torch.where(wrong[:, None], low + (high - low) * noise, x)
