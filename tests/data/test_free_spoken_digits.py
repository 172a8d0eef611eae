"""Free Spoken Digits: the official test recordings, splits by speaker, the order of the recordings."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.sounds import spoken_digits, write
from xfeedback.data.audio import FeatureConfig
from xfeedback.data.options import Places
from xfeedback.data.sets import free_spoken_digits as reader
from xfeedback.data.sets.free_spoken_digits import Config
from xfeedback.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with eight recordings of each digit by three speakers."""
    folder = tmp_path_factory.mktemp("digits")
    spoken_digits(folder)
    return folder


def read(root: Path, **options):
    config = Config(seconds=0.05, features=FeatureConfig(kind="log_mel"), **options)
    return reader.read(config, Places(root=root, cache=root / "cache"))


def names(root: Path) -> list[str]:
    files = (root / "FSDD" / "recordings").iterdir()
    return sorted((path.name for path in files), key=lambda n: (int(n[:-4].split("_")[2]), n))


def test_official_recordings_test(root):
    files = names(root)
    found = read(root, validation=2)
    assert (len(found.train.y), len(found.val.y), len(found.test.y)) == (30, 60, 150)
    for part, numbers in ((found.train, {7}), (found.val, {5, 6}), (found.test, {0, 1, 2, 3, 4})):
        chosen = [files[row] for row in part.index]
        assert {int(name[:-4].split("_")[2]) for name in chosen} == numbers
        assert [int(name[0]) for name in chosen] == part.y.tolist()
        assert sorted(part.index) == part.index.tolist()
    voices = [sorted({files[row].split("_")[1] for row in found.test.index[found.test.group == g]}) for g in range(3)]
    assert voices == [["anna"], ["bert"], ["theo"]]
    assert found.stamps == ("subset",)


def test_any_stretch_has_the_digits_in_turn(root):
    found = read(root, validation=2)
    np.testing.assert_array_equal(np.bincount(found.val.y[:30]), 3)


def test_splits_by_speaker(root):
    files = names(root)
    found = read(root, split="speaker", test_speaker="bert", val_speaker="theo")
    for part, voice in ((found.train, "anna"), (found.val, "theo"), (found.test, "bert")):
        assert {files[row].split("_")[1] for row in part.index} == {voice}
        assert len(part.y) == 80


def test_complete_set_has_no_stamp(root, monkeypatch):
    monkeypatch.setattr(reader, "OFFICIAL", 240)
    assert read(root, validation=1).stamps == ()


def test_mistakes_are_named(tmp_path, root):
    with pytest.raises(UserError, match=r"no recordings of the Free Spoken Digit Dataset in .*FSDD/recordings"):
        read(tmp_path)
    with pytest.raises(UserError, match=r"unknown dataset\.val_speaker 'berta'\. Did you mean 'bert'\?"):
        read(root, split="speaker", val_speaker="berta")
    with pytest.raises(UserError, match="no recording of zero in the split train"):
        read(root, validation=3)
    write(tmp_path / "FSDD" / "recordings" / "ten_anna_0.wav")
    with pytest.raises(UserError, match=r"ten_anna_0\.wav is not named <digit>_<speaker>_<number>\.wav"):
        read(tmp_path)
    with pytest.raises(ValueError, match="val_speaker=theo must be another than test_speaker"):
        Config(val_speaker="theo")


def test_real_recordings(shared_data, tmp_path):
    if not (shared_data / "FSDD").is_dir():
        pytest.skip("no FSDD in the data folder")
    found = reader.read(Config(), Places(root=shared_data, cache=tmp_path))
    speakers = len(np.unique(found.train.group))
    assert (len(found.test.y), len(found.val.y), len(found.train.y)) == (50 * speakers, 50 * speakers, 400 * speakers)
    for part in (found.train, found.val, found.test):
        assert (np.bincount(part.y) == len(part.y) / 10).all()
    assert found.train.x.shape[1:] == (1, 40, 101)
