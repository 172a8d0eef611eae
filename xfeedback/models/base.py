"""What every network's options have in common."""

from dataclasses import dataclass

InShape = tuple[int, int, int]
"""Shape of one input image: channels, height, width."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Options of a network; each family adds its own.

    Attributes:
        name: the network's name in the registry, e.g. ``"gapnet"``.
    """

    name: str
