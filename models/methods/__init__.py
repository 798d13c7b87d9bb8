"""Methods that score videos, one folder each."""
