"""Synthetic words: formant-like sounds that the project makes itself, in noise; no download, no real speech."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.random import Generator

from xfeedback.config import require
from xfeedback.data import audio, features
from xfeedback.data.options import Places
from xfeedback.data.source import Source, fingerprint
from xfeedback.dtypes import Bools, Floats, Ints

VOWELS = {"a": (730, 1090, 2440), "i": (270, 2290, 3010), "u": (300, 870, 2240), "e": (530, 1840, 2480)}
"""First three formants of men's vowels in Hz, means of Peterson and Barney 1952."""
WORDS = ("a-i", "a-u", "i-a", "i-u", "u-a", "u-i", "e-a", "a-e", "s-a", "s-i", "a-s", "i-s")
"""Each word is two sounds that glide into each other; ``s`` is hiss above 2.5 kHz."""
LOUDNESS = 0.1
"""Root mean square of a word; full scale is 1."""
COARSE = 32
"""Samples from one point to the next at which formants are looked at."""


@dataclass(frozen=True, kw_only=True)
class Config(audio.AudioConfig):
    """Options of ``dataset=synthetic_words``.

    The right evidence is known: where the word is louder than the noise (the ideal binary mask of Wang 2005), with
    ``mfcc`` all coefficients of the frames in which it is.

    Attributes:
        n_words: how many of the twelve words.
        n_train: clips of each word that train.
        n_val: clips of each word that validate.
        n_test: clips of each word that test; every split has voices of its own.
        snr: how much louder than the noise a word is, in dB, at least and at most.
        data_seed: of everything that is drawn here; the run's seed does not change the data.
    """

    name: Literal["synthetic_words"] = "synthetic_words"
    sample_rate: int = 8_000
    features: audio.FeatureConfig = field(default_factory=lambda: audio.FeatureConfig(kind="log_mel"))
    n_words: int = 8
    n_train: int = 60
    n_val: int = 20
    n_test: int = 30
    snr: tuple[float, ...] = (0.0, 10.0)
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(2 <= self.n_words <= len(WORDS), "n_words", self.n_words, f"2 to {len(WORDS)}")
        for option in ("n_train", "n_val", "n_test"):
            require(getattr(self, option) > 0, option, getattr(self, option), "a positive integer")
        require(len(self.snr) == 2 and self.snr[0] <= self.snr[-1], "snr", self.snr, "[lowest, highest] in dB")
        require(self.sample_rate >= 8_000, "sample_rate", self.sample_rate, "8000 or more: sounds reach up to 4 kHz")
        require(self.seconds >= 0.5, "seconds", self.seconds, "0.5 or more: words take up to 0.45 s")

    @property
    def has_masks(self) -> bool:
        """Whether the set says itself where the right evidence lies."""
        return True


def read(config: Config, places: Places) -> Source:  # noqa: ARG001 - every reader takes both
    """Return the synthetic words as spectrogram images, stamped ``synthetic``; words take turns in every split."""
    splits, first = {}, 0
    for number, split in enumerate(("train", "val", "test")):
        count = getattr(config, f"n_{split}") * config.n_words
        splits[split] = _split(config, np.random.default_rng([config.data_seed, number]), count, first)
        first += count
    digest = fingerprint(*(clips.waves for clips in splits.values()))
    names = WORDS[: config.n_words]
    return features.source(config, splits, class_names=names, digest=digest, stamps=("synthetic",))


def _split(config: Config, rng: Generator, count: int, first: int) -> features.Clips:
    labels = np.arange(count) % config.n_words
    spoken = np.stack([_placed(config, rng, WORDS[label]) for label in labels])
    noise = _noise(rng, count, config.samples)
    noise *= LOUDNESS * 10 ** (-rng.uniform(config.snr[0], config.snr[-1], (count, 1)) / 20)
    waves, (word, rest) = _samples(spoken + noise), (_samples(part) for part in (spoken, noise))
    mask = _audible(config, word, rest)
    return features.Clips(waves=waves, y=labels, index=first + np.arange(count), mask=mask)


def _samples(waves: Floats) -> Ints:
    return np.rint(np.clip(waves, -1, 1) * (audio.FULL_SCALE - 1)).astype(np.int16)


def _audible(config: Config, word: Ints, noise: Ints) -> Bools:
    """Where the word is louder than the noise ``(N, F, T')`` bool."""
    options = config.features
    if options.kind == "mfcc":
        bands = audio.FeatureConfig(
            kind="log_mel", window=options.window, hop=options.hop, n_fft=options.n_fft, n_mels=options.n_mels
        )
        loud, quiet = (features.features(x, bands, config.sample_rate)[:, 0] for x in (word, noise))
        frames = np.exp(loud).sum(1) > np.exp(quiet).sum(1)
        return np.repeat(frames[:, None], options.n_mfcc, axis=1)
    loud, quiet = (features.features(x, options, config.sample_rate)[:, 0] for x in (word, noise))
    return loud > quiet


def _placed(config: Config, rng: Generator, word: str) -> Floats:
    """A word at a random place in a clip ``(T,)``, of 0.35 to 0.45 s."""
    length = round(rng.uniform(0.35, 0.45) * config.sample_rate)
    start = rng.integers(config.samples - length + 1)
    clip = np.zeros(config.samples)
    clip[start : start + length] = _spoken(rng, word, length, config.sample_rate)
    return clip


def _spoken(rng: Generator, word: str, length: int, rate: int) -> Floats:
    """A word ``(length,)``: harmonics of a gliding pitch, each as loud as the formants near it, and hiss."""
    first, second = word.split("-")
    time = np.arange(length) / rate
    glide = 1 / (1 + np.exp(-30 * (np.arange(length) / length - 0.5)))
    size = rng.uniform(0.9, 1.15)  # of the vocal tract: scales all formants
    pitch = rng.uniform(90, 220) * (1 + 0.1 * rng.uniform(-1, 1) * np.linspace(-1, 1, length))
    voice = np.zeros(length)
    loudness = [0.0 if sound == "s" else 1.0 for sound in (first, second)]
    ends = [VOWELS[sound if sound in VOWELS else other] for sound, other in ((first, second), (second, first))]
    formants = [size * ((1 - glide) * low + glide * high) for low, high in zip(*ends, strict=True)]
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    steps = np.arange(0, length, COARSE)
    for harmonic in range(1, int(3_800 / pitch.max()) + 1):
        height = _resonance(harmonic * pitch[steps], [formant[steps] for formant in formants])
        shift = rng.uniform(0, 2 * np.pi)
        voice += np.interp(np.arange(length), steps, height) * np.sin(harmonic * phase + shift)
    voice *= (1 - glide) * loudness[0] + glide * loudness[1]
    hiss = _hiss(rng, length, rate) * ((1 - glide) * (1 - loudness[0]) + glide * (1 - loudness[1]))
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    sound = fade * (voice / max(voice.std(), 1e-9) + 0.7 * hiss)
    return LOUDNESS * sound / np.sqrt((sound**2).mean())


def _resonance(frequency: Floats, formants: list[Floats]) -> Floats:
    """Loudness of a harmonic: each formant is a peak 100 Hz wide; later ones are weaker."""
    peaks = (0.6**k / (1 + ((frequency - formant) / 100) ** 2) for k, formant in enumerate(formants))
    return np.sum(list(peaks), axis=0)


def _hiss(rng: Generator, length: int, rate: int) -> Floats:
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[np.fft.rfftfreq(length, 1 / rate) < 2_500] = 0
    wave = np.fft.irfft(spectrum, length)
    return wave / wave.std()


def _noise(rng: Generator, count: int, length: int) -> Floats:
    """Noise ``(count, length)`` of root mean square 1 whose power falls with the frequency (pink)."""
    spectrum = np.fft.rfft(rng.standard_normal((count, length)))
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1))
    spectrum[:, 0] = 0
    waves = np.fft.irfft(spectrum, length)
    return waves / np.sqrt((waves**2).mean(axis=1, keepdims=True))
