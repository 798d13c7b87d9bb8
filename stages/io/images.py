"""Single frames: encoding for tables, cutting a crop, and the sharpness that the metrics are compared with."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.errors import TableError

Frame = NDArray[np.uint8]


def encode_image(frame: Frame, *, encoding: str, jpeg_quality: int) -> bytes:
    """Encode a frame; PNG and WebP are lossless.

    Args:
        frame: (H, W, 3) uint8 RGB.
        encoding: `png`, `webp` or `jpeg`.
        jpeg_quality: 1-100; read for `jpeg` alone.

    Returns:
        The bytes of the image file.

    Raises:
        TableError: OpenCV cannot encode a frame of this size.
    """
    options = {
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
        "webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100 means lossless to OpenCV
        "jpeg": [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality],
    }[encoding]
    done, data = cv2.imencode(f".{encoding}", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise TableError(f"a frame of {frame.shape[1]}x{frame.shape[0]} cannot be encoded as {encoding}")
    return data.tobytes()


def decode_image(data: bytes) -> Frame:
    """Decode an image file, such as `encode_image` makes.

    Args:
        data: The bytes of the file, in any format that OpenCV reads.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        TableError: The bytes are damaged, or no image.
    """
    # The decoder gives RGB itself: converting from BGR would be another pass over every frame.
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if frame is None:
        raise TableError(f"{len(data)} bytes are no image")
    return np.asarray(frame, np.uint8)


def cut(frame: Frame, box_xyxy_px: tuple[float, float, float, float], *, size_px: int) -> Frame:
    """Cut a box out of a frame and resize it to a square.

    Area averaging where the image shrinks keeps small artefacts from aliasing; bicubic interpolation where it grows.

    Args:
        frame: (H, W, 3) uint8.
        box_xyxy_px: Corners in pixels of the frame. The minima are rounded down and the maxima up, then clipped to the
            frame; at least one pixel is left.
        size_px: Side of the result, pixels.

    Returns:
        (size_px, size_px, 3) uint8, colours in the frame's order.
    """
    height, width = frame.shape[:2]
    x0 = min(max(math.floor(box_xyxy_px[0]), 0), width - 1)
    y0 = min(max(math.floor(box_xyxy_px[1]), 0), height - 1)
    x1 = max(min(math.ceil(box_xyxy_px[2]), width), x0 + 1)
    y1 = max(min(math.ceil(box_xyxy_px[3]), height), y0 + 1)
    shrinks = (x1 - x0) * (y1 - y0) >= size_px * size_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame[y0:y1, x0:x1], (size_px, size_px), interpolation=interpolation), np.uint8)


def sharpness(frame: Frame) -> float:
    """Variance of the Laplacian of the grey frame: the plain number that a quality model has to beat.

    Args:
        frame: (H, W, 3) uint8 RGB.
    """
    return float(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
