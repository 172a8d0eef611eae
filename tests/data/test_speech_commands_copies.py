"""What can be wrong with a copy of Speech Commands."""

from pathlib import Path

import pytest

from tests.data.sounds import speech_commands
from tests.data.test_speech_commands import read
from xfeedback.errors import UserError


def no_list(folder: Path) -> None:
    (folder / "testing_list.txt").unlink()


def no_clip(folder: Path) -> None:
    (folder / "cat" / "0004abcd_nohash_0.wav").unlink()


def twice(folder: Path) -> None:
    with (folder / "testing_list.txt").open("a") as file:
        file.write("cat/0004abcd_nohash_0.wav\n")


def both(folder: Path) -> None:
    with (folder / "testing_list.txt").open("a") as file:
        file.write("cat/0003abcd_nohash_0.wav\n")


def no_clips(folder: Path) -> None:
    (folder / "bird").mkdir()


def no_words(folder: Path) -> None:
    for path in sorted(folder.rglob("*.wav")):
        path.unlink()
    for path in folder.iterdir():
        if path.is_dir():
            path.rmdir()


def broken(folder: Path) -> None:
    path = folder / "dog" / "0001abcd_nohash_0.wav"
    path.write_bytes(path.read_bytes()[:99])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (no_list, r"cannot read .*testing_list\.txt: No such file or directory\. The archive brings this list"),
        (
            no_clip,
            r"testing_list\.txt names cat/0004abcd_nohash_0\.wav, and there is no such clip\. Did you mean 'cat/",
        ),
        (twice, r"testing_list\.txt names cat/0004abcd_nohash_0\.wav twice"),
        (both, r"testing_list\.txt: cat/0003abcd_nohash_0\.wav is in validation_list\.txt too"),
        (no_clips, r"bird has no \.wav file\. Restore its clips, or remove the folder"),
        (no_words, r"has no folder of a word\. Remove it to download"),
        (broken, r"0001abcd_nohash_0\.wav is damaged: 99 bytes where its header promises"),
    ],
)
def test_what_can_be_wrong_with_a_copy(tmp_path, harm, message):
    harm(speech_commands(tmp_path))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, declared_sizes=((9, 3, 6),))
    assert "\n" not in str(caught.value)
