"""Data sets as their authors publish them: one adapter a format."""
