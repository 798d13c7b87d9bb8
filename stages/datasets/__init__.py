"""Data sets as their authors publish them: one adapter per format."""
