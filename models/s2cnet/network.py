"""S²CNet: scores candidate crops of an image by what they keep, what they leave out, and the objects.

Source: Su et al., "Spatial-Semantic Collaborative Cropping for User Generated Content" (AAAI 2024, arXiv
2401.08086), and its public release, suyukun666/S2CNet at 6c92712. `variant: release` is the network of
the public weights, which `from_release` loads; `variant: paper` follows arXiv 2409.14888, section II.B, which leaves
these things impossible or open:

- Equation 9 divides by a sum that can be zero: `graph.guarded_adjacency` bounds it.
- Equation 10 prints A Z X with Z of (N + 1) x d, which cannot be multiplied: computed is A X Z with Z of d x d, as in
  the release.
- Equation 11 prints one head. `heads` divides the width among several, each scaled by the full width, as in the
  release; with `heads: 1` it is as printed.
- Norms before attention and perceptron, residuals around both, and the perceptron itself are not printed; neither are
  the LayerNorm and the ReLU after the embedding of a region. All of them are the release's.
- "A two-layer MLP to aggregate the updated information from all nodes" (section II.B.c) reads the nodes one after the
  other, the candidate first, zeros for missing objects (`readout: nodes`); the widths are ours. `readout: candidate`
  reads the candidate's node alone, as the release for GAICv1 does.
- Fewer than N objects are not spoken of: `graph` says how they are masked.

One pass scores all candidates of several images: the image is seen once, objects are embedded once an image,
graphs and head run for all candidates together.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from models.backbones import seeded
from models.errors import NonFiniteError, ShapeError
from models.s2cnet.config import HEAD_NARROWING, S2CNetConfig
from models.s2cnet.features import MAP_STRIDE, STRIDES, CropFeatures, build_backbone
from models.s2cnet.graph import Gate, Graph, GraphLayer, PaperRelations, ReleaseRelations
from models.s2cnet.release import RELEASE_SHORT_SIDE_PX, translate
from models.s2cnet.roi import region_features
from models.s2cnet.scoring import CANDIDATES_A_PASS

# The two networks of the release, by the data that they were trained on; both on MobileNetV2.
GAICV2 = S2CNetConfig(
    variant="release",
    backbone="mobilenet_v2",
    sampling="release",
    input_short_side_px=RELEASE_SHORT_SIDE_PX,
    reduced_channels=8,
    align_size=15,
    embed_width=256,
    heads=4,
    layers=2,
    mlp_width=1024,
    head_width=768,
    readout="nodes",
    dropout=0.5,
    objects=5,
)
GAICV1 = GAICV2.model_copy(update={"align_size": 9, "objects": 10, "readout": "candidate"})


class S2CNet(nn.Module):
    """Images, candidates and objects to one score a candidate.

    features: images -> (B, C, H/16, W/16). embed: (n, C * 2 * P * P) -> (n, D). graph: nodes -> nodes.
    head: (n, nodes * D) -> (n, 1).
    """

    def __init__(
        self,
        config: S2CNetConfig,
        *,
        features: CropFeatures,
        embed: nn.Module,
        graph: nn.Module,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.config = config
        self.features = features
        self.embed = embed
        self.graph = graph
        self.head = head

    def forward(
        self, images: Tensor, candidates_xyxy_px: Sequence[Tensor], objects_xyxy_px: Sequence[Tensor]
    ) -> list[Tensor]:
        """Scores of the candidates of every image.

        images: (B, 3, H, W) float, RGB, / 256 and ImageNet-normalised; H and W multiples of 32.
        candidates_xyxy_px: B tensors (K_b, 4). objects_xyxy_px: B tensors (N_b, 4), best first; those past
        config.objects are not looked at, N_b may be 0. Both in pixels of the image.
        Returns B tensors (K_b,) float32, in the unit of the training targets (normalised MOS), also under autocast.
        In training mode the batch normalisation of the head sees all candidates of the batch together.
        Raises ShapeError, NonFiniteError.
        """
        _check_images(images)
        candidates = _checked_boxes("candidates_xyxy_px", candidates_xyxy_px, images)
        objects = [boxes[: self.config.objects] for boxes in _checked_boxes("objects_xyxy_px", objects_xyxy_px, images)]
        features = self.features(images)
        # Half precision cannot hold a sampling weight well enough to tell apart crops that differ by a few pixels.
        with torch.autocast(images.device.type, enabled=False):
            vectors = region_features(
                features.float(),
                [torch.cat(both) for both in zip(candidates, objects, strict=True)],
                output_size=self.config.align_size,
                spatial_scale=1 / MAP_STRIDE,
                rule=self.config.sampling,
            )
        # Regions come image by image: its candidates, then its objects.
        n_each = [len(each) for pair in zip(candidates, objects, strict=True) for each in pair]
        embedded = self.embed(vectors).split(n_each)
        candidate_features, listed = _padded(embedded[0::2])
        object_features, present = _padded(embedded[1::2], length=self.config.objects)
        candidate_centres = _centres(_padded(candidates)[0], images)
        object_centres = _centres(_padded(objects, length=self.config.objects)[0], images)
        n_candidates = listed.shape[1]
        # In training the batch normalisation of the head has to see all candidates at once.
        step = max(1, n_candidates if self.training else CANDIDATES_A_PASS // len(images))
        scores = []
        for start in range(0, max(1, n_candidates), step):
            part = slice(start, start + step)
            nodes = self.graph(
                (candidate_features[:, part], object_features), (candidate_centres[:, part], object_centres), present
            )
            # The best candidates of a frame often differ by less than half precision can tell.
            with torch.autocast(images.device.type, enabled=False):
                # Padding must not reach the head: its batch normalisation would count it.
                found = self.head(nodes[listed[:, part]].float().flatten(1)).squeeze(1)
            scores.append(found.new_zeros(listed[:, part].shape).masked_scatter(listed[:, part], found))
        rows = torch.cat(scores, dim=1)
        return [row[: len(boxes)] for row, boxes in zip(rows, candidates, strict=True)]

    def score(self, image: Tensor, candidates_xyxy_px: Tensor, objects_xyxy_px: Tensor) -> Tensor:
        """Scores (K,) of the candidates (K, 4) of one image (3, H, W) with objects (N, 4); see `forward`."""
        if image.ndim != 3:
            raise ShapeError(f"image has shape {tuple(image.shape)}; needed: (3, H, W)")
        scores: Tensor = self(image[None], [candidates_xyxy_px], [objects_xyxy_px])[0]
        return scores


def build_s2cnet(config: S2CNetConfig, *, seed: int = 0) -> S2CNet:
    """The network on the CPU, in training mode, with random weights that depend on `seed` alone.

    Downloads nothing; the global random state stays as it was. Raises BackboneError.
    """
    with seeded(seed):
        backbone, channels = build_backbone(config.backbone)
        features = CropFeatures(backbone, channels, reduced_channels=config.reduced_channels)
        embed = nn.Sequential(
            nn.Linear(2 * config.reduced_channels * config.align_size**2, config.embed_width),
            nn.LayerNorm(config.embed_width),
            nn.ReLU(),
        )
        network = S2CNet(config, features=features, embed=embed, graph=_build_graph(config), head=_build_head(config))
    return network.to(memory_format=torch.channels_last)


def from_release(state_dict: Mapping[str, Tensor]) -> S2CNet:
    """The network of a public checkpoint (GAICv1 or GAICv2), on the CPU, in evaluation mode.

    state_dict: the release's own names and shapes; `module.` before a name (a checkpoint of DataParallel) is
    dropped. Raises CheckpointError that counts and names the keys that are missing, unknown, of another shape or not
    finite.
    """
    is_gaicv1 = any(key.removeprefix("module.") == "FC_layers.weight" for key in state_dict)
    network = build_s2cnet(GAICV1 if is_gaicv1 else GAICV2)
    network.load_state_dict(translate(state_dict, network.state_dict()))
    return network.eval()


def _build_graph(config: S2CNetConfig) -> Graph:
    width = config.embed_width
    relations: nn.Module
    if config.variant == "paper":
        relations = PaperRelations(width, width)
    else:
        relations = ReleaseRelations(width, width, config.heads)
    return Graph(
        relations,
        Gate(width, normalise=config.variant == "release"),
        [GraphLayer(width, heads=config.heads, mlp_width=config.mlp_width) for _ in range(config.layers)],
        candidate_only=config.readout == "candidate",
    )


def _build_head(config: S2CNetConfig) -> nn.Module:
    """The paper's two-layer perceptron, or the release's convolutions over 16x16, which are linear layers."""
    width = config.embed_width * (config.objects + 1 if config.readout == "nodes" else 1)
    hidden = config.head_width
    if config.variant == "paper":
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.dropout), nn.Linear(hidden, 1))
    if config.readout == "candidate":
        return nn.Linear(width, 1)
    narrow = hidden // HEAD_NARROWING
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, narrow),
        nn.BatchNorm1d(narrow),
        nn.ReLU(),
        nn.Dropout(config.dropout),
        nn.Linear(narrow, 1),
    )


def _check_images(images: Tensor) -> None:
    multiple = STRIDES[-1]
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != 3 or 0 in shape or shape[2] % multiple or shape[3] % multiple:
        raise ShapeError(f"images have shape {shape}; needed: (B, 3, H, W), H and W multiples of {multiple}")
    if not images.is_floating_point():
        raise ShapeError(f"images have dtype {images.dtype}; needed: floating point, normalised")


def _checked_boxes(name: str, boxes: Sequence[Tensor], images: Tensor) -> list[Tensor]:
    """The boxes as float32 on the images' device."""
    if len(boxes) != len(images):
        raise ShapeError(f"{name} has {len(boxes)} lists for {len(images)} images; needed: one an image")
    for index, each in enumerate(boxes):
        if each.ndim != 2 or each.shape[1] != 4:
            raise ShapeError(f"{name}[{index}] has shape {tuple(each.shape)}; needed: (n, 4), x0 y0 x1 y1")
    checked = [each.to(images.device, torch.float32) for each in boxes]
    if not torch.isfinite(torch.cat(checked)).all():
        raise NonFiniteError(f"{name} holds a NaN or an infinity; needed: finite pixels")
    return checked


def _padded(rows: Sequence[Tensor], *, length: int | None = None) -> tuple[Tensor, Tensor]:
    """B tensors (n_b, *) -> (B, length, *), zeros after the n_b rows, and which are real, (B, length) bool.

    length: the longest of the lists by default.
    """
    counts = torch.tensor([len(each) for each in rows], device=rows[0].device)
    padded = pad_sequence(list(rows), batch_first=True)
    if length is None:
        length = padded.shape[1]
    missing = length - padded.shape[1]
    if missing:
        padded = torch.cat([padded, padded.new_zeros(len(rows), missing, *padded.shape[2:])], dim=1)
    return padded, torch.arange(length, device=padded.device) < counts[:, None]


def _centres(boxes: Tensor, images: Tensor) -> Tensor:
    """(B, n, 4) in pixels -> (B, n, 2): centres x, y as shares of the image's width and height."""
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], dtype=boxes.dtype, device=boxes.device)
    return ((boxes[..., :2] + boxes[..., 2:]) / 2 / size).to(images.dtype)
