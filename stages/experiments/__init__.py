"""Series of DVC experiments, and the results of other Git revisions."""
