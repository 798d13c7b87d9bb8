"""The columns of every table of the pipeline. Boxes are xyxy, in pixels of the frame."""

import pyarrow as pa

BOX_COLUMNS = ("x0", "y0", "x1", "y1")
BOX_FIELDS = [(name, pa.float32()) for name in BOX_COLUMNS]

MANIFEST = pa.schema(
    [
        ("video_id", pa.string()),
        ("path", pa.string()),
        ("mos", pa.float64()),
        ("mos_raw", pa.float64()),
        ("mos_raw_std", pa.float64()),
        ("prompt", pa.string()),
        ("generator", pa.string()),
        ("group", pa.string()),
        ("part", pa.string()),
        ("n_frames_header", pa.int64()),
        ("n_frames", pa.int64()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
PAIRS = pa.schema(
    [("kind", pa.string()), ("first", pa.string()), ("second", pa.string()), ("first_is_better", pa.bool_())]
)
FRAMES = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame_index", pa.int32()),
        ("time_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("encoding", pa.string()),
        ("image", pa.binary()),
    ]
)
PROPOSALS = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame_index", pa.int32()),
        ("rank", pa.int32()),
        *BOX_FIELDS,
        ("score", pa.float32()),
        ("label", pa.int32()),
    ]
)
CROPS = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame_index", pa.int32()),
        ("candidate", pa.int32()),
        *BOX_FIELDS,
        ("score", pa.float32()),
        ("selected", pa.bool_()),
        ("fallback", pa.bool_()),
    ]
)
FRAME_SCORES = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame_index", pa.int32()),
        ("time_s", pa.float64()),
        ("score", pa.float64()),
        ("deviation", pa.float64()),
        ("distance", pa.float64()),
        ("sharpness", pa.float64()),
    ]
)
PREDICTIONS = pa.schema(
    [
        ("video_id", pa.string()),
        ("part", pa.string()),
        ("generator", pa.string()),
        ("mos", pa.float64()),
        ("score", pa.float64()),
        ("score_raw", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("unlike_percent", pa.float64()),
        ("is_unlike", pa.bool_()),
        ("spread", pa.float64()),
        ("worst_frame_index", pa.int32()),
        ("worst_time_s", pa.float64()),
        ("sharpness", pa.float64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
AUDIT = pa.schema(
    [
        ("video_id", pa.string()),
        ("size_bytes", pa.int64()),
        ("codec", pa.string()),
        ("pixel_format", pa.string()),
        ("n_frames_header", pa.int64()),
        ("n_packets", pa.int64()),
        ("n_frames", pa.int64()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("interval_min_s", pa.float64()),
        ("interval_max_s", pa.float64()),
        ("variable_rate", pa.bool_()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("n_size_changes", pa.int64()),
        ("rotation_deg", pa.int32()),
        ("mirrored", pa.bool_()),
        ("pixel_aspect", pa.float64()),
        ("n_interlaced", pa.int64()),
        ("is_transparent", pa.bool_()),
        ("colour_range", pa.string()),
        ("colour_matrix", pa.string()),
        ("colour_primaries", pa.string()),
        ("colour_transfer", pa.string()),
        ("n_identical", pa.int64()),
        ("n_nearly_identical", pa.int64()),
        ("longest_freeze_frames", pa.int64()),
        ("identical_share", pa.float64()),
        ("same_file_as", pa.string()),
        ("frame_hashes", pa.list_(pa.uint64())),
        ("near_copy_of", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
