"""A file of the data set, given by a person, becomes the input that evaluation sees, to the bit."""

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from tests.data.miniature import options as imagenet
from tests.data.miniature import write_imagenet
from tests.data.test_own_files import SERIES, clips, load, written  # noqa: F401 - the fixture
from xfeedback.config import from_mapping
from xfeedback.data import config_class, entered
from xfeedback.data.audio import FeatureConfig
from xfeedback.data.inputs import Inputs
from xfeedback.errors import UserError


def given(names, dataset, inputs, **options):
    config = from_mapping(config_class(dataset), {"name": dataset, **options}, "dataset")
    return list(entered.read([str(name) for name in names], config, inputs))


def seen(task):
    """What evaluation sees of the test set."""
    return task.test_loaders(64, "cpu")["test"].batch(0, 0)


def test_clips_of_any_rate(load, tmp_path):  # noqa: F811
    root = clips(tmp_path / "mine", rate=8_000)
    task = load("audio_folder", root=str(root), seconds=0.2)
    batch = seen(task)
    files = sorted(root.rglob("*.wav"))
    found = given(
        [files[k] for k in batch.index.tolist()], "audio_folder", Inputs.of(task), root=str(root), seconds=0.2
    )
    assert torch.equal(torch.stack([sample.x for sample in found]), batch.x)
    with pytest.raises(UserError, match=r"this network takes audio clips, files that end in \.wav"):
        given([root], "audio_folder", Inputs.of(task))
    scaled = {"kind": "log_mel", "scaling": "training"}
    with pytest.raises(UserError, match="Train with scaling=clip"):
        given([files[0]], "audio_folder", Inputs.of(task), features=scaled)
    assert FeatureConfig().scaling == "clip"
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 8_000)
    with pytest.raises(UserError, match="it has no samples"):
        given([tmp_path / "none.wav"], "audio_folder", Inputs.of(task))


def test_series_with_gaps_and_of_several_lengths(load, tmp_path):  # noqa: F811
    lines = ["series,label,a,b"]
    for k, one in enumerate(SERIES):
        lines += [f"{k},{k % 2},{'' if k == t == 2 else a},{b}" for t, (a, b) in enumerate(one[: 6 - k % 3])]
    path = written(tmp_path / "all.csv", lines)
    task = load("series_file", train=path, test=path, val_share=0.0)
    batch = seen(task)
    found = given([path], "series_file", Inputs.of(task))
    assert torch.equal(torch.stack([sample.x for sample in found]), batch.x)
    valid = [torch.ones(6, dtype=torch.bool) if sample.valid is None else sample.valid for sample in found]
    assert torch.equal(torch.stack(valid), batch.valid)
    assert found[1].name == f"{path}:2"
    unlabelled = written(tmp_path / "one.csv", ["series,a,b", *(f"x,{a},{b}" for a, b in SERIES[0])])
    np.save(tmp_path / "one.npy", SERIES[0])
    for file in (unlabelled, tmp_path / "one.npy"):
        (sample,) = given([file], "series_file", Inputs.of(task))
        assert torch.equal(sample.x, batch.x[0])
    np.save(tmp_path / "long.npy", np.zeros((7, 2)))
    np.save(tmp_path / "wide.npy", np.zeros((6, 3)))
    with pytest.raises(UserError, match=r"long\.npy: 7 steps, and this network takes 6"):
        given([tmp_path / "long.npy"], "series_file", Inputs.of(task))
    with pytest.raises(UserError, match=r"wide\.npy: 3 feature\(s\), and this network takes 2"):
        given([tmp_path / "wide.npy"], "series_file", Inputs.of(task))
    (sample,) = given([tmp_path / "long.npy"], "series_file", Inputs.of(task), unequal="stretch")
    assert sample.x.shape == (6, 2)


def test_images_that_are_decoded_during_training(load, tmp_path):  # noqa: F811
    root = write_imagenet(tmp_path)
    chosen = {key: value for key, value in imagenet(tmp_path).items() if key != "name"}
    task = load("imagenet", **chosen)
    batch = next(iter(task.test_loaders(64, "cpu")["test"]))
    files = sorted(root.glob("val/*/*.JPEG"))
    found = given([files[k] for k in batch.index.tolist()], "imagenet", Inputs.of(task), **chosen)
    assert torch.equal(torch.stack([sample.x for sample in found]), batch.x)
    assert found[0].picture.size == (16, 16)


def test_grey_and_colour_are_brought_to_the_networks(tmp_path):
    grey = Inputs(kind="image", in_shape=(1, 8, 12), class_names=("a", "b"), mean=(0.5,), std=(0.25,))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "c.png")
    (sample,) = given([tmp_path / "c.png"], "image_folder", grey)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_allclose(sample.x[0], (expected / 255 - 0.5) / 0.25, atol=1e-6)
    colour = Inputs(kind="image", in_shape=(3, 8, 12), class_names=("a", "b"), mean=(0.5,) * 3, std=(0.25,) * 3)
    Image.fromarray(expected).save(tmp_path / "g.png")
    (again,) = given([tmp_path / "g.png"], "image_folder", colour)
    assert torch.equal(again.x, sample.x.expand(3, -1, -1))
    with pytest.raises(UserError, match="images of 5 channels"):
        given([tmp_path / "g.png"], "image_folder", Inputs(kind="image", in_shape=(5, 8, 8), class_names=("a", "b")))
