"""RoIAlign and RoDAlign: features inside a box, and features of everything outside it.

RoIAlign: He et al., Mask R-CNN (2017). RoDAlign: Zeng et al., Grid Anchor based Image Cropping (2019): the region of
discard is the whole map with the box set to zero. Two sampling rules:

- `release`: the rule that the public weights of S²CNet were trained with (suyukun666/S2CNet at 6c92712). P + 1 points
  per axis, then 2x2 averages with stride 1. A box is one feature pixel larger than its corners say.
- `aligned`: the rule of torchvision's `roi_align(aligned=True)`: pixel centres at half-integers, 2x2 points per bin.

Bilinear sampling on a rectangular lattice is separable: rows, then columns. So a box costs two small matrix products,
which run on any device, have deterministic gradients and need no scatter.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.errors import ShapeError
from models.s2cnet.config import Rule

# Points per bin and axis under the `aligned` rule; torchvision's Mask R-CNN takes the same number.
ALIGNED_POINTS = 2
# The release takes this from the side of the map, so that its last lattice point stays left of the last pixel.
RELEASE_EDGE_PX = 1.001


def region_features(
    features: Tensor,
    boxes_xyxy_px: Sequence[Tensor],
    *,
    output_size: int,
    spatial_scale: float,
    rule: Rule = "release",
) -> Tensor:
    """RoIAlign and RoDAlign of every box as one vector, on grids of P x P cells; points outside the map count as 0.

    Differentiable in the features, not in the boxes. What is discarded is the map with the box set to zero, borders
    included.

    Args:
        features: (B, C, H, W) float.
        boxes_xyxy_px: B tensors (N_b, 4), pixels of the image; N_b may differ and be 0.
        output_size: P.
        spatial_scale: Feature pixels per image pixel (1/16 at stride 16).
        rule: How the map is sampled.

    Returns:
        (sum of N_b, C * 2 * P * P), in the order of the release: for each channel the RoI values, then the RoD values.

    Raises:
        ShapeError: Shapes do not fit together, or `output_size` is below 1.
    """
    padded, present = _padded(features, boxes_xyxy_px, output_size)
    scaled = padded * spatial_scale
    pair = (
        _inside_box(features, scaled, output_size, rule)[present],
        _outside_box(features, scaled, output_size, rule)[present],
    )
    return torch.stack(pair, dim=2).flatten(1)


def _padded(features: Tensor, boxes: Sequence[Tensor], output_size: int) -> tuple[Tensor, Tensor]:
    """Boxes as (B, N, 4), zeros after the shorter lists, and which are real: (B, N) bool."""
    if features.ndim != 4 or 0 in features.shape:
        raise ShapeError(f"features have shape {tuple(features.shape)}; needed: (B, C, H, W), none of them 0")
    if len(boxes) != len(features):
        raise ShapeError(f"{len(boxes)} lists of boxes for {len(features)} feature maps; needed: one per map")
    if wrong := [tuple(each.shape) for each in boxes if each.ndim != 2 or each.shape[1] != 4]:
        raise ShapeError(f"boxes have shape {wrong[0]}; needed: (N, 4), x0 y0 x1 y1")
    if output_size < 1:
        raise ShapeError(f"output_size is {output_size}; needed: at least 1")
    # Half precision cannot hold a coordinate to a hundredth of a pixel.
    dtype = torch.promote_types(features.dtype, torch.float32)
    counts = torch.tensor([len(each) for each in boxes], device=features.device)
    padded = torch.zeros(len(boxes), int(counts.max()), 4, dtype=dtype, device=features.device)
    for index, each in enumerate(boxes):
        padded[index, : len(each)] = each
    present = torch.arange(padded.shape[1], device=features.device) < counts[:, None]
    return padded, present


def _inside_box(features: Tensor, boxes: Tensor, output_size: int, rule: Rule) -> Tensor:
    """(B, C, H, W) and boxes (B, N, 4) in feature pixels -> (B, N, C, P, P)."""
    n_images, n_channels, height, width = features.shape
    n_boxes = boxes.shape[1]
    columns = _box_weights(boxes[..., 0], boxes[..., 2], width, output_size, rule).to(features.dtype)
    rows = _box_weights(boxes[..., 1], boxes[..., 3], height, output_size, rule).to(features.dtype)
    # (B, N P, H) @ (B, H, C W): every box of an image and every channel in one product.
    flat = features.permute(0, 2, 1, 3).reshape(n_images, height, n_channels * width)
    by_row = rows.reshape(n_images, n_boxes * output_size, height) @ flat
    by_row = by_row.reshape(n_images, n_boxes, output_size * n_channels, width)
    sampled = by_row @ columns.transpose(2, 3)
    return sampled.reshape(n_images, n_boxes, output_size, n_channels, output_size).transpose(2, 3)


def _outside_box(features: Tensor, boxes: Tensor, output_size: int, rule: Rule) -> Tensor:
    """(B, C, H, W) and boxes (B, N, 4) in feature pixels -> (B, N, C, P, P).

    The lattice spans the map and is the same for every box, so the map is sampled once; a box only masks points.
    """
    height, width = features.shape[-2:]
    x, columns = _map_lattice(width, output_size, rule, like=boxes)
    y, rows = _map_lattice(height, output_size, rule, like=boxes)
    sampled = rows.to(features.dtype) @ features @ columns.to(features.dtype).T
    # Under `aligned` the centre of pixel 0 lies at 0.5 of the box's coordinates.
    shift = 0.5 if rule == "aligned" else 0.0
    corners = boxes[..., None] - shift
    in_x = (x >= corners[..., 0, :]) & (x <= corners[..., 2, :])
    in_y = (y >= corners[..., 1, :]) & (y <= corners[..., 3, :])
    outside = ~(in_y[..., :, None] & in_x[..., None, :])
    masked = (sampled / 4)[:, None] * outside[:, :, None].to(features.dtype)
    return _pool(_pool(masked, -1, rule), -2, rule)


def _pool(lattice: Tensor, axis: int, rule: Rule) -> Tensor:
    """Sums of neighbours along an axis: overlapping under `release` (L - 1 of them), apart under `aligned` (L / 2)."""
    length = lattice.shape[axis]
    if rule == "release":
        return lattice.narrow(axis, 0, length - 1) + lattice.narrow(axis, 1, length - 1)
    return torch.unflatten(lattice, axis, (length // ALIGNED_POINTS, ALIGNED_POINTS)).sum(dim=axis)


def _box_weights(low: Tensor, high: Tensor, size: int, output_size: int, rule: Rule) -> Tensor:
    """Share of each of `size` pixels in each output of one axis: edges (B, N) -> (B, N, P, size)."""
    if rule == "release":
        step = (high - low + 1.0).clamp(min=0.0) / output_size
        points = torch.arange(output_size + 1, dtype=low.dtype, device=low.device)
        weights = _release_weights(points * step[..., None] + low[..., None], size)
        # The 2x2 average with stride 1, one axis of it.
        return (weights[..., :-1, :] + weights[..., 1:, :]) / 2
    step = (high - low) / (output_size * ALIGNED_POINTS)
    points = torch.arange(output_size * ALIGNED_POINTS, dtype=low.dtype, device=low.device) + 0.5
    weights = _aligned_weights(points * step[..., None] + low[..., None] - 0.5, size)
    return torch.unflatten(weights, -2, (output_size, ALIGNED_POINTS)).mean(dim=-2)


def _map_lattice(size: int, output_size: int, rule: Rule, *, like: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the lattice over one whole axis, (L,), and their weights over its pixels, (L, size)."""
    if rule == "release":
        step = torch.tensor(size - RELEASE_EDGE_PX, dtype=like.dtype, device=like.device) / output_size
        positions = torch.arange(output_size + 1, dtype=like.dtype, device=like.device) * step
        # A map of one pixel would put its points just below 0, where nothing is sampled.
        return positions, _release_weights(positions.clamp(min=0.0), size)
    n_points = output_size * ALIGNED_POINTS
    points = torch.arange(n_points, dtype=like.dtype, device=like.device) + 0.5
    positions = points * (size / n_points) - 0.5
    return positions, _aligned_weights(positions, size)


def _release_weights(positions: Tensor, size: int) -> Tensor:
    """Weights (..., size) of the pixels at positions (...): 0 outside [0, size), the ratio not clamped.

    Between the last pixel and `size` the two last pixels extrapolate linearly, as in the release.
    """
    lower = positions.floor().clamp(max=size - 2).clamp(min=0)
    upper = (lower + 1).clamp(max=size - 1)
    ratio = (positions - lower)[..., None]
    pixels = torch.arange(size, dtype=positions.dtype, device=positions.device)
    weights = (1 - ratio) * (pixels == lower[..., None]) + ratio * (pixels == upper[..., None])
    return weights * ((positions >= 0) & (positions < size))[..., None]


def _aligned_weights(positions: Tensor, size: int) -> Tensor:
    """Weights (..., size) of the pixels at positions (...): clamped, and 0 from one pixel outside on."""
    pixels = torch.arange(size, dtype=positions.dtype, device=positions.device)
    weights = (1 - (positions.clamp(0, size - 1)[..., None] - pixels).abs()).clamp(min=0)
    return weights * ((positions >= -1) & (positions <= size))[..., None]
