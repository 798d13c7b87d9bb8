"""Video files with FFmpeg's libraries (PyAV): opening, reading in sequence, and the picture that a viewer sees."""
