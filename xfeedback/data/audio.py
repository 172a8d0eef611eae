"""Audio clips: options of every audio set, WAV files read and decoded once to clips of one rate and length.

Light: importing this module imports neither torch nor torchaudio.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from xfeedback.config import require
from xfeedback.data import cache, folders
from xfeedback.data.options import DatasetConfig
from xfeedback.dtypes import Array, Floats, Ints
from xfeedback.errors import UserError

FULL_SCALE = 32_768
"""A 16-bit sample of this size would be 1."""
LOUDEST = 16
"""Samples of floats may go beyond full scale, where they are cut off; beyond this they are of another scale."""
UNKNOWN_SIZES = (0, 2**32 - 1)
"""What programs write into a WAV header while they don't know how long the file becomes."""


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How a clip becomes an image ``(1, frequency, time)``, row 0 the lowest frequency; :mod:`xfeedback.data.features`.

    Attributes:
        kind: ``stft``: linear magnitude; ``log_mel``: natural log of the power in mel bands; ``mfcc``: its cosine
            transform.
        window: samples of a frame; None: 255 for ``stft``, 30 ms for the others.
        hop: samples from frame to frame; None: 128, or 10 ms.
        n_fft: samples of the Fourier transform; None: the first power of two that holds the window.
        n_mels: mel bands of ``log_mel`` and ``mfcc``.
        n_mfcc: coefficients of ``mfcc``.
        scaling: to [0, 1]: ``clip``: from the clip's own lowest value to its highest, so that loudness is lost;
            ``training``: from the training set's, beyond which values are cut off.
        standardise: subtract the training set's mean and divide by its standard deviation; False: inputs stay in
            [0, 1].
    """

    kind: Literal["stft", "log_mel", "mfcc"] = "stft"
    window: int | None = None
    hop: int | None = None
    n_fft: int | None = None
    n_mels: int = 40
    n_mfcc: int = 40
    scaling: Literal["clip", "training"] = "clip"
    standardise: bool = True

    def __post_init__(self) -> None:
        for option in ("window", "hop", "n_fft"):
            value = getattr(self, option)
            require(value is None or value > 0, option, value, "a positive integer")
        require(self.n_mels > 0, "n_mels", self.n_mels, "a positive integer")
        require(0 < self.n_mfcc <= self.n_mels, "n_mfcc", self.n_mfcc, f"1 to n_mels={self.n_mels}")
        fits = self.window is None or self.n_fft is None or self.n_fft >= self.window
        require(fits, "n_fft", self.n_fft, f"at least window={self.window}")

    def frames(self, rate: int) -> tuple[int, int, int]:
        """Return (window, hop, samples of the Fourier transform) at ``rate`` samples a second."""
        linear = self.kind == "stft"
        window = self.window or (255 if linear else round(0.03 * rate))
        hop = self.hop or (128 if linear else round(0.01 * rate))
        return window, hop, self.n_fft or max(1 << (window - 1).bit_length(), 2)


@dataclass(frozen=True, kw_only=True)
class AudioConfig(DatasetConfig):
    """Options of audio sets.

    Attributes:
        sample_rate: samples a second that every clip is brought to (:func:`read_wav`).
        seconds: length of every clip: longer ones lose their end, shorter ones end in zeros.
        stereo: ``mean`` of the channels, or ``refuse`` files with several.
        features: what the network sees.
    """

    sample_rate: int = 16_000
    seconds: float = 1.0
    stereo: Literal["mean", "refuse"] = "mean"
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.sample_rate >= 1_000, "sample_rate", self.sample_rate, "1000 or more")
        window = self.features.frames(self.sample_rate)[0]
        least = f"long enough for a window of {window} samples at {self.sample_rate} a second"
        require(self.samples >= window, "seconds", self.seconds, least)

    @property
    def samples(self) -> int:
        """How many samples a clip has."""
        return round(self.seconds * self.sample_rate)


def read_wav(path: Path, rate: int, stereo: Literal["mean", "refuse"] = "mean") -> Ints:
    """Return a WAV file as 16-bit samples ``(T,)`` at ``rate``.

    Samples of other than 16 bits are rounded to 16. A file of another rate is resampled by torchaudio's
    ``functional.resample`` with its defaults (band-limited sinc interpolation, 6 zero crossings, Hann window), rounded
    and cut off at the 16-bit range; 16-bit files of this rate stay as they are, bit by bit.

    Args:
        path: the file.
        rate: samples a second that are wanted.
        stereo: ``mean`` of several channels, or ``refuse`` them.

    Raises:
        UserError: the file is missing, damaged, cut short, without samples, or has channels that are refused.
    """
    import soundfile

    _refuse_cut_short(path)
    try:
        samples, found = soundfile.read(path, dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise folders.damaged(path, "it can't be read as audio") from error
    if not len(samples):
        raise folders.damaged(path, "it has no samples")
    if not np.isfinite(samples).all():
        raise folders.damaged(path, "a sample is no number")
    if (peak := np.abs(samples).max()) > LOUDEST:
        raise UserError(
            f"{path} has samples up to {peak:g}, and 1 is full scale: all would be cut off. Divide them (by "
            f"{FULL_SCALE} if they are 16-bit levels) and write the file anew."
        )
    if samples.shape[1] > 1 and stereo == "refuse":
        raise UserError(f"{path} has {samples.shape[1]} channels; dataset.stereo=mean takes their mean")
    mono = samples.mean(axis=1)
    if found != rate:
        mono = _resampled(mono, found, rate)
    return np.clip(np.rint(mono * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _refuse_cut_short(path: Path) -> None:
    """Readers return what is left of a file that was cut off; its header says how long it was."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Restore the file, or remove its folder.") from error
    if size == 0:
        raise folders.damaged(path, "it is empty")
    promised = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and promised not in UNKNOWN_SIZES and size < promised + 8:
        raise folders.damaged(path, f"{size} bytes where its header promises {promised + 8}")


def _resampled(samples: Floats, found: int, wanted: int) -> Floats:
    import torch
    from torchaudio import functional

    return functional.resample(torch.from_numpy(samples), found, wanted).numpy()


def fit(samples: Ints, length: int) -> Ints:
    """Return the first ``length`` of some samples ``(T,)``, with zeros at the end where there are fewer."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def decoded(config: AudioConfig, files: Sequence[Path], store: str, folder: Path, what: str) -> tuple[Ints, str]:
    """Return clips ``(N, samples)`` int16 and their fingerprint, from the cache or, the first time, from the files.

    Args:
        config: rate, length and channels.
        files: in the wanted order.
        store: the beginning of the cache file's name.
        folder: where decoded copies are kept.
        what: the set's name, for the progress bar.

    Raises:
        UserError: see :func:`read_wav`.
    """
    length = config.samples
    name = cache.key(files, [path.name for path in files], config.sample_rate, length, config.stereo)

    def decode() -> dict[str, Array]:
        clips = np.empty((len(files), length), dtype=np.int16)
        for row, path in enumerate(cache.progress(files, len(files), what)):
            clips[row] = fit(read_wav(path, config.sample_rate, config.stereo), length)
        return {"clips": clips}

    found, digest = cache.arrays(folder / f"{store}-{name}.pt", decode)
    return found["clips"], digest


def wav_files(folder: Path) -> list[Path]:
    """Return the ``.wav`` files of a folder, sorted by name.

    Raises:
        UserError: there are none.
    """
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".wav" and path.name[0] != ".")
    if not found:
        raise UserError(f"{folder} has no .wav file. Restore its clips, or remove the folder.")
    return found
