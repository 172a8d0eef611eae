"""``timm``: any network of the timm library by its name, e.g. ``model=timm model.architecture=resnet10t``."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from xfeedback.config import require
from xfeedback.errors import UserError, suggest
from xfeedback.models.base import InShape, ModelConfig


@dataclass(frozen=True, kw_only=True)
class TimmConfig(ModelConfig):
    """Options of ``timm``.

    Attributes:
        architecture: timm's name, optionally with a weight tag, e.g. ``resnet10t`` or ``resnet50.a1_in1k``.
        pretrained: start from timm's weights, downloaded on first use; the stem is adapted to the number of channels.
    """

    name: Literal["timm"] = "timm"
    architecture: str = "resnet10t"
    pretrained: bool = False

    def __post_init__(self) -> None:
        require(bool(self.architecture), "architecture", self.architecture, "the name of a timm model")


def build(config: TimmConfig, in_shape: InShape, n_classes: int) -> nn.Module:
    """Build timm's network for the images' channels and size, with a fresh head of ``n_classes`` logits.

    Raises:
        UserError: no such architecture or weights, or the weights can't be downloaded.
    """
    import timm  # takes seconds, so only when this model is asked for

    if not timm.is_model(config.architecture):
        hint = suggest(config.architecture, timm.list_models())
        raise UserError(f"unknown model.architecture={config.architecture}.{hint} timm.list_models() lists all names.")
    size = _size_option(config.architecture, in_shape)
    try:
        return timm.create_model(
            config.architecture, pretrained=config.pretrained, in_chans=in_shape[0], num_classes=n_classes, **size
        )
    except OSError as error:
        raise UserError(
            f"cannot fetch the weights of model.architecture={config.architecture}: {_first_line(error)} "
            "Use model.pretrained=false, or fill the Hugging Face cache (HF_HOME) on a machine with a connection."
        ) from error
    except RuntimeError as error:
        raise UserError(f"model.architecture={config.architecture} can't be built: {_first_line(error)}") from error


def _size_option(architecture: str, in_shape: InShape) -> dict[str, Any]:
    """Return ``img_size`` for networks that are built for one image size (vision transformers), else nothing."""
    import timm

    known = timm.get_pretrained_cfg(architecture.split(".", maxsplit=1)[0], allow_unregistered=False)
    return {"img_size": in_shape[1:]} if known is not None and known.fixed_input_size else {}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
