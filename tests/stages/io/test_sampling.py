"""Which frames plans take."""

from models.methods.reading import AllFrames, SpreadFrames
from stages.io.sampling import planned_frames


def test_frames_by_hand() -> None:
    assert planned_frames(AllFrames(), 4) == [0, 1, 2, 3]
    # 0, 2.33, 4.67 and 7, rounded.
    assert planned_frames(SpreadFrames(count=4), 8) == [0, 2, 5, 7]
    # A shorter video has each of its frames once.
    assert planned_frames(SpreadFrames(count=4), 2) == [0, 1]
    assert planned_frames(SpreadFrames(count=1), 5) == [2]
