"""Files in COCO's format as programs other than COCO's own write them."""

import json

import pytest

from tests.data.image_folders import everything, reading, refused, write_coco

ENTRIES = [("cat/0.png", 1, [0, 0, 4, 4]), ("cat/1.png", 2, [2, 2, 8, 8])]


def changed(root, change):
    """Write the same file after ``change`` to its content, and return the masks."""
    write_coco(root, ENTRIES)
    path = root / "boxes.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return everything(reading(root))[2]


def outlined(points):
    return lambda content: [entry.update(segmentation=points) for entry in content["annotations"]]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(categories=[]),
        lambda content: content.update(categories=content["categories"][:1]),
        lambda content: [entry.update(category_id=str(entry["category_id"])) for entry in content["annotations"]],
        outlined([]),
        outlined([[]]),
        outlined([[1, 1, 3, 3]]),
    ],
)
def test_every_object_counts_where_none_is_chosen(root, change):
    plain = changed(root, lambda _: None)
    assert plain.any((1, 2)).sum() == 2
    assert (changed(root, change) == plain).all()


def test_an_image_that_is_named_twice_has_the_objects_of_both(root):
    def apart(content):
        content["images"].append({**content["images"][0], "id": 9})
        content["annotations"].append({**content["annotations"][0], "image_id": 9, "bbox": [10, 10, 4, 4]})

    def together(content):
        content["annotations"].append({**content["annotations"][0], "bbox": [10, 10, 4, 4]})

    assert (changed(root, apart) == changed(root, together)).all()


def test_two_categories_of_one_name_are_refused(root):
    write_coco(root, ENTRIES)
    content = (root / "boxes.json").read_text()
    (root / "boxes.json").write_text(content.replace("tail", "ear"))
    refused(root, "several categories called 'ear'")
