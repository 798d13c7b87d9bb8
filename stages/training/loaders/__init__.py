"""What feeds the three trainings: batches of images with boxes, crops with scores, clips."""
