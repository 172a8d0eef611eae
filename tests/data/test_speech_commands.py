"""Speech Commands: lists, rule, tasks, subsets, and what can be wrong with a copy."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.sounds import speech_commands, write
from xfeedback.data import audio, load
from xfeedback.data.audio import FeatureConfig
from xfeedback.data.decoy import DecoyConfig
from xfeedback.data.options import Places
from xfeedback.data.sets import speech_commands as reader
from xfeedback.data.sets.speech_commands import COMMANDS, Config
from xfeedback.data.speech_lists import percentage, read_list, speaker, split_of
from xfeedback.errors import UserError

SMALL = {"seconds": 0.2, "features": FeatureConfig(kind="log_mel")}


def read(root: Path, **options):
    return reader.read(Config(**SMALL, **options), Places(root=root, cache=root / "cache"))


def test_hash_rule_on_published_names():
    """By the rule of Warden 2018, section 7.1, written out once more."""
    for name in ("0165e0e8_nohash_0.wav", "ffd2ba2f_nohash_0.wav", "f9643d42_nohash_1.wav", "x_nohash_0.wav"):
        h = int(hashlib.sha1(name.split("_nohash_")[0].encode()).hexdigest(), 16)
        assert percentage(name) == pytest.approx(h % 2**27 * 100 / (2**27 - 1))
    assert percentage("0165e0e8_nohash_0.wav") == pytest.approx(83.7120, abs=1e-4)
    assert percentage("bed/ffd2ba2f_nohash_0.wav") == pytest.approx(55.3017, abs=1e-4)


def test_rule_keeps_speakers_together_and_shares():
    names = [f"word/{n:08x}_nohash_{n % 3}.wav" for n in range(3_000)]
    splits = np.array([split_of(name) for name in names])
    assert [split_of(f"{speaker(name)}_nohash_7.wav") for name in names[:50]] == list(splits[:50])
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        assert (splits == split).mean() == pytest.approx(share, abs=0.02)
    assert split_of(names[0], validation=100) == "val"
    assert split_of(names[0], validation=0, testing=100) == "test"


def test_splits_follow_the_lists(tmp_path):
    folder = speech_commands(tmp_path)
    found = read(tmp_path, declared_sizes=((9, 3, 6),))
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    assert found.class_names == ("cat", "dog", "tree")
    for part, listed in ((found.val, "validation_list.txt"), (found.test, "testing_list.txt")):
        assert part is not None
        assert [files[row] for row in part.index] == (folder / listed).read_text().split()
    rest = [row for row in range(len(files)) if row not in {*found.val.index, *found.test.index}]
    np.testing.assert_array_equal(found.train.index, rest)
    for part in (found.train, found.val, found.test):
        assert [found.class_names[label] for label in part.y] == [files[row].split("/")[0] for row in part.index]
    voices = {}
    for part in (found.train, found.val, found.test):
        for row, group in zip(part.index, part.group, strict=True):
            assert voices.setdefault(speaker(files[row]), group) == group
    assert len(set(voices.values())) == len(voices)
    assert found.stamps == ("subset, not comparable with published numbers",)


def test_images_are_those_of_the_files(tmp_path):
    folder = speech_commands(tmp_path)
    found = read(tmp_path, declared_sizes=((9, 3, 6),))
    files = sorted(folder.rglob("*.wav"))
    wave = audio.read_wav(files[found.test.index[2]], 16_000)
    from xfeedback.data.features import features, scale_by_clip

    expected = features(wave[None], FeatureConfig(kind="log_mel"), 16_000)
    scale_by_clip(expected)
    np.testing.assert_allclose(found.test.x[2:3], expected, atol=1e-6)


def test_undeclared_copy_is_refused_with_the_way_out(tmp_path):
    speech_commands(tmp_path)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert "holds 9,3,6 clips to train, validate and test, expected 84843,9981,11005" in str(caught.value)
    assert "'dataset.declared_sizes=[[9,3,6]]'" in str(caught.value)


def test_complete_copy_has_no_stamp_unless_lists_and_rule_differ(tmp_path, monkeypatch):
    folder = speech_commands(tmp_path)
    monkeypatch.setitem(reader.OFFICIAL, "v0.02", (9, 3, 6))
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
    listed = {file: (folder / file).read_text().split() for file in ("validation_list.txt", "testing_list.txt")}
    differ = sum(
        split_of(name)
        != (
            "val"
            if name in listed["validation_list.txt"]
            else "test"
            if name in listed["testing_list.txt"]
            else "train"
        )
        for name in files
    )
    assert differ
    assert read(tmp_path).stamps == (f"{differ} clips in another split than their names' hash says",)
    monkeypatch.setattr(
        reader.speech_lists,
        "split_of",
        lambda name: next((s for s, f in reader.speech_lists.LISTS.items() if name in listed[f]), "train"),
    )
    assert read(tmp_path).stamps == ()


def test_last_training_clip_is_left_out_on_demand(tmp_path, monkeypatch):
    speech_commands(tmp_path)
    monkeypatch.setitem(reader.OFFICIAL, "v0.02", (9, 3, 6))
    usual, shorter = read(tmp_path), read(tmp_path, drop_last_line=True)
    np.testing.assert_array_equal(shorter.train.index, usual.train.index[:-1])
    np.testing.assert_array_equal(shorter.test.index, usual.test.index)


def test_ten_commands_are_a_choice_of_the_words(tmp_path):
    speech_commands(tmp_path, (*COMMANDS, "bird", "tree"), train=2)
    found = read(tmp_path, words=10, declared_sizes=((24, 12, 24),))
    assert found.class_names == COMMANDS
    assert (len(found.train.y), len(found.val.y), len(found.test.y)) == (20, 10, 20)
    assert set(found.train.y) == set(range(10))


def test_twelve_classes_add_silence_and_other_words(tmp_path):
    folder = speech_commands(tmp_path, (*COMMANDS, "bird", "tree"), train=2)
    write(folder / "_background_noise_" / "hum.wav", seconds=1)
    options = {"words": 12, "declared_sizes": ((24, 12, 24),)}
    found = read(tmp_path, **options)
    assert found.class_names == (*COMMANDS, "_silence_", "_unknown_")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*_nohash_*.wav"))
    everywhere = []
    for part, size in ((found.train, 2), (found.val, 1), (found.test, 2)):
        np.testing.assert_array_equal(np.bincount(part.y)[-2:], size)
        others = part.index[part.y == 11]
        assert {files[row].split("/")[0] for row in others} <= {"bird", "tree"}
        assert (part.index[part.y == 10] >= len(files)).all()
        assert set(part.group[part.y == 10]) == set(part.index[part.y == 10])
        everywhere += part.index.tolist()
    assert len(set(everywhere)) == len(everywhere)
    again = read(tmp_path, **options)
    np.testing.assert_array_equal(again.train.x, found.train.x)
    silent = read(tmp_path, noise_volume=0.0, **options)
    assert not silent.train.x[silent.train.y == 10].any()
    assert silent.stamps[-1] == "5 constant clips"


def test_twelve_classes_may_be_tested_on_the_archive_published_for_them(tmp_path, monkeypatch):
    folder = speech_commands(tmp_path, (*COMMANDS, "bird", "tree"), train=2)
    write(folder / "_background_noise_" / "hum.wav", seconds=1)
    options = {"words": 12, "declared_sizes": ((24, 12, 24),), "test_set": "companion"}
    with pytest.raises(
        UserError, match=r"test_set=companion: no folder .*speech_commands_test_set_v0.02; unpack https"
    ):
        read(tmp_path, **options)
    place = tmp_path / "speech_commands_test_set_v0.02"
    classes = (*COMMANDS, "_silence_", "_unknown_")
    for number, word in enumerate(classes[:-1]):
        write(place / word / f"{number}.wav")
    with pytest.raises(UserError, match="has no folder for _unknown_"):
        read(tmp_path, **options)
    for number in range(3):
        write(place / "_unknown_" / f"{number}.wav")
    usual, found = read(tmp_path, **{**options, "test_set": "official"}), read(tmp_path, **options)
    assert found.test.y.tolist() == [*range(11), 11, 11, 11]
    assert found.stamps == (*usual.stamps, "14 of 4,890 companion test clips")
    assert found.fingerprint != usual.fingerprint
    np.testing.assert_array_equal(found.train.x, usual.train.x)
    np.testing.assert_array_equal(found.val.x, usual.val.x)
    assert not {*found.test.index} & {*found.train.index, *found.val.index}
    monkeypatch.setattr(reader, "COMPANION", 14)
    assert read(tmp_path, **options).stamps == usual.stamps
    with pytest.raises(ValueError, match="test_set=companion must be official but for words=12"):
        reader.Config(test_set="companion")


@pytest.mark.parametrize("words", [10, 12])
def test_commands_that_are_not_there(tmp_path, words):
    speech_commands(tmp_path, COMMANDS[:8])
    with pytest.raises(UserError, match=rf"dataset\.words={words} needs the words .* no folder for stop, go\."):
        read(tmp_path, words=words, declared_sizes=((24, 8, 16),))


def test_twelve_classes_need_the_background_noise(tmp_path):
    speech_commands(tmp_path, (*COMMANDS, "tree"))
    with pytest.raises(UserError, match=r"makes _silence_ from .*_background_noise_, which is missing"):
        read(tmp_path, words=12, declared_sizes=((33, 11, 22),))


def test_split_without_a_word_is_refused(tmp_path):
    folder = speech_commands(tmp_path)
    lines = (folder / "testing_list.txt").read_text().split()
    (folder / "testing_list.txt").write_text("\n".join(line for line in lines if "dog" not in line))
    with pytest.raises(UserError, match="no clip of 'dog' in one of the splits"):
        read(tmp_path, declared_sizes=((11, 3, 4),))


def test_missing_archive_is_one_line(tmp_path, monkeypatch):
    def unreachable(into, name):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(reader, "_fetch", unreachable)
    with pytest.raises(UserError, match=r"no Speech Commands in .*downloading it failed \(Network is unreachable\)"):
        read(tmp_path)
    assert not (tmp_path / "SpeechCommands").exists()


def test_download_lands_in_the_root_whole(tmp_path, monkeypatch):
    import torchaudio.datasets

    def fake(root, url, download):
        assert (url, download) == ("speech_commands_v0.01", True)
        speech_commands(Path(root), version="v0.01")

    monkeypatch.setattr(torchaudio.datasets, "SPEECHCOMMANDS", fake)
    found = read(tmp_path, version="v0.01", declared_sizes=((9, 3, 6),))
    assert len(found.train.y) == 9
    assert (tmp_path / "SpeechCommands" / "speech_commands_v0.01" / "testing_list.txt").exists()


def test_last_line_without_a_break(tmp_path):
    (tmp_path / "list.txt").write_text("a/1.wav\n\na/2.wav")
    assert read_list(tmp_path / "list.txt") == ["a/1.wav", "a/2.wav"]
    assert read_list(tmp_path / "list.txt", drop_last_line=True) == ["a/1.wav"]


def test_real_subset(shared_data, tmp_path):
    if not (shared_data / "SpeechCommands").is_dir():
        pytest.skip("no Speech Commands in the data folder")
    task = load(Config(), DecoyConfig(name="none"), seed=0, root=tmp_path, extra_roots=[shared_data], cache=tmp_path)
    folder = shared_data / "SpeechCommands" / "speech_commands_v0.02"
    if sum(1 for _ in folder.glob("*/*.wav")) != 1_280:
        pytest.skip("not the shared subset")
    assert (len(task.train), len(task.val or ()), len(task.test)) == (732, 213, 335)
    assert task.class_names == ("down", "go", "left", "no", "right", "stop", "up", "yes")
    assert task.stamps == ("subset, not comparable with published numbers",)
    assert task.in_shape == (1, 129, 124)
    voices = [set(part.group.tolist()) for part in (task.train, task.val, task.test)]  # type: ignore[union-attr]
    assert not voices[0] & voices[1]
    assert not voices[0] & voices[2]
    assert not voices[1] & voices[2]
    assert all(split_of(path.name) == "test" for path in folder.glob("*/*.wav"))
    batch = next(iter(task.train_loader(732, "cpu", seed=0)))
    assert float(batch.x.mean()) == pytest.approx(0, abs=0.01)
    assert float(batch.x.std()) == pytest.approx(1, abs=0.01)
    assert batch.x.dtype == torch.float32
