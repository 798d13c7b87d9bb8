"""What happens to one video: frames, objects, crops, scores. Stages and commands call the same functions."""
