"""The paper's method: a backbone, 100 quality levels per frame, the Frame Consistency Loss."""
