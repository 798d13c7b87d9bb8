"""The pipeline: one module per DVC stage, and the rooms that the stages share."""
