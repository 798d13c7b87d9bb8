"""Renders the demo's data set: clips that fail as generated video fails, with scores, boxes and crops."""

from stages.demo_data.dataset import render_dataset

__all__ = ["render_dataset"]
