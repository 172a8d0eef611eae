"""Synthetic words: the same for every run, different voices in every split, evidence where the word is."""

import numpy as np
import pytest

from xfeedback.config import from_mapping
from xfeedback.data import load
from xfeedback.data.audio import FeatureConfig
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import Places
from xfeedback.data.sets import synthetic_words as reader
from xfeedback.data.sets.synthetic_words import WORDS, Config
from xfeedback.errors import UserError

SMALL = {"n_words": 4, "n_train": 3, "n_val": 1, "n_test": 2}


def read(tmp_path, kind="log_mel", **options):
    config = Config(**{**SMALL, **options}, features=FeatureConfig(kind=kind))
    return reader.read(config, Places(root=tmp_path, cache=tmp_path))


def test_words_take_turns_and_are_repeatable(tmp_path):
    found = read(tmp_path)
    np.testing.assert_array_equal(found.train.y, [0, 1, 2, 3] * 3)
    assert (len(found.val.y), len(found.test.y)) == (4, 8)
    assert found.class_names == WORDS[:4]
    assert found.stamps == ("synthetic",)
    indices = np.concatenate([part.index for part in (found.train, found.val, found.test)])
    np.testing.assert_array_equal(indices, np.arange(24))
    again = read(tmp_path)
    np.testing.assert_array_equal(again.test.x, found.test.x)
    assert again.fingerprint == found.fingerprint
    assert read(tmp_path, data_seed=1).fingerprint != found.fingerprint


@pytest.mark.parametrize(("kind", "shape"), [("stft", (129, 61)), ("log_mel", (40, 101)), ("mfcc", (40, 101))])
def test_evidence_is_where_the_word_is(tmp_path, kind, shape):
    found = read(tmp_path, kind)
    assert found.train.mask is not None
    assert found.train.mask.shape == (12, *shape)
    assert found.train.annotated.all()
    spans = found.train.mask.any(axis=1)
    for span in spans:  # a word takes at most 0.45 s of 1 s, and frames at its edges
        steps = np.flatnonzero(span)
        assert steps[-1] - steps[0] <= 0.5 * shape[1]
    if kind == "mfcc":
        assert (found.train.mask == spans[:, None]).all()
    else:
        inside = found.train.x[:, 0][found.train.mask].mean()
        assert inside > 1.2 * found.train.x[:, 0][~found.train.mask].mean()


def test_a_word_is_as_much_louder_than_the_noise_as_asked_for():
    rng = np.random.default_rng(0)
    word = reader._spoken(rng, "a-i", 3_200, 8_000)
    assert np.sqrt((word**2).mean()) == pytest.approx(reader.LOUDNESS)
    noise = reader._noise(rng, 5, 8_000)
    np.testing.assert_allclose((noise**2).mean(axis=1), 1)
    power = np.abs(np.fft.rfft(noise)) ** 2
    assert power[:, 10:100].mean() > 5 * power[:, 1_000:2_000].mean()


@pytest.mark.parametrize(
    ("word", "first", "second"), [("a-i", (730, 1090), (270, 2290)), ("u-a", (300, 870), (730, 1090))]
)
def test_formants_are_where_they_should_be(word, first, second):
    """Long-term spectra of many voices, smoothed over the voices' pitches and sizes."""
    rng = np.random.default_rng(0)
    spoken = np.stack([reader._spoken(rng, word, 3_200, 8_000) for _ in range(60)])
    frequency = np.fft.rfftfreq(1_024, 1 / 8_000)
    for part, formants in ((spoken[:, 200:1_224], first), (spoken[:, 1_976:3_000], second)):
        spectrum = (np.abs(np.fft.rfft(part * np.hanning(1_024))) ** 2).mean(axis=0)
        for formant in formants:
            at = spectrum[(frequency > 0.85 * formant) & (frequency < 1.2 * formant)].mean()
            off = spectrum[(frequency > 3_500) & (frequency < 3_700)].mean()
            assert at > 5 * off


def test_hiss_is_high():
    wave = reader._spoken(np.random.default_rng(1), "s-i", 3_200, 8_000)
    spectrum = np.abs(np.fft.rfft(wave[:800])) ** 2
    frequency = np.fft.rfftfreq(800, 1 / 8_000)
    assert spectrum[frequency > 2_400].sum() > 10 * spectrum[frequency < 2_400].sum()


def test_methods_that_need_annotations_find_some(tmp_path):
    config = Config(**SMALL)
    assert config.has_masks
    task = load(config, DecoyConfig(name="auto"), seed=0, root=tmp_path, cache=tmp_path)
    batch = next(iter(task.train_loader(4, "cpu", seed=0)))
    assert batch.mask is not None
    assert batch.mask.shape == (4, 40, 101)
    assert task.in_shape == (1, 40, 101)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_words": 13}, "dataset.n_words=13 must be 2 to 12"),
        ({"n_test": 0}, "dataset.n_test=0 must be a positive integer"),
        ({"snr": [3.0]}, "must be [lowest, highest] in dB"),
        ({"sample_rate": 4_000}, "dataset.sample_rate=4000 must be 8000 or more"),
        ({"seconds": 0.4}, "dataset.seconds=0.4 must be 0.5 or more"),
    ],
)
def test_wrong_options(values, message):
    with pytest.raises(UserError) as caught:
        from_mapping(Config, values, "dataset")
    assert message in str(caught.value)
