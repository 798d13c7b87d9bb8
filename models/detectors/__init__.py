"""Object detectors behind one interface: frames in, boxes in pixels of those frames out."""
