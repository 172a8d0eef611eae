"""CDEP: the wrong region should contribute nothing to the contextual decomposition of the logits (Rieger et al. 2020).

Equations (1) to (8): `docs/methods/cdep.md`.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.fx import Graph

from xfeedback.errors import UserError
from xfeedback.explain.decomposition import Pair, decompose, traced
from xfeedback.feedback import Feedback, PresetModule, Step, WeightedConfig
from xfeedback.feedback.regions import wrong_region
from xfeedback.models.running import mode
from xfeedback.precision import widened


@dataclass(frozen=True, kw_only=True)
class CDEPConfig(WeightedConfig):
    """Options of CDEP.

    Attributes:
        weight: factor of the penalty.
    """


class CDEPFeedback(Feedback[CDEPConfig]):
    """Penalise the share of the wrong region in the contextual decomposition of the logits."""

    name = "cdep"
    Config = CDEPConfig
    strength_option = "weight"
    annotation = "wrong"

    def __init__(self, config: CDEPConfig | None = None) -> None:
        super().__init__(config)
        self._graph: Graph | None = None

    def prepare(self, network: nn.Module, example: Tensor) -> nn.Module:
        """Trace the network and try its rules on the example.

        Raises:
            UserError: an operation can't be decomposed; the message names the layer.
        """
        self._graph = traced(network, self.name)
        if example.numel() > 0:
            with torch.no_grad(), mode(network, training=False):
                decompose(network, self._graph, Pair(example, torch.zeros_like(example)), self.name)
        return network

    def penalty(self, step: Step) -> dict[str, Tensor]:
        """Return ``{"share": weight * mean exp(b) / (exp(b) + exp(g))}``; equations (1) to (8)."""
        if self._graph is None:
            raise UserError("cdep must see the network before training: call prepare(network, example).")
        wrong = wrong_region(step.batch, self.name)
        x, inside = widened(step.batch.x), wrong[:, None]
        step.repeat_noise()
        with torch.autocast(x.device.type, enabled=False):
            parts = Pair(x * inside, x * ~inside)
            b, g = decompose(step.network, self._graph, parts, self.name)
        counts = wrong.flatten(1).any(1).to(b.dtype)
        value = (contribution(b, g) * counts).sum() / counts.sum().clamp_min(1)
        return {"share": self.strength(step.epoch) * value}


class CDEP(PresetModule):
    """LightningModule for CDEP."""

    feedback_class: ClassVar[type[Feedback]] = CDEPFeedback


def contribution(b: Tensor, g: Tensor) -> Tensor:
    """Return mean_k exp(b_k) / (exp(b_k) + exp(g_k)) of each sample ``(B,)``; equation (7).

    Args:
        b: what the wrong region contributes to each logit ``(B, N)``.
        g: what the rest contributes ``(B, N)``.
    """
    return (b - g).sigmoid().mean(1)
