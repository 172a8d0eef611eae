"""WAV files as they come: right ones bit by bit, others by a documented rule or refused with their name."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from tests.data.sounds import write
from xfeedback.config import from_mapping
from xfeedback.data.audio import AudioConfig, FeatureConfig, decoded, fit, read_wav, wav_files
from xfeedback.data.features import features
from xfeedback.errors import UserError


def test_sixteen_bits_are_read_bit_by_bit(tmp_path):
    samples = write(tmp_path / "a.wav")
    samples[:2, 0] = (32_767, -32_768)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="PCM_16")
    found = read_wav(tmp_path / "a.wav", 16_000)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, samples[:, 0])


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT"])
def test_other_depths_are_rounded_to_sixteen_bits(tmp_path, subtype):
    samples = write(tmp_path / "a.wav", subtype=subtype)
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", 16_000), samples[:, 0])


def test_stereo_becomes_the_mean_or_is_refused(tmp_path):
    samples = write(tmp_path / "a.wav", channels=2)
    found = read_wav(tmp_path / "a.wav", 16_000)
    np.testing.assert_array_equal(found, np.rint(samples.astype(float).mean(axis=1)).astype(np.int16))
    with pytest.raises(UserError, match=r"a\.wav has 2 channels; dataset\.stereo=mean takes their mean"):
        read_wav(tmp_path / "a.wav", 16_000, "refuse")


@pytest.mark.parametrize(("rate", "up", "down"), [(8_000, 2, 1), (44_100, 160, 441), (48_000, 1, 3)])
def test_wrong_rates_are_resampled(tmp_path, rate, up, down):
    time = np.arange(rate) / rate
    tone = np.round(10_000 * np.sin(2 * np.pi * 440 * time) * np.hanning(rate)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", tone, rate)
    found = read_wav(tmp_path / "a.wav", 16_000)
    assert len(found) == 16_000
    assert np.abs(found - resample_poly(tone.astype(float), up, down)).max() < 60  # of 10,000


def test_loud_clips_are_cut_off_after_resampling_instead_of_wrapping(tmp_path):
    square = np.where(np.arange(8_000) // 20 % 2, 32_767, -32_768).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", square, 8_000)
    found = read_wav(tmp_path / "a.wav", 16_000)
    assert found.max() == 32_767
    assert (np.sign(found[10:-10:2].astype(int)) == np.sign(square[5:-5].astype(int))).mean() > 0.99


def damaged(path: Path, how: str) -> None:
    write(path)
    content = path.read_bytes()
    empty = soundfile.SoundFile(path.with_name("empty.wav"), "w", 16_000, 1)
    empty.close()
    path.write_bytes(
        {
            "empty file": b"",
            "no header": b"\x00" * len(content),
            "cut short": content[:-100],
            "only a header": content[:20],
            "no samples": path.with_name("empty.wav").read_bytes(),
        }[how]
    )


def test_floats_may_go_beyond_full_scale_but_not_be_of_another(tmp_path):
    samples = np.linspace(-1, 1, 400)
    soundfile.write(tmp_path / "a.wav", 2 * samples, 16_000, subtype="FLOAT")
    assert read_wav(tmp_path / "a.wav", 16_000).tolist()[:2] == [-32768, -32768]
    soundfile.write(tmp_path / "a.wav", 32767 * samples, 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"a.wav has samples up to 32767, and 1 is full scale: all would be cut off"):
        read_wav(tmp_path / "a.wav", 16_000)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("empty file", "it is empty"),
        ("no header", "it can't be read as audio"),
        ("cut short", "6344 bytes where its header promises 6444"),
        ("only a header", "20 bytes where its header promises 6444"),
        ("no samples", "it has no samples"),
    ],
)
def test_damaged_files_are_named_in_one_line(tmp_path, how, message):
    damaged(tmp_path / "a.wav", how)
    with pytest.raises(UserError) as caught:
        read_wav(tmp_path / "a.wav", 16_000)
    assert f"{tmp_path}/a.wav is damaged: {message}. Remove" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_header_of_unknown_length_is_accepted(tmp_path):
    samples = write(tmp_path / "a.wav")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav", 16_000), samples[:, 0])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*gone\.wav: No such file"):
        read_wav(tmp_path / "gone.wav", 16_000)


def test_clips_are_cut_and_filled_at_the_end():
    np.testing.assert_array_equal(fit(np.array([1, 2, 3]), 2), [1, 2])
    np.testing.assert_array_equal(fit(np.array([1, 2, 3]), 5), [1, 2, 3, 0, 0])


def test_folder_without_clips_is_refused(tmp_path):
    (tmp_path / "bird").mkdir()
    (tmp_path / "bird" / "readme.txt").write_text("none")
    with pytest.raises(UserError, match=r"bird has no \.wav file"):
        wav_files(tmp_path / "bird")


def test_decoded_once_and_verified(tmp_path, caplog):
    samples = [write(tmp_path / f"{n}.wav", 0.1) for n in range(3)]
    files = [tmp_path / f"{n}.wav" for n in (2, 0, 1)]
    config = AudioConfig(name="x", seconds=0.15)
    clips, digest = decoded(config, files, "x", tmp_path / "cache", "clips")
    np.testing.assert_array_equal(clips[1, :1_600], samples[0][:, 0])
    assert clips.shape == (3, 2_400)
    assert not clips[:, 1_600:].any()
    (store,) = (tmp_path / "cache").iterdir()
    written = store.stat().st_mtime_ns
    again, same = decoded(config, files, "x", tmp_path / "cache", "clips")
    np.testing.assert_array_equal(again, clips)
    assert same == digest
    assert store.stat().st_mtime_ns == written
    store.write_bytes(store.read_bytes()[:-300])
    with caplog.at_level(logging.WARNING):
        repaired, _ = decoded(config, files, "x", tmp_path / "cache", "clips")
    assert "is damaged and is made anew" in caplog.text
    np.testing.assert_array_equal(repaired, clips)


def test_another_order_or_rate_is_another_cache(tmp_path):
    files = [tmp_path / f"{n}.wav" for n in range(2)]
    for path in files:
        write(path)
    one, _ = decoded(AudioConfig(name="x"), files, "x", tmp_path / "cache", "clips")
    two, _ = decoded(AudioConfig(name="x"), files[::-1], "x", tmp_path / "cache", "clips")
    np.testing.assert_array_equal(one, two[::-1])
    decoded(AudioConfig(name="x", sample_rate=8_000), files, "x", tmp_path / "cache", "clips")
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seconds": 0.01}, "dataset.seconds=0.01 must be long enough for a window of 255 samples"),
        ({"sample_rate": 0}, "dataset.sample_rate=0 must be 1000 or more"),
        ({"stereo": "left"}, "dataset.stereo=left must be one of mean, refuse"),
        ({"features": {"kind": "mel"}}, "dataset.features.kind=mel must be one of stft, log_mel, mfcc. Did you mean"),
        ({"features": {"hop": 0}}, "dataset.features.hop=0 must be a positive integer"),
        ({"features": {"n_mfcc": 41}}, "dataset.features.n_mfcc=41 must be 1 to n_mels=40"),
        ({"features": {"window": 400, "n_fft": 256}}, "dataset.features.n_fft=256 must be at least window=400"),
    ],
)
def test_wrong_options_are_named_as_typed(values, message):
    with pytest.raises(UserError) as caught:
        from_mapping(AudioConfig, {"name": "x", **values}, "dataset")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("config", "rate", "frames"),
    [
        (FeatureConfig(), 16_000, (255, 128, 256)),
        (FeatureConfig(kind="log_mel"), 16_000, (480, 160, 512)),
        (FeatureConfig(kind="mfcc"), 8_000, (240, 80, 256)),
        (FeatureConfig(window=256, hop=64), 16_000, (256, 64, 256)),
        (FeatureConfig(n_fft=1024), 16_000, (255, 128, 1024)),
    ],
)
def test_frames(config, rate, frames):
    assert config.frames(rate) == frames


def test_clip_shorter_than_a_window_ends_in_zeros_and_has_features(tmp_path):
    samples = write(tmp_path / "a.wav", seconds=100 / 16_000)
    config = AudioConfig(name="x")
    clips, _ = decoded(config, [tmp_path / "a.wav"], "x", tmp_path / "cache", "clips")
    np.testing.assert_array_equal(clips[0, :100], samples[:, 0])
    assert not clips[0, 100:].any()
    for kind in ("stft", "log_mel", "mfcc"):
        made = features(clips, FeatureConfig(kind=kind), 16_000)
        assert np.isfinite(made).all()
        assert made.std() > 0
