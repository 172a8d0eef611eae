"""Networks by name: plain modules that map images, series or texts ``(B, ...)`` to logits ``(B, N)``.

A family's module has ``build(config, in_shape, n_classes)``; where networks take texts, ``build`` has a fourth argument
``vocabulary``, the token of each id, and returns a :class:`~xfeedback.models.text_base.TextNetwork`. A network may
declare ``explained_layer`` and ``gap_head``; see :mod:`xfeedback.models.layers`. A family's module is imported when one
of its networks is asked for.
"""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import torch
from torch import nn

from xfeedback.errors import UserError, unknown
from xfeedback.kinds import WORDS, Kind
from xfeedback.models.base import InShape, ModelConfig, example
from xfeedback.seeding import derive

_FAMILIES = {
    "bc_resnet": ("bc_resnet", "BcResNetConfig"),
    "ds_cnn": ("ds_cnn", "DsCnnConfig"),
    "gapnet": ("gapnet", "GapNetConfig"),
    "gapnet_bn": ("gapnet", "GapNetBNConfig"),
    "huggingface": ("huggingface", "HuggingFaceConfig"),
    "kws_cnn": ("kws_cnn", "KwsCnnConfig"),
    "lenet": ("lenet", "LenetConfig"),
    "lstm": ("lstm", "LstmConfig"),
    "lstm_cell_attention": ("lstm", "CellAttentionConfig"),
    "mlp": ("mlp", "MlpConfig"),
    "mnist_cnn": ("mnist_cnn", "MnistCnnConfig"),
    "resnet18": ("resnet18", "ResNet18Config"),
    "resnet18_gap8": ("resnet18", "ResNet18Gap8Config"),
    "resnet20": ("resnet_cifar", "ResNet20Config"),
    "resnet32": ("resnet_cifar", "ResNet32Config"),
    "tcn": ("tcn", "TcnConfig"),
    "text_cnn": ("text_cnn", "TextCnnConfig"),
    "text_lstm": ("text_lstm", "TextLstmConfig"),
    "text_transformer": ("text_transformer", "TextTransformerConfig"),
    "timm": ("timm_model", "TimmConfig"),
    "transformer": ("transformer", "TransformerConfig"),
    "typology_cnn": ("typology_cnn", "TypologyCnnConfig"),
    "vgg16": ("vgg16", "Vgg16Config"),
}


def names() -> list[str]:
    """Return the names of all networks, sorted."""
    return sorted(_FAMILIES)


def config_class(name: str) -> type[ModelConfig]:
    """Return the options class of the network called ``name``.

    Raises:
        UserError: there is no such network.
    """
    return getattr(_family(name), _FAMILIES[name][1])


def fitting(kind: Kind) -> list[str]:
    """Return the names of all networks that take inputs of a kind, sorted."""
    return [name for name in names() if kind in config_class(name).takes]


def check_kind(config: ModelConfig, kind: Kind, dataset: str = "the data set") -> None:
    """Refuse a network for another kind of inputs.

    Raises:
        UserError: it does not take them; the message names networks that do.
    """
    if kind not in config.takes:
        raise UserError(
            f"model={config.name} takes {' and '.join(WORDS[k] for k in config.takes)}, and {dataset} holds "
            f"{WORDS[kind]}. Choose model={', '.join(fitting(kind))}."
        )


def build(
    config: ModelConfig,
    in_shape: InShape,
    n_classes: int,
    seed: int,
    *,
    kind: Kind = "image",
    vocabulary: Sequence[str] = (),
) -> nn.Module:
    """Build a network on the CPU with weights that depend on ``seed`` alone.

    The weights are drawn under a random state keyed by ``(seed, "init")``; the global random state is left as it was.
    One forward of an example then checks that the network takes inputs of this shape.

    Args:
        config: options of one network, see :func:`config_class`.
        in_shape: of one input: ``(C, H, W)``, ``(T, F)`` or ``(L,)``.
        n_classes: number of logits.
        seed: the run's seed.
        kind: what the inputs are.
        vocabulary: of texts: the token of each id.

    Raises:
        UserError: there is no such network, or it does not take such inputs.

    >>> config = config_class("gapnet")(name="gapnet")
    >>> build(config, (1, 8, 8), 10, seed=0)(torch.zeros(4, 1, 8, 8)).shape
    torch.Size([4, 10])
    """
    family = _family(config.name)
    check_kind(config, kind)
    further = (tuple(vocabulary),) if kind == "text" else ()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(derive(seed, "init"))
        network = family.build(config, in_shape, n_classes, *further)
        _check(network, config.name, in_shape, kind, n_classes)
    return network


def _family(name: str) -> ModuleType:
    if name not in _FAMILIES:
        raise unknown("model", name, _FAMILIES)
    return import_module(f"xfeedback.models.{_FAMILIES[name][0]}")


@torch.no_grad()
def _check(network: nn.Module, name: str, in_shape: InShape, kind: Kind, n_classes: int) -> None:
    network.eval()
    shape = "x".join(str(size) for size in in_shape)
    try:
        logits = network(example(in_shape, kind))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"model={name} does not take {WORDS[kind]} of {shape}: {reason}. Choose another model."
        ) from error
    if logits.shape != (1, n_classes):
        raise UserError(
            f"model={name} gives {tuple(logits.shape)} for {WORDS[kind]} of {shape}, not (1, {n_classes}) logits"
        )
    network.train()
