"""Single frames: encoding for tables, cutting a crop, and the sharpness that the metrics are compared with."""

import io
import math
import warnings
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from stages.errors import TableError

Frame = NDArray[np.uint8]
Shape = Literal["stretch", "letterbox", "square"]
# Twice the pixels of 8K (7680 x 4320): a picture of this size takes 200 MB in RGB.
MAX_PIXELS = 1 << 26
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
# R, G, B of ImageNet's mean: after normalisation about zero.
BAR_COLOR = (124, 116, 104)


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


def _stated_size(data: bytes) -> tuple[int, int]:
    """Width and height in an image's header; no pixel is decoded."""
    try:
        with warnings.catch_warnings():
            # Pillow's own limit is another one.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
                return image.size
    except Image.DecompressionBombError as error:
        raise TableError(f"{error}; at most {MAX_PIXELS} pixels are read") from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise TableError(f"{len(data)} bytes are no image") from None


def decode_image(data: bytes) -> Frame:
    """Decode an image file, such as `encode_image` makes.

    Args:
        data: The bytes of the file, in one of IMAGE_FORMATS.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        TableError: The bytes are damaged, no image, or one of more than MAX_PIXELS.
    """
    width, height = _stated_size(data)
    if width * height > MAX_PIXELS:
        raise TableError(f"an image of {width}x{height} has {width * height} pixels; at most {MAX_PIXELS} are read")
    # The decoder gives RGB itself: converting from BGR would be another pass over every frame.
    frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if frame is None:
        raise TableError(f"{len(data)} bytes are no image")
    return np.asarray(frame, np.uint8)


def cut(
    frame: Frame, box_xyxy_px: tuple[float, float, float, float], *, size_px: int, shape: Shape = "stretch"
) -> Frame:
    """Cut a box out of a frame and resize it to a square.

    Area averaging along an axis that shrinks keeps small artefacts from aliasing; bicubic interpolation along one that
    grows.

    Args:
        frame: (H, W, 3) uint8.
        box_xyxy_px: Corners in pixels of the frame. The minima are rounded down and the maxima up, then clipped to the
            frame; at least one pixel is left.
        size_px: Side of the result, pixels.
        shape: `stretch`: both axes fill the square; `letterbox`: the longer one does, between bars of BAR_COLOR;
            `square`: the square of the shorter side in the middle of the box.

    Returns:
        (size_px, size_px, 3) uint8, colours in the frame's order.
    """
    height, width = frame.shape[:2]
    x0 = min(max(math.floor(box_xyxy_px[0]), 0), width - 1)
    y0 = min(max(math.floor(box_xyxy_px[1]), 0), height - 1)
    x1 = max(min(math.ceil(box_xyxy_px[2]), width), x0 + 1)
    y1 = max(min(math.ceil(box_xyxy_px[3]), height), y0 + 1)
    region = frame[y0:y1, x0:x1]
    if shape == "stretch":
        return resize(region, width=size_px, height=size_px)
    long, short = max(region.shape[:2]), min(region.shape[:2])
    if shape == "square":
        top, left = (region.shape[0] - short) // 2, (region.shape[1] - short) // 2
        return resize(region[top : top + short, left : left + short], width=size_px, height=size_px)
    height, width = (max(1, round(side * size_px / long)) for side in region.shape[:2])
    result = np.full((size_px, size_px, 3), BAR_COLOR, np.uint8)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    result[top : top + height, left : left + width] = resize(region, width=width, height=height)
    return result


def resize(image: Frame, *, width: int, height: int) -> Frame:
    """Resize an image: by area averages along an axis that shrinks, bicubic along one that grows.

    Args:
        image: (H, W, 3) uint8.
        width: Of the result, pixels.
        height: Of the result, pixels.

    Returns:
        (height, width, 3) uint8.
    """
    # One call for both axes would take the rule of one of them for the other.
    shrunk = min(image.shape[1], width), min(image.shape[0], height)
    if shrunk != (image.shape[1], image.shape[0]):
        image = np.asarray(cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA), np.uint8)
    if shrunk != (width, height):
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    return image


def sharpness(frame: Frame) -> float:
    """Variance of the Laplacian of the grey frame: the plain number that a quality model has to beat.

    Args:
        frame: (H, W, 3) uint8 RGB.
    """
    return float(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())
