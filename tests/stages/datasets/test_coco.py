"""Reading COCO's JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stages.datasets.coco import ObjectSet, merge_classes, read_coco
from stages.errors import DatasetError


def content(**changes: Any) -> dict[str, Any]:
    """Two images of 40 x 30 px, one box in the first; categories out of order and with gaps."""
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 5, "file_name": "b.png", "width": 40, "height": 30},
        ],
        "annotations": [{"id": 11, "image_id": 7, "category_id": 9, "bbox": [4, 5, 10, 20], "iscrowd": 0}],
        "categories": [{"id": 9, "name": "star"}, {"id": 2, "name": "disc"}],
    } | changes


def annotation(bbox: Any, **changes: Any) -> dict[str, Any]:
    return {"id": 11, "image_id": 7, "category_id": 9, "bbox": bbox} | changes


Read = Callable[..., ObjectSet]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    (tmp_path / "images").mkdir()
    for number, name in enumerate(("a.png", "b.png")):
        cv2.imwrite(str(tmp_path / "images" / name), np.full((30, 40, 3), (0, 0, 100 + number), np.uint8))

    def from_values(**changes: Any) -> ObjectSet:
        path = tmp_path / "train.json"
        path.write_text(json.dumps(content(**changes)), encoding="utf-8")
        return read_coco(path, tmp_path / "images")

    return from_values


def test_boxes_labels_and_pixels(read: Read) -> None:
    objects = read()
    # Ids 2 and 9 become labels 1 and 2.
    assert objects.classes == ("disc", "star")
    first, second = objects.images
    assert first.boxes_xyxy_px.tolist() == [[4, 5, 14, 25]]
    assert first.boxes_xyxy_px.dtype == np.float32
    assert first.labels.tolist() == [2]
    # An image without objects is an example too.
    assert second.boxes_xyxy_px.shape == (0, 4)
    assert second.labels.shape == (0,)
    assert objects.n_boxes == 1
    # Written as blue 0, green 0, red 100.
    assert first.read()[0, 0].tolist() == [100, 0, 0]


def test_merged_classes_keep_their_boxes(read: Read) -> None:
    boxes = [annotation([4, 5, 10, 20]), annotation([1, 2, 3, 4], id=12, category_id=2)]
    objects = read(annotations=boxes)
    merged = merge_classes(objects)
    assert objects.images[0].labels.tolist() == [2, 1]
    assert merged.images[0].labels.tolist() == [1, 1]
    assert merged.classes == ("object",)
    assert merged.images[0].boxes_xyxy_px is objects.images[0].boxes_xyxy_px


def test_crowds_are_kept_apart(read: Read) -> None:
    crowd = annotation([1, 2, 30, 20], id=12, iscrowd=1)
    boxless = annotation(None, id=13, iscrowd=1)
    objects = read(annotations=[annotation([4, 5, 10, 20]), crowd, boxless])
    assert (objects.n_boxes, objects.n_crowds, objects.n_left_out) == (1, 1, 1)
    assert objects.images[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 25]]
    assert objects.images[0].crowds_xyxy_px.tolist() == [[1, 2, 31, 22]]
    assert objects.images[0].crowd_labels.tolist() == [2]
    assert merge_classes(objects).images[0].crowd_labels.tolist() == [1]
    with pytest.raises(DatasetError, match="no boxes besides 1 of crowds"):
        read(annotations=[crowd])


@pytest.mark.parametrize(
    "bbox",
    [
        # Annotation 918 of COCO's instances_train2017.json is like this.
        [4, 5, 1.03, 0.0],
        [4, 5, 0, 20],
        [4, 5, 1e-7, 20],
        # In float32 the numbers around 20 lie 2e-6 apart, so this one is thinner than it says: it has no width.
        [20, 5, 9e-7, 20],
        [39.9995, 5, 1, 20],
        [4, -0.9995, 10, 1],
    ],
)
def test_boxes_without_an_area_are_left_out_and_counted(read: Read, bbox: list[float]) -> None:
    objects = read(annotations=[annotation([4, 5, 10, 20]), annotation(bbox, id=12)])
    assert (objects.n_boxes, objects.n_left_out) == (1, 1)


def test_whole_numbers_may_be_written_as_fractions_behind_a_byte_order_mark(read: Read, tmp_path: Path) -> None:
    values = content(annotations=[annotation([4, 5, 10, 20], image_id=7.0, category_id=9.0)])
    values["images"][0] |= {"id": 7.0, "width": 40.0}
    (tmp_path / "bom.json").write_text(json.dumps(values), encoding="utf-8-sig")
    objects = read_coco(tmp_path / "bom.json", tmp_path / "images")
    assert objects.images[0].boxes_xyxy_px.tolist() == [[4, 5, 14, 25]]
    assert (objects.images[0].width, objects.images[0].labels.tolist()) == (40, [2])


def test_a_picture_that_its_file_turns_is_said_to_be(read: Read) -> None:
    sizes = {"width": 30, "height": 40}
    objects = read(images=[{"id": 7, "file_name": "a.png", **sizes}])
    with pytest.raises(DatasetError, match=r"a.png: 40x30 px, the annotations say 30x40; a tag \(EXIF\) in the file"):
        objects.images[0].read()


def test_thin_boxes_keep_an_area_in_float32(read: Read) -> None:
    objects = read(annotations=[annotation([20, 29, 0.0011, 1])])
    (box,) = objects.images[0].boxes_xyxy_px
    # Mirrored in 40 px the corners are 19.9989 and 20.
    assert box[2] > box[0]
    assert np.float32(40) - box[0] > np.float32(40) - box[2]


def test_boxes_are_clipped_by_a_rounding_only(read: Read) -> None:
    objects = read(annotations=[annotation([-0.5, 0.0, 41.0, 30.25])])
    assert objects.images[0].boxes_xyxy_px.tolist() == [[0, 0, 40, 30]]


@pytest.mark.parametrize(
    ("bbox", "words"),
    [
        ([4, 5, 10, -1], "must be positive"),
        ([4, 5, 40, 20], r"outside of image 7 \(40x30 px\)"),
        ([-5, 5, 10, 20], "outside of image 7"),
        ([40, 5, 0.5, 20], "outside of image 7"),
        ([4, 5, float("nan"), 20], "four finite numbers"),
        ([4, 5, float("inf"), 20], "four finite numbers"),
        ([4, 5, 10**400, 20], "four finite numbers"),
        ([4, 5, 10], "four finite numbers"),
        (["4", 5, 10, 20], "four finite numbers"),
        (None, "four finite numbers"),
    ],
)
def test_boxes_that_cannot_be(read: Read, bbox: Any, words: str) -> None:
    with pytest.raises(DatasetError, match=rf"train\.json(.|\n)*annotation 11: .*{words}"):
        read(annotations=[annotation(bbox)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": []}, "there are no images"),
        ({"annotations": []}, "there are no boxes"),
        ({"annotations": [annotation([1, 1, 5, 5], image_id=8)]}, "annotation 11: image_id is 8"),
        ({"annotations": [annotation([1, 1, 5, 5], category_id=None)]}, "annotation 11: category_id is None"),
        ({"annotations": ["box"]}, "an annotation is 'box'"),
        ({"annotations": {}}, "lists images, annotations, categories"),
        ({"categories": [{"id": 9}, {"id": 9}]}, "category 9: the id stands twice"),
        ({"images": [{"id": "7"}]}, "one image has no integer id"),
        ({"images": [{"id": 7, "file_name": "c.png", "width": 40, "height": 30}]}, "c.png: no such file"),
        ({"images": [{"id": 7, "file_name": "../a.png", "width": 40, "height": 30}]}, "leaves the folder"),
        ({"images": [{"id": 7, "file_name": "a.png", "width": 0, "height": 30}]}, "image 7: width is 0"),
        ({"images": [{"id": 7, "width": 40, "height": 30}]}, "image 7: file_name is missing"),
    ],
)
def test_files_that_cannot_be_used(read: Read, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DatasetError, match=rf"train\.json(.|\n)*{words}"):
        read(**changes)


def test_all_problems_together_up_to_a_number(read: Read) -> None:
    with pytest.raises(DatasetError) as error:
        read(annotations=[annotation([1, 1, -1, 5], id=number) for number in range(30)])
    lines = str(error.value).splitlines()
    # The headline, twenty problems, and how many more there are.
    assert len(lines) == 22
    assert "annotation 19:" in lines[20]
    assert lines[21].strip() == "and 10 more"


def test_files_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.json: no such file"):
        read_coco(tmp_path / "none.json", tmp_path)
    (tmp_path / "bad.json").write_text('{"images": [', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"bad\.json: not JSON"):
        read_coco(tmp_path / "bad.json", tmp_path)


def test_images_that_cannot_be_read(read: Read) -> None:
    objects = read(images=[{"id": 7, "file_name": "a.png", "width": 30, "height": 40}])
    with pytest.raises(DatasetError, match=r"a\.png: 40x30 px, the annotations say 30x40"):
        objects.images[0].read()
    path = objects.images[0].path
    path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a\.png: no readable image"):
        objects.images[0].read()
    path.unlink()
    with pytest.raises(DatasetError, match=r"a\.png: no readable image"):
        objects.images[0].read()
