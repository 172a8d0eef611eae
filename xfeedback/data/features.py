"""From audio clips to spectrogram images in [0, 1], in batches, and to a data set of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from xfeedback.data.audio import FULL_SCALE, AudioConfig, FeatureConfig
from xfeedback.data.source import Part, Source, fingerprint
from xfeedback.dtypes import Bools, Floats, Ints

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BATCH = 512
FLOOR = 1e-6
"""Added to the power in a mel band before its logarithm is taken."""


def stft(waves: "Tensor", window: int = 255, hop: int = 128, n_fft: int = 256) -> "Tensor":
    """Return the magnitude of the short-time Fourier transform, as the program released with Mazumder et al. 2023 does.

    Frames of ``window`` samples, none of them beyond the ends, under a symmetric Hann window, filled up with zeros to
    ``n_fft``; one second at 16 kHz gives 129 frequencies and 124 frames.

    Args:
        waves: ``(B, T)``, T at least ``window``.
        window: samples of a frame.
        hop: samples from frame to frame.
        n_fft: samples of the Fourier transform, at least ``window``.

    Returns:
        ``(B, n_fft // 2 + 1, 1 + (T - window) // hop)``, row 0 the constant part.
    """
    import torch

    taper = torch.hann_window(window, periodic=False, dtype=waves.dtype, device=waves.device)
    frames = waves.unfold(-1, window, hop) * taper
    return torch.fft.rfft(frames, n=n_fft).abs().transpose(1, 2)


def transform(config: FeatureConfig, rate: int) -> "Callable[[Tensor], Tensor]":
    """Return what maps waves ``(B, T)`` to features ``(B, F, T')``.

    Mel bands and coefficients are torchaudio's, whose frames are centred, so T' = 1 + T // hop; the logarithm is the
    natural one of the power + 1e-6. (torchaudio's decibels depend on the loudest clip of the batch.)
    """
    import torch
    from torchaudio import transforms

    window, hop, n_fft = config.frames(rate)
    if config.kind == "stft":
        return partial(stft, window=window, hop=hop, n_fft=n_fft)
    mel: dict[str, Any] = {"n_fft": n_fft, "win_length": window, "hop_length": hop, "n_mels": config.n_mels}
    if config.kind == "mfcc":
        return transforms.MFCC(rate, config.n_mfcc, log_mels=True, melkwargs=mel)
    bands = transforms.MelSpectrogram(rate, **mel)
    return lambda waves: torch.log(bands(waves) + FLOOR)


def features(clips: Ints, config: FeatureConfig, rate: int) -> Floats:
    """Return the features of clips ``(N, T)`` int16 as ``(N, 1, F, T')`` float32, not yet scaled."""
    import torch

    apply = transform(config, rate)
    made = None
    for start in range(0, len(clips), BATCH):
        waves = torch.from_numpy(clips[start : start + BATCH].astype(np.float32) / FULL_SCALE)
        values = apply(waves).numpy()
        if made is None:
            made = np.empty((len(clips), 1, *values.shape[1:]), dtype=np.float32)
        made[start : start + BATCH, 0] = values
    if made is None:
        raise ValueError("no clips")
    return made


def scale_by_clip(x: Floats) -> int:
    """Bring each of ``(N, 1, F, T)`` to [0, 1] in place: (x - min) / (max - min); a constant one becomes 0.

    Returns:
        How many were constant.
    """
    low = x.min(axis=(1, 2, 3), keepdims=True)
    spread = x.max(axis=(1, 2, 3), keepdims=True) - low
    x -= low
    x /= np.where(spread > 0, spread, 1)
    return int((spread == 0).sum())


def scale_by(x: Floats, low: float, high: float) -> None:
    """Bring values to [0, 1] in place: ``low`` to 0, ``high`` to 1, values beyond cut off."""
    x -= low
    x /= (high - low) or 1.0
    np.clip(x, 0, 1, out=x)


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The clips of one split.

    Attributes:
        waves: ``(N, T)`` int16.
        y: labels ``(N,)``.
        index: position in the whole set ``(N,)``.
        group: whose voice it is ``(N,)``, or None.
        mask: right evidence ``(N, F, T')`` bool, or None.
    """

    waves: Ints
    y: Ints
    index: Ints
    group: Ints | None = None
    mask: Bools | None = None


def source(
    config: AudioConfig,
    splits: Mapping[str, Clips],
    *,
    class_names: Sequence[str],
    digest: str,
    stamps: Sequence[str] = (),
) -> Source:
    """Return a data set of spectrogram images.

    Args:
        config: rate and features.
        splits: ``train``, ``test`` and, where there is one, ``val``.
        class_names: one per class.
        digest: fingerprint of the decoded clips.
        stamps: what must stand beside every result; constant clips are counted here.
    """
    images = {name: features(clips.waves, config.features, config.sample_rate) for name, clips in splits.items()}
    constant = 0
    if config.features.scaling == "clip":
        constant = sum(scale_by_clip(x) for x in images.values())
    else:
        low, high = float(images["train"].min()), float(images["train"].max())
        for x in images.values():
            scale_by(x, low, high)
    parts = {name: _part(images[name], clips) for name, clips in splits.items()}
    mean, std = moments(images["train"]) if config.features.standardise else (0.0, 1.0)
    own = splits["train"].mask is not None
    box = min(images["train"].shape[2:]) // 2
    lists = [array for name in sorted(splits) for array in (splits[name].y, splits[name].index)]
    return Source(
        train=parts["train"],
        val=parts.get("val"),
        test=parts["test"],
        class_names=tuple(class_names),
        mean=(mean,),
        std=(std,),
        object_mask="own" if own else "center",
        center_box={"gray": box, "hue": box},
        stamps=(*stamps, *((f"{constant} constant clips",) if constant else ())),
        fingerprint=fingerprint(np.frombuffer(digest.encode(), dtype=np.uint8), *lists),
    )


def _part(x: Floats, clips: Clips) -> Part:
    return Part(
        x=x,
        y=clips.y.astype(np.int64),
        index=clips.index.astype(np.int64),
        group=None if clips.group is None else clips.group.astype(np.int64),
        mask=clips.mask,
        annotated=None if clips.mask is None else np.asarray(clips.mask.any(axis=(1, 2))),
    )


def moments(x: Floats) -> tuple[float, float]:
    """Return mean and standard deviation of all values, rounded to four places, the latter at least 0.0001."""
    total = square = 0.0
    for start in range(0, len(x), BATCH):
        values = x[start : start + BATCH].astype(np.float64)
        total, square = total + float(values.sum()), square + float((values**2).sum())
    mean = total / x.size
    return round(mean, 4), max(round(max(square / x.size - mean**2, 0.0) ** 0.5, 4), 1e-4)
