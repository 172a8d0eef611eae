"""Shared by the tests of the networks."""

from typing import Any

from xfeedback import models
from xfeedback.config import from_mapping


def small(name: str, **options: Any) -> models.ModelConfig:
    """The network's options at a width that builds in milliseconds."""
    if "width" in models.config_class(name).__dataclass_fields__:
        options.setdefault("width", 4)
    if name == "kws_cnn":
        options.setdefault("dense", 16)
    if name == "vgg16":
        options.setdefault("hidden", (16, 8))
    return from_mapping(models.config_class(name), {"name": name, **options}, "model")
