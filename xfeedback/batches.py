"""What the loaders of other people's code yield, as a :class:`~xfeedback.types.Batch`.

Understood are ``(x, y)``, ``(x, y, mask)`` and dictionaries whose keys are in :data:`NAMES`; further keys, such as
paths of files, are left alone. Whatever can't be told for certain is refused in one line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xfeedback.errors import UserError
from xfeedback.types import Batch

NAMES: dict[str, tuple[str, ...]] = {
    "x": ("x", "image", "images", "img", "input", "inputs", "pixel_values", "input_ids"),
    "y": ("y", "label", "labels", "target", "targets", "class"),
    "mask": ("mask", "masks", "segmentation", "rationale"),
    "wrong": ("wrong",),
    "annotated": ("annotated",),
    "valid": ("valid", "attention_mask"),
    "index": ("index", "idx"),
}
"""The keys of a dictionary that are understood, by what they hold in a batch."""
FORMS = "(x, y), (x, y, mask), a dict such as {'x': ..., 'y': ..., 'mask': ...}, or xfeedback.types.Batch"


def as_batch(given: Any) -> Batch:
    """Return what a loader yields as a batch.

    Masks ``(B, 1, H, W)`` lose their channel and count where they are not 0; samples whose mask is empty count as not
    annotated, unless ``annotated`` says otherwise. Samples without an ``index`` are numbered within the batch.

    Args:
        given: one of the forms of the module's first lines, with x ``(B, ...)``, y ``(B,)`` integer, and masks
            ``(B, H, W)`` of images ``(B, C, H, W)``, else of the shape of x.

    Raises:
        UserError: another form; labels that are no class numbers; numbers of samples, or a mask, that don't fit.

    >>> as_batch({"image": torch.rand(2, 3, 4, 4), "label": torch.tensor([0, 1])}).y
    tensor([0, 1])
    """
    if isinstance(given, Batch):
        return given
    parts = _parts(given)
    for name, value in parts.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UserError(f"a batch's {name} is a {kind}, not a tensor: let the loader's collate_fn make tensors.")
    x, y = _inputs(parts["x"]), _labels(parts["y"])
    for name, value in parts.items():
        if len(value) != len(x):
            raise UserError(f"a batch has {len(x)} inputs and {len(value)} values of {name}: give one for each input.")
    masks = {name: _mask(name, parts[name], x) for name in ("mask", "wrong") if name in parts}
    return Batch(x=x, y=y, index=parts.get("index", torch.arange(len(y))), **masks, **_flags(parts, x, masks))


def _parts(given: Any) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, Sequence) and len(given) in (2, 3):
        return {name: value for name, value in zip(("x", "y", "mask"), given, strict=False) if value is not None}
    what = f"{type(given).__name__} of {len(given)}" if isinstance(given, Sequence) else type(given).__name__
    raise UserError(f"the loader yields a {what}. A batch is {FORMS}: set the loader's collate_fn.")


def _of_mapping(given: Mapping[Any, Any]) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for part, names in NAMES.items():
        found = [name for name in names if given.get(name) is not None]
        if len(found) > 1:
            raise UserError(f"a batch has both '{found[0]}' and '{found[1]}' for {part}: leave one out.")
        if found:
            parts[part] = given[found[0]]
    for part in ("x", "y"):
        if part not in parts:
            known, wanted = ", ".join(map(str, given)), " or ".join(NAMES[part][:3])
            raise UserError(f"a batch has the keys {known} and none for {part}: name it {wanted}.")
    return parts


def _inputs(x: Tensor) -> Tensor:
    if x.ndim < 2:
        raise UserError(f"inputs have the shape {_shape(x)}; expected (B, ...), such as images (B, C, H, W).")
    if x.ndim == 4 and not x.is_floating_point():
        raise UserError(f"images are {_dtype(x)}: give floats, e.g. x.float() / 255, normalised as you train.")
    return x


def _labels(y: Tensor) -> Tensor:
    if y.ndim == 2 and y.shape[1] > 1:
        raise UserError(f"labels have the shape {_shape(y)}, one-hot or shares: give class numbers, y.argmax(1).")
    if y.ndim != 1:
        raise UserError(f"labels have the shape {_shape(y)}: give one class number a sample, (B,), y.reshape(-1).")
    if y.is_floating_point() or y.is_complex():
        raise UserError(f"labels are {_dtype(y)}: give class numbers as integers, y.long().")
    return y.long()


def _mask(name: str, mask: Tensor, x: Tensor) -> Tensor:
    expected = (x.shape[0], *x.shape[2:]) if x.ndim == 4 else tuple(x.shape)
    if x.ndim == 4 and mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if tuple(mask.shape) != expected:
        hint = " Resize masks with their images." if x.ndim == 4 and mask.ndim >= 3 else ""
        raise UserError(f"{name} has the shape {_shape(mask)} for inputs {_shape(x)}; expected {expected}.{hint}")
    return mask if mask.dtype == torch.bool else mask != 0


def _flags(parts: Mapping[str, Tensor], x: Tensor, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    flags = {name: parts[name].bool() for name in ("annotated", "valid") if name in parts}
    if "valid" in flags and tuple(flags["valid"].shape) != tuple(x.shape[:2]):
        raise UserError(f"valid has the shape {_shape(flags['valid'])} for inputs {_shape(x)}; expected (B, L).")
    if masks and "annotated" not in flags:
        flags["annotated"] = torch.stack([mask.flatten(1).any(1) for mask in masks.values()]).any(0)
    return flags


def _shape(value: Tensor) -> str:
    return str(tuple(value.shape))


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
