"""What the project costs, as ratios against bare parts timed in the same run: `make bench`."""
