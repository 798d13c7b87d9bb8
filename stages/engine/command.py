"""How every command of the project ends: a clear line and an exit status, no traceback for the user's mistakes."""

import os
import sys
from collections.abc import Callable

from models.errors import AigcVqaError
from stages.errors import NO_ROOM


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its status; turn the project's own errors into one readable message.

    Exit status: what `main` returns (None is 0); 1 for an `AigcVqaError` and when no room is left to write; 130 for
    Ctrl-C.
    Any other exception is a bug and keeps its traceback.
    """
    try:
        status = main()
    except AigcVqaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        place = f" {error.filename}" if error.filename else ""
        reason = os.strerror(error.errno)
        print(f"error: cannot write{place}: {reason}; what was finished is kept, run again with room", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
