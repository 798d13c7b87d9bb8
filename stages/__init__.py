"""The pipeline: one module a DVC stage, and what the stages share."""
