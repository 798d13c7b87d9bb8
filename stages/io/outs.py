"""Where the stages write, as the pipeline files have it: the folders, and the names of what commands read from them."""

from pathlib import Path

DATA, RESULTS, WEIGHTS = Path("data"), Path("results"), Path("weights")

# In DATA.
MANIFEST_TABLE = "manifest.parquet"
PAIRS_TABLE = "pairs.parquet"
SPLIT_TABLE = "split.csv"
FRAMES_FOLDER = "frames"
CROPS_FOLDER = "crops"  # with a folder for each crop.method
# In RESULTS.
METRICS_FILE = "metrics.json"
BASELINES_FILE = "baselines.json"
DETECTOR_FILE = "detector.json"
CROPPER_FILE = "cropper.json"
AUDIT_FILE = "audit.json"
AUDIT_TABLE = "audit.parquet"
PREDICTIONS_TABLE = "predictions.parquet"
FRAME_SCORES_TABLE = "frame_scores.parquet"
# In WEIGHTS.
DETECTOR_WEIGHTS = "detector.safetensors"
CROPPER_WEIGHTS = "s2cnet.safetensors"
QUALITY_WEIGHTS = "quality.safetensors"
