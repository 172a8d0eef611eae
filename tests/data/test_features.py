"""Spectrograms against plain transforms of numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.fft import dct
from scipy.signal import ShortTimeFFT

from xfeedback.data.audio import AudioConfig, FeatureConfig
from xfeedback.data.features import Clips, features, moments, scale_by, scale_by_clip, source, stft

rng = np.random.default_rng(0)
RATE = 16_000


def clips(count: int = 3, length: int = RATE) -> np.ndarray:
    return rng.integers(-20_000, 20_000, (count, length)).astype(np.int16)


def by_hand(wave: np.ndarray, window: int, hop: int, n_fft: int) -> np.ndarray:
    """Frame by frame; Hann with the denominator ``window - 1``."""
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / (window - 1))
    starts = range(0, len(wave) - window + 1, hop)
    return np.abs(np.array([np.fft.rfft(wave[s : s + window] * taper, n_fft) for s in starts])).T


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_stft_is_the_fft_of_windowed_frames(dtype, tolerance):
    waves = clips() / 32_768
    found = stft(torch.from_numpy(waves).to(dtype)).numpy()
    assert found.shape == (3, 129, 124)
    for wave, magnitude in zip(waves, found, strict=True):
        assert np.abs(magnitude - by_hand(wave, 255, 128, 256)).max() <= tolerance


def test_stft_is_scipys():
    """Theirs are centred on multiples of the hop, ours begin at them: a sample in front makes up for it."""
    wave = clips(1)[0] / 32_768
    theirs = ShortTimeFFT(np.hanning(255), 128, RATE, mfft=256).stft(np.concatenate([[0.0], wave]), 1, 125)
    np.testing.assert_allclose(stft(torch.from_numpy(wave[None]))[0].numpy(), np.abs(theirs), atol=1e-10)


def test_a_tone_of_1_khz_is_in_row_16():
    time = np.arange(RATE) / RATE
    tone = torch.from_numpy(np.sin(2 * np.pi * 1_000 * time)[None])
    assert (stft(tone)[0].argmax(0) == 16).all()


@pytest.mark.parametrize(("length", "frames"), [(255, 1), (382, 1), (383, 2), (8_000, 61), (16_000, 124)])
def test_no_frame_reaches_beyond_the_clip(length, frames):
    assert stft(torch.zeros(1, length)).shape == (1, 129, frames)


def mel_bands(rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Triangles between points that are evenly spaced in mel = 2595 log10(1 + f / 700), ``(F, n_mels)``."""
    points = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), n_mels + 2) / 2595) - 1)
    frequencies = np.linspace(0, rate // 2, n_fft // 2 + 1)[:, None]
    low, mid, high = points[:-2], points[1:-1], points[2:]
    return np.maximum(0, np.minimum((frequencies - low) / (mid - low), (high - frequencies) / (high - mid)))


def log_mel(wave: np.ndarray) -> np.ndarray:
    padded = np.pad(wave, 256, mode="reflect")
    taper = np.zeros(512)
    taper[16:496] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(480) / 480)
    power = np.array([np.abs(np.fft.rfft(padded[s : s + 512] * taper)) ** 2 for s in range(0, RATE + 1, 160)])
    return np.log(power @ mel_bands(RATE, 512, 40) + 1e-6).T


def test_log_mel_by_hand():
    waves = clips(2)
    found = features(waves, FeatureConfig(kind="log_mel"), RATE)
    assert found.shape == (2, 1, 40, 101)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1, 0], log_mel(waves[1] / 32_768), atol=2e-3)


def test_mfcc_is_the_cosine_transform_of_the_log_mel():
    waves = clips(2)
    found = features(waves, FeatureConfig(kind="mfcc", n_mfcc=13), RATE)
    assert found.shape == (2, 1, 13, 101)
    expected = dct(log_mel(waves[0] / 32_768), type=2, axis=0, norm="ortho")[:13]
    np.testing.assert_allclose(found[0, 0], expected, atol=5e-3)


@pytest.mark.parametrize("kind", ["stft", "log_mel", "mfcc"])
def test_a_clip_looks_the_same_whatever_it_is_computed_with(kind, monkeypatch):
    monkeypatch.setattr("xfeedback.data.features.BATCH", 2)
    waves = clips(5, 4_000)
    waves[4] //= 100
    together = features(waves, FeatureConfig(kind=kind), RATE)
    alone = np.concatenate([features(waves[n : n + 1], FeatureConfig(kind=kind), RATE) for n in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_each_clip_from_0_to_1_and_constant_ones_to_0():
    x = rng.normal(size=(4, 1, 3, 5)).astype(np.float32)
    x[2] = 7
    before = x.copy()
    assert scale_by_clip(x) == 1
    assert not x[2].any()
    np.testing.assert_array_equal(x[[0, 1, 3]].min(axis=(1, 2, 3)), 0)
    np.testing.assert_array_equal(x[[0, 1, 3]].max(axis=(1, 2, 3)), 1)
    expected = (before[0] - before[0].min()) / (before[0].max() - before[0].min())
    np.testing.assert_allclose(x[0], expected, rtol=1e-6)


def test_values_beyond_the_training_sets_are_cut_off():
    x = np.array([-3.0, 1.0, 2.0, 3.0, 9.0])
    scale_by(x, 1.0, 3.0)
    np.testing.assert_array_equal(x, [0, 0, 0.5, 1, 1])


def test_moments(monkeypatch):
    monkeypatch.setattr("xfeedback.data.features.BATCH", 3)
    x = rng.random((10, 1, 4, 6)).astype(np.float32)
    assert moments(x) == (round(float(x.mean()), 4), round(float(x.std()), 4))
    assert moments(np.zeros((2, 1, 2, 2), np.float32)) == (0.0, 1e-4)


def made(**options):
    parts = {}
    for name, count in (("train", 6), ("test", 4)):
        waves = clips(count, 4_000) // (1 if name == "train" else 2)
        waves[0] = 0
        parts[name] = Clips(waves=waves, y=np.arange(count) % 2, index=np.arange(count))
    config = AudioConfig(name="x", seconds=0.25, features=FeatureConfig(**options))
    return source(config, parts, class_names=("a", "b"), digest="d", stamps=("subset",))


def test_source_is_in_0_to_1_and_standardised_by_its_training_set():
    found = made()
    assert found.train.x.shape == (6, 1, 129, 30)
    assert (found.train.x.min(), found.train.x.max()) == (0, 1)
    assert (found.test.x.min(), found.test.x.max()) == (0, 1)
    assert (found.mean, found.std) == ((moments(found.train.x)[0],), (moments(found.train.x)[1],))
    assert found.stamps == ("subset", "2 constant clips")
    assert found.val is None
    assert (found.kind, found.object_mask) == ("image", "center")


def test_scaled_by_the_training_set_quieter_clips_stay_quieter():
    found = made(scaling="training", standardise=False)
    assert (found.mean, found.std) == ((0.0,), (1.0,))
    assert found.stamps == ("subset",)
    assert (found.train.x.min(), found.train.x.max()) == (0, 1)
    assert found.test.x.max() < 0.8


def test_fingerprint_tells_splits_apart():
    parts = {"train": Clips(waves=clips(2, 300), y=np.arange(2), index=np.arange(2))}
    parts["test"] = parts["train"]
    config = AudioConfig(name="x", seconds=300 / RATE)
    one = source(config, parts, class_names="ab", digest="d").fingerprint
    parts["test"] = Clips(waves=parts["test"].waves, y=np.arange(2), index=np.arange(2) + 1)
    assert source(config, parts, class_names="ab", digest="d").fingerprint != one
