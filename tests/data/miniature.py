"""ImageNet's official layout with a few small generated images."""

import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SYNSETS = ("n01440764", "n02102040", "n03028079", "n03888257")
BOX = (11, 5, 30, 20)
"""xmin, ymin, xmax, ymax of the one image with boxes, from 1, last pixels included."""
BOXED = "n02102040_3"


def write_imagenet(root: Path, train: int = 8, val: int = 3) -> Path:
    """Write ``train`` and ``val`` images of each of four classes, each class with a colour of its own."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for label, synset in enumerate(SYNSETS):
            for number in range(count):
                stem = f"{synset}_{number}" if part == "train" else f"ILSVRC2012_val_{label * val + number:08d}"
                path = root / "imagenet" / part / synset / f"{stem}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 128, (24 + 4 * number, 40, 3), dtype=np.uint8)
                pixels[..., label % 3] += 96 if label < 3 else 0
                Image.fromarray(pixels).save(path, "JPEG", quality=95)
    write_box(root / "boxes" / "train" / SYNSETS[1] / f"{BOXED}.xml", (40, 36), BOX)
    (root / "boxes" / "val").mkdir()
    return root / "imagenet"


def write_box(path: Path, size: tuple[int, int], *boxes: tuple[int, int, int, int]) -> None:
    """Write boxes as ImageNet's are written; ``size`` is (width, height)."""
    names = ("xmin", "ymin", "xmax", "ymax")
    edges = ["".join(f"<{n}>{v}</{n}>" for n, v in zip(names, box, strict=True)) for box in boxes]
    objects = "".join(f"<object><name>n1</name><bndbox>{box}</bndbox></object>" for box in edges)
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation>{stated}{objects}</annotation>")


def options(place: Path, /, **changed: Any) -> dict[str, Any]:
    """Return options of the miniature."""
    small = {"root": str(place / "imagenet"), "declared_sizes": ((32, 12),), "val_per_class": 2, "workers": 0}
    return {"name": "imagenet", "size": 16, "short_side": 20, **small, **changed}


def truncate(path: Path) -> None:
    """Cut the end of a file off."""
    path.write_bytes(path.read_bytes()[:-200])


def write_shards(root: Path, per_shard: int = 5) -> Path:
    """Write the images that :func:`write_imagenet` wrote below ``root`` as WebDataset shards, in a mixed order."""
    folder = root / "shards"
    folder.mkdir()
    for part in ("train", "val"):
        files = sorted((root / "imagenet" / part).glob("*/*.JPEG"))
        mixed = [files[row] for row in np.random.default_rng(1).permutation(len(files))]
        for number in range(0, len(mixed), per_shard):
            with tarfile.open(folder / f"imagenet-{part}-{number // per_shard:06d}.tar", "w") as shard:
                for path in mixed[number : number + per_shard]:
                    add_member(shard, f"{path.stem}.jpg", path.read_bytes())
                    add_member(shard, f"{path.stem}.cls", str(SYNSETS.index(path.parent.name)).encode())
    return folder


def add_member(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to a tar file."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, BytesIO(content))
