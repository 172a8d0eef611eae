"""Audio sets written by the tests, in the layout of the real ones."""

from pathlib import Path

import numpy as np
import soundfile

rng = np.random.default_rng(0)


def write(
    path: Path, seconds: float = 0.2, rate: int = 16_000, channels: int = 1, subtype: str = "PCM_16"
) -> np.ndarray:
    """Write noise; return its samples ``(T, channels)`` as 16-bit numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = rng.integers(-20_000, 20_000, (round(seconds * rate), channels)).astype(np.int16)
    soundfile.write(path, samples / 32_768, rate, subtype=subtype)
    return samples


def speech_commands(
    root: Path, words: tuple[str, ...] = ("cat", "dog", "tree"), train: int = 3, version: str = "v0.02"
) -> Path:
    """Write ``train`` training clips, one to validate and two to test of each word; return the folder."""
    folder = root / "SpeechCommands" / f"speech_commands_{version}"
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for word in words:
        for number in range(train + 3):
            name = f"{word}/{number:04x}abcd_nohash_0.wav"
            write(folder / name)
            if number >= train:
                lists["validation_list.txt" if number == train else "testing_list.txt"].append(name)
    for file, names in lists.items():
        (folder / file).write_text("".join(f"{name}\n" for name in reversed(names)))
    return folder


def spoken_digits(root: Path, speakers: tuple[str, ...] = ("anna", "bert", "theo"), recordings: int = 8) -> Path:
    """Write recordings of each digit by each speaker at 8 kHz; return the folder."""
    folder = root / "FSDD" / "recordings"
    for speaker in speakers:
        for digit in range(10):
            for number in range(recordings):
                write(folder / f"{digit}_{speaker}_{number}.wav", seconds=0.05, rate=8_000)
    return folder
