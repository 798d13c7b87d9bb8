"""demo: renders the data set that the project runs on out of the box, in the formats of the real ones.

info.txt and videos/ are T2VQA-DB's format, objects/ is COCO's, crops/ is GAIC's.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from stages.demo_data import render_dataset
from stages.engine.command import run
from stages.params.load import load_params


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.demo", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, e.g. data/raw/demo")
    arguments = parser.parse_args(argv)
    params = load_params()
    render_dataset(arguments.out, params.demo, params.engine.n_workers)
    demo = params.demo
    print(
        f"demo: {demo.prompts * demo.generators} videos, {demo.object_images} object images and {demo.crop_images} "
        f"crop images in {arguments.out}"
    )


if __name__ == "__main__":
    run(main)
