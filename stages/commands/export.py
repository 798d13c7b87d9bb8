"""`aigc-vqa export`: the quality model as ONNX or TorchScript, for programs without this project.

Input `pixels`: (N, 3, S, S) float32, RGB, 0..1: crops at the model's input size S; normalising is inside, N is free.
Outputs `frame_scores`: (N,) float32, 0-100, and `logits`: (N, 100) float32, one for each quality level. A video's score
is the mean of its frames' scores. What the frames have to go through before stands in the file, as JSON under the key
`aigc_vqa`: the parameters of every stage. The file appears only when its outputs are those of the model here.
"""

import io
import json
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import AigcVqaError
from models.methods.frame_consistency.losses import frame_scores
from models.methods.frame_consistency.network import PIXEL_MAX, QualityNet
from stages.engine.options import File, check_out
from stages.io.files import replacing
from stages.io.outs import QUALITY_WEIGHTS, WEIGHTS
from stages.steps.scores import QualityModel, load_quality

SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript"}
OUTPUTS = ("frame_scores", "logits")
# Largest difference that is let through, of logits, and of scores as a share of their range of 100 (0.01 points): the
# program that runs the file sums otherwise.
TOLERANCE = 1e-4
METADATA_KEY = "aigc_vqa"


class ExportError(AigcVqaError):
    """An export that a package is missing for, or whose outputs are not those of the model."""


class Exported(nn.Module):
    """What the file computes: pixels (N, 3, S, S) float32, RGB, 0..1 -> (frame_scores (N,), logits (N, 100))."""

    def __init__(self, network: QualityNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) float32 in 0..1 -> scores (N,) on 0-100 and logits (N, 100)."""
        network = self.network
        logits = network.read(network.describe(pixels))
        return 100 * frame_scores(logits[:, None]).squeeze(1), logits


def describe(model: QualityModel) -> dict[str, Any]:
    """What a user of the file has to know, JSON-like."""
    low, high = model.mos_scale
    size = model.input_px
    return {
        "input": f"pixels (N, 3, {size}, {size}) float32, RGB, 0..1",
        "outputs": "frame_scores (N,) float32, 0-100; logits (N, 100) float32",
        "mos_min": low,
        "mos_max": high,
        "made_by": model.made_by,
    }


def write_onnx(model: QualityModel, path: Path) -> None:
    """Write the ONNX file; raise ExportError without the packages for it, and for what torch cannot convert."""
    try:
        import onnx
        import onnxruntime  # noqa: F401 (checks the file; missing it is told before the work)
        import onnxscript  # noqa: F401 (what torch writes ONNX with)
    except ImportError as error:
        raise ExportError(f"--format onnx needs {error.name}: pip install 'aigc-vqa[export]'") from None
    example = torch.zeros(2, 3, model.input_px, model.input_px)
    try:
        program = torch.onnx.export(
            Exported(model.network).eval(),
            (example,),
            input_names=["pixels"],
            output_names=list(OUTPUTS),
            dynamic_shapes={"pixels": {0: torch.export.Dim("frames")}},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(
            f"this version of torch cannot write the backbone as ONNX ({reason}); --format torchscript may"
        ) from None
    assert program is not None
    proto = program.model_proto
    # Torch notes the lines of source that a node comes from: paths of this machine.
    for part in (proto.graph.node, proto.graph.value_info, proto.graph.input, proto.graph.output, [proto.graph]):
        for entry in part:
            del entry.metadata_props[:]
            entry.doc_string = ""
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(describe(model), sort_keys=True)})
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def run_onnx(path: Path, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """frame_scores and logits of a written file, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    scores, logits = session.run(list(OUTPUTS), {"pixels": pixels})
    return scores, logits


def write_torchscript(model: QualityModel, path: Path) -> None:
    """Write the TorchScript file."""
    example = torch.zeros(2, 3, model.input_px, model.input_px)
    with _NoWarnings(), torch.no_grad():
        traced = torch.jit.trace(Exported(model.network).eval(), example, check_trace=False)
        extra = {f"{METADATA_KEY}.json": json.dumps(describe(model), sort_keys=True)}
        # By way of memory: torch's own writer tells a full disk as a bug of its own.
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files=extra)
    path.write_bytes(buffer.getbuffer())


def run_torchscript(path: Path, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """frame_scores and logits of a written file, on the CPU."""
    with _NoWarnings(), torch.inference_mode():
        scores, logits = torch.jit.load(str(path), map_location="cpu")(torch.from_numpy(pixels))
    return scores.numpy(), logits.numpy()


class _NoWarnings(warnings.catch_warnings):
    """TorchScript is on its way out, and tracing warns of each check of a shape; the comparison below is the judge."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def largest_difference(model: QualityModel, outputs: Any) -> float:
    """Largest difference between a file's outputs and the model's, see TOLERANCE, for 1 and for 5 frames.

    outputs: pixels -> (frame_scores, logits). The frames hold noise of every strength.
    """
    random, differences = np.random.default_rng(0), []
    for count in (1, 5):
        noise = random.normal(size=(count, 3, model.input_px, model.input_px))
        strength = np.linspace(5, 120, count).reshape(-1, 1, 1, 1)
        crops = np.clip(128 + strength * noise, 0, 255).astype(np.uint8)
        scores, logits = outputs((crops / PIXEL_MAX).astype(np.float32))
        with torch.inference_mode():
            expected = model.network(torch.from_numpy(crops)[None])[0]
            expected_scores = frame_scores(expected[None])[0]
        if scores.shape != (count,) or logits.shape != tuple(expected.shape):
            raise ExportError(f"the file gives outputs of shapes {scores.shape} and {logits.shape} for {count} frames")
        differences += [
            np.abs(scores / 100 - expected_scores.numpy()).max(),
            np.abs(logits - expected.numpy()).max(),
        ]
    return float(np.max(differences))  # NaN when one is


def export(
    *,
    file_format: Annotated[Literal["onnx", "torchscript"], Parameter(name="--format", metavar="FORMAT")],
    model: Path = WEIGHTS,
    out: File | None = None,
) -> None:
    """Write the quality model as ONNX or TorchScript.

    The file needs nothing of this project, and appears only when its outputs are those of the model.

    Args:
        file_format: Kind of file.
        model: Folder of weights, or the weights file.
        out: File to write; without it, one beside the weights.

    Raises:
        ExportError: A package is missing, or the outputs are not those of the model; nothing is written.
        WeightsError: The weights are missing or of something else.
    """
    weights = model / QUALITY_WEIGHTS if model.is_dir() else model
    quality = load_quality(weights, device=torch.device("cpu"))
    path = out if out is not None else weights.with_suffix(SUFFIXES[file_format])
    write, run = {"onnx": (write_onnx, run_onnx), "torchscript": (write_torchscript, run_torchscript)}[file_format]
    check_out(path)
    with replacing(path) as temporary:
        write(quality, temporary)
        difference = largest_difference(quality, lambda pixels: run(temporary, pixels))
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{path}: not written: its outputs differ from the model's by {difference:.2g} "
                f"(of logits, and of scores / 100), more than {TOLERANCE:g}"
            )
        size_mib = temporary.stat().st_size / 2**20
    known = describe(quality)
    print(f"{path}: {file_format}, {size_mib:.1f} MiB, logits and scores / 100 within {difference:.1g} of the model's")
    print(f"  input:   {known['input']}\n  outputs: {known['outputs']}")
