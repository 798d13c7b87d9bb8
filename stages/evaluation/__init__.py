"""Numbers that judge a model: metrics, intervals, verdicts, plots, and what the files are like."""
