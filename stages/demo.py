"""demo: renders the data set that the project runs on out of the box, in the formats of the real ones.

info.txt and videos/ are T2VQA-DB's format, objects/ is COCO's, crops/ is GAIC's.
"""

from collections.abc import Sequence
from pathlib import Path

from stages.demo_data import render_dataset
from stages.engine.command import run, stage_arguments
from stages.params.load import load_params
from stages.params.schema import Params


def demo(params: Params, *, out: Path) -> None:
    """Render the embedded data set, in the formats of the real ones.

    Args:
        params: The checked params.
        out: Folder to write.
    """
    sizes = params.demo
    render_dataset(out, sizes, params.engine.n_workers)
    n_videos = sizes.prompts * sizes.generators
    print(f"demo: {n_videos} videos, {sizes.object_images} object images and {sizes.crop_images} crop images in {out}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage.

    Args:
        argv: The words after `python -m stages.demo`; None: those of the process.
    """
    arguments = stage_arguments(demo, argv)
    demo(load_params(), **arguments)


if __name__ == "__main__":
    run(main)
