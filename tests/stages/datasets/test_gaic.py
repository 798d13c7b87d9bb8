"""GAIC folders: what is read, what is skipped, and what is refused with file and line."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.datasets.gaic import read_gaic, read_image, read_objects, split_images
from stages.errors import DatasetError


def write_image(root: Path, name: str, lines: str, *, part: str = "", height: int = 20, width: int = 30) -> Path:
    path = root / "images" / part / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "annotations").mkdir(exist_ok=True)
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, :, 0] = 200  # red
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    (root / "annotations" / f"{name}.txt").write_text(lines)
    return path


TWO = "1 2 11 22 3.5\n0 0 20 30 2.25\n"


def test_lines_are_y_before_x_and_unrated_ones_are_skipped(tmp_path):
    write_image(tmp_path, "a", "1 2 11 22 3.5\n\n0 0 10 10 -2\n0 0 20 30 2.25\n", part="train")
    (image,) = read_gaic(tmp_path)
    assert image.candidates_xyxy_px.tolist() == [[2, 1, 22, 11], [0, 0, 30, 20]]
    assert image.mos.tolist() == [3.5, 2.25]
    assert image.lines == (1, 4)
    assert image.part == "train"


def test_images_are_rgb(tmp_path):
    write_image(tmp_path, "a", TWO)
    pixels = read_image(read_gaic(tmp_path)[0])
    assert pixels.shape == (20, 30, 3)
    assert pixels[0, 0].tolist() == [200, 0, 0]


def test_order_is_by_part_and_name(tmp_path):
    for part, name in (("test", "a"), ("train", "c"), ("train", "b")):
        write_image(tmp_path, name, TWO, part=part)
    assert [(image.part, image.path.stem) for image in read_gaic(tmp_path)] == [
        ("train", "b"),
        ("train", "c"),
        ("test", "a"),
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("1 2 11 22\n" + TWO, r"a.txt, line 1: '1 2 11 22' is not `ymin xmin ymax xmax mos`"),
        (TWO + "1 2 x 22 3\n", "a.txt, line 3"),
        (TWO + "11 2 11 22 3\n", r"a.txt, line 3: the box is empty \(x 2 to 22, y 11 to 11\)"),
        (TWO + "1 2 11 22 nan\n", "a.txt, line 3: .* not finite"),
        ("1 2 11 22 3\n1 2 11 22 -2\n", "a.txt: 1 rated candidates; at least 2"),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, words):
    write_image(tmp_path, "a", lines)
    with pytest.raises(DatasetError, match=words):
        read_gaic(tmp_path)


def test_problems_are_listed_together(tmp_path):
    write_image(tmp_path, "a", "nothing\n", part="train")
    write_image(tmp_path, "b", TWO, part="train")
    write_image(tmp_path, "b", TWO, part="test")
    write_image(tmp_path, "c", TWO, part="test")
    (tmp_path / "annotations" / "c.txt").unlink()
    with pytest.raises(DatasetError) as error:
        read_gaic(tmp_path)
    text = str(error.value)
    assert "a.txt, line 1" in text
    assert "an image of this name is at" in text
    assert "c.txt is missing" in text


def test_folders_without_images(tmp_path):
    with pytest.raises(DatasetError, match="no images"):
        read_gaic(tmp_path)


def test_boxes_that_leave_the_image_and_damaged_files(tmp_path):
    path = write_image(tmp_path, "a", TWO + "0 0 20 31 3\n")
    image = read_gaic(tmp_path)[0]
    with pytest.raises(DatasetError, match=r"a.txt, line 3: the box leaves a.png \(30x20 px\)"):
        read_image(image)
    path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"a.png: not an image"):
        read_image(image)


def test_objects_are_y_before_x_and_keep_their_order(tmp_path):
    write_image(tmp_path, "a", TWO)
    image = read_gaic(tmp_path)[0]
    pixels = read_image(image)
    (tmp_path / "bbox").mkdir()
    file = tmp_path / "bbox" / "a.txt"
    # The last one is a placeholder of the published files.
    file.write_text("1 2 11 22.5\n\n0 0 20 30\n1 0 1 1\n")
    assert read_objects(image, pixels).tolist() == [[2, 1, 22.5, 11], [0, 0, 30, 20], [0, 1, 1, 1]]
    file.write_text("")
    assert read_objects(image, pixels).shape == (0, 4)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("1 2 11 22\n1 2 11\n", r"bbox/a.txt, line 2: '1 2 11' is not `ymin xmin ymax xmax`"),
        ("0 0 20 31\n", r"line 1: '0 0 20 31' is not a box inside a.png \(30x20 px\)"),
        ("5 9 6 5\n", "line 1: '5 9 6 5' is not a box"),
        ("0 nan 5 9\n", "line 1: '0 nan 5 9' is not a box"),
        (None, r"a.png: \S*bbox/a.txt is missing"),
    ],
)
def test_objects_that_cannot_be_are_named(tmp_path, lines, words):
    write_image(tmp_path, "a", TWO)
    image = read_gaic(tmp_path)[0]
    if lines is not None:
        (tmp_path / "bbox").mkdir()
        (tmp_path / "bbox" / "a.txt").write_text(lines)
    with pytest.raises(DatasetError, match=words):
        read_objects(image, read_image(image))


def test_own_parts_stay_and_missing_ones_are_drawn(tmp_path):
    for number in range(10):
        write_image(tmp_path, f"train{number}", TWO, part="train")
    for number in range(3):
        write_image(tmp_path, f"test{number}", TWO, part="test")
    images = read_gaic(tmp_path)
    parts = split_images(images, val_fraction=0.2, seed=0)
    assert {part: len(each) for part, each in parts.items()} == {"train": 8, "val": 2, "test": 3}
    assert all(image.path.stem.startswith("test") for image in parts["test"])
    assert {image.path for image in parts["train"] + parts["val"] + parts["test"]} == {i.path for i in images}
    again = split_images(images, val_fraction=0.2, seed=0)
    other = split_images(images, val_fraction=0.2, seed=1)
    assert [i.path for i in parts["val"]] == [i.path for i in again["val"]]
    assert [i.path for i in parts["val"]] != [i.path for i in other["val"]]


def test_a_folder_without_parts_is_split_in_three(tmp_path):
    for number in range(10):
        write_image(tmp_path, str(number), TWO)
    parts = split_images(read_gaic(tmp_path), val_fraction=0.2, seed=0)
    # A fifth of 10 is tested on, then a fifth of 8, rounded, selects.
    assert {part: len(each) for part, each in parts.items()} == {"train": 6, "val": 2, "test": 2}
    assert {image.part for each in parts.values() for image in each} == {"train", "val", "test"}


def test_too_few_images(tmp_path):
    for number in range(2):
        write_image(tmp_path, str(number), TWO)
    with pytest.raises(DatasetError, match="too few"):
        split_images(read_gaic(tmp_path), val_fraction=0.2, seed=0)
