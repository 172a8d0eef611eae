"""A guard against training that has collapsed: it watches on the device, and is asked once an epoch."""

import math

import torch
from torch import Tensor, nn

STEPS = 200
"""Steps in a row after which a state counts as collapsed."""
NEAR = 0.02
"""How near the loss of guessing is, as a share of it."""
MEMORY = 0.98
"""Weight of the past in the running mean of the clean loss."""


class CollapseGuard(nn.Module):
    """Counts, without waiting for the device, for how many steps in a row one of two things was so.

    ``guessing``: the challenged loss within 2 % of ln K, the loss of guessing, while the clean loss falls: no evidence
    is left in what is challenged. ``constant``: every sample of every batch, of several classes, predicted as the same
    class. No checkpoint holds the counts; they begin anew when a run is resumed.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in ("guessed", "began", "clean", "alone", "last", "guessing", "constant"):
            self.register_buffer(name, torch.zeros(()), persistent=False)
        self.classes = 0

    @torch.no_grad()
    def see(self, challenged: Tensor, clean: Tensor, logits: Tensor, y: Tensor) -> None:
        """Take note of a step.

        Args:
            challenged: mean cross-entropy of the challenged pass.
            clean: of the clean pass.
            logits: of the clean pass ``(B, K)``.
            y: labels ``(B,)``.
        """
        self.classes = logits.shape[1]
        first = self.clean == 0
        self.clean = torch.where(first, clean.float(), MEMORY * self.clean + (1 - MEMORY) * clean.float())
        self.began = torch.where(self.guessed == 0, self.clean, self.began)
        level = math.log(self.classes)
        self.guessed = torch.where((challenged - level).abs() <= NEAR * level, self.guessed + 1, 0.0)
        self.guessing = self.guessing + ((self.guessed >= STEPS) & (self.clean < self.began))
        predicted = logits.argmax(1)
        same = (predicted == predicted[0]).all() & (y != y[0]).any()
        kept = same & ((self.alone == 0) | (self.last == predicted[0]))
        self.alone = torch.where(kept, self.alone + 1, same.float())
        self.last = predicted[0].float()
        self.constant = self.constant + (self.alone >= STEPS)

    def warnings(self) -> tuple[str, ...]:
        """Return what is wrong, a line each; waits for the device."""
        found = []
        if self.guessing > 0:
            found.append(
                f"challenger: for {STEPS} steps the challenged loss stood at that of guessing, ln {self.classes} = "
                f"{math.log(self.classes):.3f}, while the clean loss fell: no evidence is left to learn from. Lower "
                "s_max or share, or challenge earlier places."
            )
        if self.constant > 0:
            found.append(
                f"challenger: for {STEPS} steps every sample was predicted as class {int(self.last)}: training has "
                "collapsed. Lower s_max, lambda_challenge or optimiser.lr."
            )
        return tuple(found)
