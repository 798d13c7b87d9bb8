"""The state of a training between epochs, so that a killed one goes on instead of starting over."""

import io
from pathlib import Path
from typing import Any

import torch

from stages.engine.cache import note_use
from stages.errors import DamagedFileError
from stages.io.files import sweep
from stages.io.sealed import read_sealed, write_sealed


class TrainingState:
    """One sealed file, replaced whole after every epoch. Its name says all that the result depends on, code included.

    A finished training leaves its result there: run again, the stage writes the same bytes in seconds.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any] | None:
        """Read what `save` wrote last.

        Returns:
            Values by name, tensors on the CPU; None when there is nothing, or what is there is damaged.
        """
        sweep(self.path.parent.glob(".*.tmp"))
        if not self.path.exists():
            return None
        try:
            data = read_sealed(self.path, self.path.name)
        except DamagedFileError as error:
            print(f"{error}; the work on it starts over")
            return None
        note_use(self.path)
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return state

    def resume(self, stage: str, *, epochs: int) -> dict[str, Any] | None:
        """Read what `save` wrote last, and say where the training stands.

        Args:
            stage: Name of the stage, for the line that is printed.
            epochs: How many the training has.

        Returns:
            As `load`; its value `epochs_done` says whether anything is left to do.
        """
        if (saved := self.load()) is not None:
            if saved["epochs_done"] < epochs:
                print(f"{stage}: goes on after epoch {saved['epochs_done']} of {epochs}")
            else:
                print(f"{stage}: trained already; nothing that the training depends on has changed since then")
        return saved

    def save(self, **state: Any) -> None:
        """Replace the file whole.

        Args:
            **state: Tensors, numbers, text, and lists and dicts of them.

        Raises:
            OSError: The disk is full, or the folder cannot be written to; the file is the one before.
        """
        # By way of memory: torch's own writer tells a full disk as a bug of its own.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_sealed(self.path, self.path.name, buffer.getbuffer())
