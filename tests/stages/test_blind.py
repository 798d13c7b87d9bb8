"""The stage on frames alone: no weights, no proposals; the choice itself is tested in test_crop.py."""

from pathlib import Path

import pytest

from stages.blind import main
from stages.io.schemas import CROPS
from stages.io.shards import Shards
from stages.steps.clips import selected_boxes
from stages.steps.history import crop_shape
from tests.stages.clip_tables import SIZE_PX, write_tables

# The largest anchor around the middle: from the middle of the first of 12 bins to that of the last.
MIDDLE = (0.5 * SIZE_PX / 12, 0.5 * SIZE_PX / 12, 11.5 * SIZE_PX / 12, 11.5 * SIZE_PX / 12)


@pytest.mark.parametrize(("method", "box"), [("full", (0, 0, SIZE_PX, SIZE_PX)), ("center", MIDDLE), ("random", None)])
def test_every_frame_has_its_crop(workplace: Path, write_params, method: str, box: tuple[float, ...] | None) -> None:
    # The command line decides, so that the out of one method never holds another's crops.
    write_params(crop={"method": "s2cnet", "shape": "letterbox"}, engine={"shards": 2})
    write_tables(workplace, videos=3)
    main(["--frames", "frames", "--method", method, "--out", f"out/{method}"])
    table = Shards(f"out/{method}", schema=CROPS)
    assert table.ids == ["clip_000.avi", "clip_001.avi", "clip_002.avi"]
    assert list(table.made_by)[-1] == "crop"
    assert table.made_by["crop"]["params"]["method"] == method
    assert crop_shape(table.made_by) == "letterbox"
    chosen = [selected_boxes(table.read(name)) for name in table.ids]
    assert all(set(boxes) == {0, 1, 2} for boxes in chosen)
    if box is not None:
        assert all(each == pytest.approx(box) for boxes in chosen for each in boxes.values())


def test_how_a_crop_is_cut_out_computes_nothing_again(
    workplace: Path, write_params, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(workplace, videos=3)
    for changes, line in (
        ({}, "blind: 3 computed, 0 cached, 0 failed"),
        ({"shape": "square"}, "blind: 0 computed, 3 cached, 0 failed"),
        ({"candidates": "1:1"}, "blind: 3 computed, 0 cached, 0 failed"),
    ):
        write_params(crop=changes)
        main(["--frames", "frames", "--method", "center", "--out", "out"])
        assert line in capsys.readouterr().out
