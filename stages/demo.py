"""demo: renders the data set that the project runs on out of the box, in the formats of the real ones.

info.txt and videos/ are T2VQA-DB's format, objects/ is COCO's, crops/ is GAIC's. What was rendered stays in
`.cache/demo`, so that a change of code elsewhere costs seconds.
"""

from collections.abc import Sequence
from pathlib import Path

from stages.demo_data import render_dataset
from stages.engine.cache import cache_root, keep_folder, restore_folder
from stages.engine.command import run, stage_arguments
from stages.engine.fingerprint import fingerprint
from stages.io.digests import digest, library_builds, library_versions
from stages.params.load import load_params
from stages.params.schema import Params


def demo(params: Params, *, out: Path) -> None:
    """Render the embedded data set, in the formats of the real ones.

    Args:
        params: The checked params.
        out: Folder to write.
    """
    sizes = params.demo
    libraries = library_versions("numpy", "opencv-python-headless"), library_builds("opencv-python-headless")
    kept = cache_root() / "demo" / f"{digest(fingerprint('stages.demo'), libraries, sizes.model_dump())}.zip"
    if restore_folder(kept, out):
        print("demo: rendered already")
    else:
        render_dataset(out, sizes, params.engine.n_workers)
        keep_folder(kept, out)
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
