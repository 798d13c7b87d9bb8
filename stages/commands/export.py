"""`aigc-vqa export`: the quality model as ONNX or TorchScript, for programs without this project.

Input `pixels`: float32, RGB, 0..1, of the shape that the method's network takes; normalising is inside, the number of
rows N is free. With frame_consistency (N, 3, S, S), crops at the model's input size S; the outputs are `frame_scores`:
(N,) float32, 0-100, and `logits`: (N, 100) float32, one for each quality level, and a video's score is the mean of its
frames' scores. What the frames have to go through before stands in the file, as JSON under the key `aigc_vqa`: the
parameters of every stage. The file appears only when its outputs are those of the model here.
"""

import io
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from cyclopts import Parameter
from numpy.typing import NDArray

from models.errors import AigcVqaError
from models.methods.interface import ExportPlan
from stages.engine.options import File, check_out
from stages.io.files import replacing
from stages.io.outs import QUALITY_WEIGHTS, WEIGHTS
from stages.steps.scores import QualityModel, load_quality

SUFFIXES = {"onnx": ".onnx", "torchscript": ".torchscript"}
# Largest difference that is let through, in units of each output's range, such as 0.01 points of scores on 0-100: the
# program that runs the file sums otherwise.
TOLERANCE = 1e-4
PIXEL_MAX = 255.0
METADATA_KEY = "aigc_vqa"


class ExportError(AigcVqaError):
    """An export that a package is missing for, or whose outputs are not those of the model."""


def describe(model: QualityModel, plan: ExportPlan) -> dict[str, Any]:
    """What a user of the file has to know, JSON-like."""
    low, high = model.mos_scale
    return {
        "method": model.name,
        "input": plan.input_text,
        "outputs": "; ".join(f"{name} {text}" for name, text in plan.outputs.items()),
        "mos_min": low,
        "mos_max": high,
        "made_by": model.made_by,
    }


def write_onnx(plan: ExportPlan, known: str, path: Path) -> None:
    """Write the ONNX file; raise ExportError without the packages for it, and for what torch cannot convert."""
    try:
        import onnx
        import onnxruntime  # noqa: F401 (checks the file; missing it is told before the work)
        import onnxscript  # noqa: F401 (what torch writes ONNX with)
    except ImportError as error:
        raise ExportError(f"--format onnx needs {error.name}: pip install 'aigc-vqa[export]'") from None
    try:
        program = torch.onnx.export(
            plan.module.eval(),
            (torch.zeros(2, *plan.shape),),
            input_names=["pixels"],
            output_names=list(plan.outputs),
            dynamic_shapes={"pixels": {0: torch.export.Dim("frames")}},
            dynamo=True,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(
            f"this version of torch cannot write the network as ONNX ({reason}); --format torchscript may"
        ) from None
    assert program is not None
    proto = program.model_proto
    # Torch notes the lines of source that a node comes from: paths of this machine.
    for part in (proto.graph.node, proto.graph.value_info, proto.graph.input, proto.graph.output, [proto.graph]):
        for entry in part:
            del entry.metadata_props[:]
            entry.doc_string = ""
    onnx.helper.set_model_props(proto, {METADATA_KEY: known})
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def run_onnx(path: Path, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The outputs of a written file, on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, {"pixels": pixels})
    return outputs


def write_torchscript(plan: ExportPlan, known: str, path: Path) -> None:
    """Write the TorchScript file."""
    with _NoWarnings(), torch.no_grad():
        traced = torch.jit.trace(plan.module.eval(), torch.zeros(2, *plan.shape), check_trace=False)
        extra = {f"{METADATA_KEY}.json": known}
        # By way of memory: torch's own writer tells a full disk as a bug of its own.
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files=extra)
    path.write_bytes(buffer.getbuffer())


def run_torchscript(path: Path, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The outputs of a written file, on the CPU."""
    with _NoWarnings(), torch.inference_mode():
        outputs = torch.jit.load(str(path), map_location="cpu")(torch.from_numpy(pixels))
    return [output.numpy() for output in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]


class _NoWarnings(warnings.catch_warnings):
    """TorchScript is on its way out, and tracing warns of each check of a shape; the comparison below is the judge."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def largest_difference(
    plan: ExportPlan, outputs: Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]
) -> float:
    """Largest difference between a file's outputs and the model's, see TOLERANCE, for 1 and for 5 inputs.

    outputs: pixels -> the outputs in the plan's order. The inputs hold noise of every strength.
    """
    random, differences = np.random.default_rng(0), []
    for count in (1, 5):
        noise = random.normal(size=(count, *plan.shape))
        strength = np.linspace(5, 120, count).reshape(-1, *[1] * len(plan.shape))
        pixels = np.clip(128 + strength * noise, 0, 255).astype(np.uint8)
        found = outputs((pixels / PIXEL_MAX).astype(np.float32))
        with torch.inference_mode():
            expected = [output.numpy() for output in plan.expected(torch.from_numpy(pixels))]
        if [output.shape for output in found] != [output.shape for output in expected]:
            shapes = " and ".join(str(output.shape) for output in found)
            raise ExportError(f"the file gives outputs of shapes {shapes} for {count} inputs")
        differences += [
            np.abs(own - other).max() / scale for own, other, scale in zip(found, expected, plan.ranges, strict=True)
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
        MethodError: The model's method has no such form.
        WeightsError: The weights are missing or of something else.
    """
    weights = model / QUALITY_WEIGHTS if model.is_dir() else model
    quality = load_quality(weights, device=torch.device("cpu"))
    path = out if out is not None else weights.with_suffix(SUFFIXES[file_format])
    write, run = {"onnx": (write_onnx, run_onnx), "torchscript": (write_torchscript, run_torchscript)}[file_format]
    check_out(path)
    plan = quality.method.export(quality.network)
    known = describe(quality, plan)
    with replacing(path) as temporary:
        write(plan, json.dumps(known, sort_keys=True), temporary)
        difference = largest_difference(plan, lambda pixels: run(temporary, pixels))
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{path}: not written: its outputs differ from the model's by {difference:.2g} "
                f"of their ranges, more than {TOLERANCE:g}"
            )
        size_mib = temporary.stat().st_size / 2**20
    print(f"{path}: {file_format}, {size_mib:.1f} MiB, outputs within {difference:.1g} of the model's, of their ranges")
    print(f"  input:   {known['input']}\n  outputs: {known['outputs']}")
