"""Video-Swin with gated position bias: the backbone of FAST-VQA and SAMA.

Source: Video Swin Transformer (arXiv 2106.13230); the gate is FAST-VQA's, see `position_bias`. Parameters have the
names of the public weights. Inside, tokens lie channels last: (B, T, H, W, C).
"""

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from models.errors import ShapeError
from models.methods.fast_vqa.config import TOKEN_SIZE, FastVqaNetwork
from models.methods.fast_vqa.position_bias import (
    Sizes,
    Windows,
    cut_windows,
    fitted_window,
    gated_bias,
    padded_to_tokens,
    shift_mask,
)

MLP_RATIO = 4
WEIGHT_STD = 0.02


class TokenEmbedding(nn.Module):
    """Boxes of 2 x 4 x 4 pixels to tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, width, TOKEN_SIZE, TOKEN_SIZE)
        self.norm = nn.LayerNorm(width)

    def forward(self, fragments: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, T / 2, H / 4, W / 4, C)."""
        tokens: Tensor = self.norm(self.proj(padded_to_tokens(fragments)).permute(0, 2, 3, 4, 1))
        return tokens


class WindowAttention(nn.Module):
    """Attention inside windows, with a bias by position.

    relative_position_bias_table: R, (rows, heads). fragment_position_bias_table: P, the same, in gated blocks only.
    """

    def __init__(self, width: int, *, heads: int, base: Sizes, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        rows = (2 * base[0] - 1) * (2 * base[1] - 1) * (2 * base[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        self.fragment_position_bias_table = nn.Parameter(torch.zeros(rows, heads)) if gated else None
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, windows: Windows) -> Tensor:
        """(B, T, H, W, C), rolled and padded to whole windows -> the same shape."""
        batch, (time, height, width) = len(tokens), windows.size
        times, rows, columns = (have // want for have, want in zip(windows.padded, windows.size, strict=True))
        cut = self.qkv(tokens).view(batch, times, time, rows, height, columns, width, 3, self.heads, -1)
        # (3, times, B, windows of a time step and heads, N, D): the bias is the same for all times and videos.
        cut = cut.permute(7, 1, 0, 3, 5, 8, 2, 4, 6, 9).flatten(6, 8).flatten(3, 5)
        bias = gated_bias(self.relative_position_bias_table, self.fragment_position_bias_table, windows)
        mixed = []
        # One window in time after the other: the bias of all of them would take as much memory again.
        for step, (query, key, value) in enumerate(cut.transpose(0, 1)):
            added = bias
            if windows.labels is not None:
                added = bias + shift_mask(windows.labels[step], dtype=bias.dtype)[:, None]
            added = added.flatten(0, 1)[None].to(query.dtype)
            mixed.append(functional.scaled_dot_product_attention(query, key, value, attn_mask=added))
        together = torch.stack(mixed, dim=1).view(batch, times, rows, columns, self.heads, time, height, width, -1)
        together = together.permute(0, 1, 5, 2, 6, 3, 7, 4, 8).reshape(tokens.shape)
        projected: Tensor = self.proj(together)
        return projected


class Perceptron(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        result: Tensor = self.fc2(functional.gelu(self.fc1(tokens)))
        return result


class SwinBlock(nn.Module):
    """Attention in windows and a perceptron, each with a norm before and a shortcut around it."""

    def __init__(self, width: int, *, attn: WindowAttention, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width)

    def forward(self, tokens: Tensor, windows: Windows) -> Tensor:
        """(B, T, H, W, C) -> the same shape."""
        tokens = tokens + self.drop_path(self._attended(self.norm1(tokens), windows))
        result: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return result

    def _attended(self, tokens: Tensor, windows: Windows) -> Tensor:
        time, height, width = tokens.shape[1:4]
        missing = [full - have for full, have in zip(windows.padded, (time, height, width), strict=True)]
        if any(missing):
            # Padding takes part in the attention: its keys and values are the biases of the layer.
            tokens = functional.pad(tokens, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        if any(windows.shift):
            tokens = tokens.roll([-shift for shift in windows.shift], (1, 2, 3))
        tokens = self.attn(tokens, windows)
        if any(windows.shift):
            tokens = tokens.roll(windows.shift, (1, 2, 3))
        return tokens[:, :time, :height, :width]


class PatchMerging(nn.Module):
    """Four neighbours in space to one token of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, ceil(H / 2), ceil(W / 2), 2 C)."""
        height, width = tokens.shape[2:4]
        if height % 2 or width % 2:
            tokens = functional.pad(tokens, (0, 0, 0, width % 2, 0, height % 2))
        corners = [tokens[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


class SwinStage(nn.Module):
    """Blocks with windows in place and shifted in turn, then a merge in all stages but the last."""

    def __init__(self, blocks: list[SwinBlock], *, base: Sizes, downsample: PatchMerging | None) -> None:
        super().__init__()
        self.base = base
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample
        self.checkpointing = False

    def forward(self, tokens: Tensor, window: Sizes) -> Tensor:
        """Tokens (B, T, H, W, C) and the window for this input -> (B, T, H, W, C) or merged."""
        time, height, width = tokens.shape[1:4]
        cuts = [
            cut_windows((time, height, width), window=window, base=self.base, shifted=shifted, device=tokens.device)
            for shifted in ((False, True) if len(self.blocks) > 1 else (False,))
        ]
        for number, block in enumerate(self.blocks):
            windows = cuts[number % 2]
            if self.checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, windows, use_reentrant=False)
            else:
                tokens = block(tokens, windows)
        return tokens if self.downsample is None else self.downsample(tokens)


class GatedVideoSwin(nn.Module):
    """Fragments to a map of features.

    patch_embed: fragments -> tokens. layers: the stages. norm: of the last stage's tokens.
    base: window of the tables, tokens. adaptive: whether inputs below 32 x 224 x 224 get smaller windows.
    """

    def __init__(
        self, patch_embed: TokenEmbedding, layers: list[SwinStage], *, width: int, base: Sizes, adaptive: bool
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.base = base
        self.adaptive = adaptive

    def forward(self, fragments: Tensor) -> Tensor:
        """Features of fragments.

        Args:
            fragments: (B, 3, T, H, W) float, RGB, normalised. T is filled up with zeros to a multiple of 2, H and W to
                multiples of 4.

        Returns:
            (B, D, T / 2, H / 32, W / 32), each rounded up, with four stages; D is eight times the first width.

        Raises:
            ShapeError: The shape is another one, or too large for an adaptive window.
        """
        shape = tuple(fragments.shape)
        if fragments.ndim != 5 or shape[1] != 3 or 0 in shape or not fragments.is_floating_point():
            raise ShapeError(
                f"fragments have shape {shape} and dtype {fragments.dtype}; needed: (B, 3, T, H, W) with all sizes at "
                "least 1, a floating-point dtype"
            )
        window = fitted_window(self.base, (shape[2], shape[3], shape[4])) if self.adaptive else self.base
        tokens = self.patch_embed(fragments)
        for layer in self.layers:
            tokens = layer(tokens, window)
        features: Tensor = self.norm(tokens)
        return features.permute(0, 4, 1, 2, 3)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep few activations and compute the others again in the backward pass; the values stay."""
        for layer in self.layers:
            layer.checkpointing = enable  # type: ignore[assignment]


def build_swin(config: FastVqaNetwork) -> GatedVideoSwin:
    """The backbone in training mode, with random weights from torch's global state.

    Linear layers and R start at a truncated normal of 0.02, their biases and P at zero, the embedding at torch's
    default.
    """
    base = config.window
    last = len(config.depths) - 1
    # Stochastic depth rises evenly over all blocks, from none.
    rates = torch.linspace(0, config.drop_path, sum(config.depths)).tolist()
    stages = []
    for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
        width = config.embed_width * 2**stage
        blocks = [
            SwinBlock(
                width,
                attn=WindowAttention(width, heads=heads, base=base, gated=config.gated_bias and stage < last),
                drop_path=rates.pop(0),
            )
            for _ in range(depth)
        ]
        stages.append(SwinStage(blocks, base=base, downsample=None if stage == last else PatchMerging(width)))
    backbone = GatedVideoSwin(
        TokenEmbedding(config.embed_width),
        stages,
        width=config.embed_width * 2**last,
        base=base,
        adaptive=config.adaptive_window,
    )
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=WEIGHT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, WindowAttention):
            nn.init.trunc_normal_(module.relative_position_bias_table, std=WEIGHT_STD)
    return backbone
