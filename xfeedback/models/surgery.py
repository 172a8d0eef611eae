"""Put attention pooling where a network pools or strides; which places these are: `docs/methods/lap.md`.

:func:`extend` finds the places by rule, so it works on torchvision's ResNets and Inception-V3, on timm's and on a
user's own network, and says what it changed. Trained weights stay in their layers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeGuard, cast

import torch
from torch import Tensor, nn

from xfeedback.errors import UserError
from xfeedback.models.blocks import PadShortcut
from xfeedback.models.functional_pools import functional_pools
from xfeedback.models.inception_blocks import with_pool_modules
from xfeedback.models.layers import explained_layer
from xfeedback.models.rows import AttentionBranch, Row, RowOptions, build_pool
from xfeedback.models.running import mode, tapped
from xfeedback.models.window import Window

SiteKind = Literal["stem", "pool", "stride", "shortcut", "global"]
Preset = Literal["full", "minimal", "global", "no_global", "strides", "none"]
PRESETS: dict[str, tuple[SiteKind, ...]] = {
    "full": ("stem", "pool", "stride", "shortcut", "global"),
    "minimal": ("stem", "global"),
    "global": ("global",),
    "no_global": ("stem", "pool", "stride", "shortcut"),
    "strides": ("stride", "shortcut"),
    "none": (),
}


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place where a network pools or strides.

    Attributes:
        name: dotted name of the pooling module there, after the surgery.
        kind: ``stem`` (the first pooling layer), ``pool`` (a later one), ``stride`` and ``shortcut`` (a strided
            convolution of a residual block, or of its shortcut), ``global``.
        channels: of the map that is pooled.
        window: None for ``global``.
        change: swaps the module in, given what to put there.
    """

    name: str
    kind: SiteKind
    channels: int
    window: Window | None
    change: Callable[[nn.Module], None] = lambda _pool: None


def extend(
    network: nn.Module, preset: Preset = "full", *, example: Tensor, row: Row = "lap", options: RowOptions | None = None
) -> tuple[Site, ...]:
    """Change a network's pooling in place and return the changed sites in the order of the forward pass.

    Strided convolutions get stride 1 and the pooling follows behind their BatchNorm and ReLU, right before the next
    convolution; pooling that takes the first cell of each window there gives the old network back.

    Args:
        network: maps images to logits; its weights, training flags and the random state stay.
        preset: which kinds of sites: all (``full``), stem and global pooling (``minimal``), the global one alone
            (``global``), all but it (``no_global``), strided convolutions alone (``strides``), or none.
        example: one image ``(1, C, H, W)``.
        row: what to put there; see :mod:`xfeedback.models.rows`.
        options: of the pooling; the number of concepts follows the network's logits where it is open.

    Raises:
        UserError: there is no such site, or the network pools by a function call, which can't be swapped.
    """
    kinds = PRESETS[preset] if row != "strided" else ()
    if not kinds:
        return ()
    if example.numel() == 0:
        raise UserError("attention pooling must look into the network: give example=, one image (1, C, H, W)")
    with_pool_modules(network)
    found, n_classes = find_sites(network, example)
    chosen = tuple(site for site in found if site.kind in kinds)
    _refuse_functional(network, example, "global" in kinds and not any(site.kind == "global" for site in chosen))
    if not chosen:
        raise UserError(
            f"{type(network).__name__} has no pooling of the kinds {', '.join(kinds)}; choose another preset"
        )
    options = options or RowOptions()
    for site in chosen:
        pool = build_pool(row, site.kind, site.channels, site.window, options, n_classes)
        if pool is not None:
            site.change(pool.to(example.device))
    replaced = any(site.kind == "global" for site in chosen) and row not in ("avg", "cbam")
    if replaced and hasattr(network, "gap_head"):
        cast(Any, network).gap_head = None  # global pooling is no longer a plain mean
    return chosen


def add_attention_branch(network: nn.Module, example: Tensor) -> str:
    """Gate the features behind ``layer3``, else the explained ones, by an attention branch; in place.

    Args:
        network: maps images to logits.
        example: one image ``(1, C, H, W)``.

    Returns:
        The dotted name of the branch's own logits.
    """
    deep = hasattr(network, "layer3") and hasattr(network, "layer4")
    name = "layer3" if deep else explained_layer(network, example)
    with mode(network, training=False), torch.no_grad(), tapped(network, [name]) as features:
        n_classes = network(example).shape[1]
    branch = AttentionBranch(features[name].shape[1], n_classes).to(example.device)
    _set(network, name, nn.Sequential(network.get_submodule(name), branch))
    return f"{name}.1.logits"


def in_shortcut(name: str) -> bool:
    """Whether the module with dotted ``name`` stands in the shortcut of a residual block."""
    return "downsample" in name.split(".")


def find_sites(network: nn.Module, example: Tensor) -> tuple[list[Site], int]:
    """Return all places where a network pools or strides, in the order of the forward pass, and its number of logits.

    Args:
        network: maps images to logits; stays as it is.
        example: one image ``(1, C, H, W)``.

    Raises:
        UserError: a pooling module is used in several places.
    """
    inputs, n_classes = _inputs(network, example)
    order = {name: position for position, name in enumerate(inputs)}
    found = [*_pools(network, inputs), *_strides(network, inputs)]
    found.sort(key=lambda pair: order[pair[0]])
    return [site for _, site in found], n_classes


def _inputs(network: nn.Module, example: Tensor) -> tuple[dict[str, list[torch.Size]], int]:
    """Shapes of what each module gets, in the order in which modules start; and the number of logits."""
    shapes: dict[str, list[torch.Size]] = {}

    def hook_for(name: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        def hook(_module: nn.Module, inputs: tuple[object, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                shapes.setdefault(name, []).append(inputs[0].shape)

        return hook

    handles = [module.register_forward_pre_hook(hook_for(name)) for name, module in network.named_modules() if name]
    try:
        with mode(network, training=False), torch.no_grad():
            logits = network(example)
    finally:
        for handle in handles:
            handle.remove()
    return shapes, logits.shape[1]


def _pools(network: nn.Module, inputs: dict[str, list[torch.Size]]) -> Iterator[tuple[str, Site]]:
    stem = True
    for name, shapes in inputs.items():
        module = network.get_submodule(name)
        if not _is_pool(module) or len(shapes[0]) != 4:
            continue
        if len(shapes) > 1:
            raise UserError(
                f"the pooling module '{name}' of {type(network).__name__} is used {len(shapes)} times; give each place "
                "a module of its own, since each learns its own attention"
            )
        window = _window(module, shapes[0])
        kind: SiteKind = "global" if window is None else "stem" if stem else "pool"
        if window is not None and window.stride == 1:
            continue
        stem = stem and window is None
        yield name, _swapped(network, Site(name=name, kind=kind, channels=shapes[0][1], window=window))


def _is_pool(module: nn.Module) -> bool:
    if isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d):
        return module.output_size in (1, (1, 1))
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        sizes = (module.kernel_size, module.stride, module.padding)
        return all(isinstance(s, int) or len(set(s)) == 1 for s in sizes) and getattr(module, "dilation", 1) in (
            1,
            (1, 1),
        )
    return type(module).__name__ in ("FastAdaptiveAvgPool", "FastAdaptiveMaxPool")


def _window(module: nn.Module, shape: torch.Size) -> Window | None:
    """Return a module's windows; None where one covers the whole map."""
    if not isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        return None
    kernel, stride, padding = (
        s if isinstance(s, int) else s[0] for s in (module.kernel_size, module.stride, module.padding)
    )
    whole = padding == 0 and (kernel, kernel) == tuple(shape[-2:]) and kernel > 2
    return None if whole else Window(kernel=kernel, stride=stride, padding=padding, ceil_mode=module.ceil_mode)


def _swapped(network: nn.Module, site: Site) -> Site:
    """The site with its change; a pooling module that flattens (timm's fast ones) goes on flattening."""
    flattens = getattr(network.get_submodule(site.name), "flatten", False)

    def change(pool: nn.Module) -> None:
        _set(network, site.name, nn.Sequential(pool, nn.Flatten(1)) if flattens else pool)

    return replace(site, name=f"{site.name}.0" if flattens else site.name, change=change)


def _strides(network: nn.Module, inputs: dict[str, list[torch.Size]]) -> Iterator[tuple[str, Site]]:
    """Strided convolutions of residual blocks: ``convN`` before ``convN+1``, and the shortcut ``downsample``."""
    for block_name, block in network.named_modules():
        numbered = [(getattr(block, f"conv{i}", None), f"conv{i + 1}") for i in range(1, 4)]
        for strided, following in numbered:
            after = getattr(block, following, None)
            name = f"{block_name}.{following}"
            if (
                _strides_evenly(strided)
                and isinstance(after, nn.Conv2d)
                and name in inputs
                and hasattr(block, "downsample")
            ):
                yield name, _prefixed(network, name, "stride", strided, strided.stride[0])
                break
        shortcut = getattr(block, "downsample", None)
        if isinstance(shortcut, PadShortcut) and shortcut.stride > 1:
            channels = inputs[f"{block_name}.downsample"][0][1]
            yield f"{block_name}.downsample", _padded_shortcut(network, f"{block_name}.downsample", shortcut, channels)
        if isinstance(shortcut, nn.Sequential):
            for position, layer in enumerate(shortcut):
                name = f"{block_name}.downsample.{position}"
                if _strides_evenly(layer) and name in inputs:
                    yield name, _prefixed(network, name, "shortcut", layer, layer.stride[0])


def _strides_evenly(layer: object) -> TypeGuard[nn.Conv2d]:
    """Whether a convolution equals its unstrided form followed by the first cell of each window."""
    if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str):
        return False
    (s, t), kernel = layer.stride, layer.kernel_size
    centred = all(p == d * (k - 1) // 2 for p, k, d in zip(layer.padding, kernel, layer.dilation, strict=True))
    return s == t > 1 and centred and all(k % 2 == 1 for k in kernel)


def _prefixed(network: nn.Module, name: str, kind: SiteKind, strided: nn.Conv2d, stride: int) -> Site:
    """A site right before the convolution ``name``; ``strided`` gets stride 1 unless what is put there keeps it."""
    after = cast(nn.Conv2d, network.get_submodule(name))
    window = Window(kernel=stride, stride=stride, ceil_mode=True)

    def change(pool: nn.Module) -> None:
        if not getattr(pool, "keeps_stride", False):
            strided.stride = (1, 1)
        _set(network, name, nn.Sequential(pool, after))

    return Site(name=f"{name}.0", kind=kind, channels=after.in_channels, window=window, change=change)


def _padded_shortcut(network: nn.Module, name: str, shortcut: PadShortcut, channels: int) -> Site:
    window = Window(kernel=shortcut.stride, stride=shortcut.stride, ceil_mode=True)

    def change(pool: nn.Module) -> None:
        stride = shortcut.stride if getattr(pool, "keeps_stride", False) else 1
        _set(network, name, nn.Sequential(pool, PadShortcut(shortcut.added_channels, stride)))

    return Site(name=f"{name}.0", kind="shortcut", channels=channels, window=window, change=change)


def _set(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    network.get_submodule(parent).register_module(child, module)


def _refuse_functional(network: nn.Module, example: Tensor, needs_global: bool) -> None:
    left = [call for call in functional_pools(network, example) if call.strides or needs_global]
    if left:
        where = ", ".join(f"{call.name} in {call.module or type(network).__name__}" for call in left[:3])
        raise UserError(
            f"{type(network).__name__} pools by function calls, which can't be swapped: {where}. Make each a module "
            "(nn.MaxPool2d, nn.AdaptiveAvgPool2d(1)) that its forward calls, or choose another model."
        )
