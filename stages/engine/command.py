"""How every command of the project starts and ends: options from a signature, a clear line for mistakes, a status.

A command is a typed function: its parameters are the options, its docstring is the help. cyclopts reads both; it is
imported when a command line is read, so that worker processes, which import the stages' modules anew, go without.
"""

import os
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from functools import partial
from inspect import BoundArguments
from typing import TYPE_CHECKING, Any, NoReturn

from models.errors import AigcVqaError, printable
from stages.errors import NO_ROOM

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

MISUSE = 2
# Nothing could be done: weights, tables or videos are missing or damaged, or there is no room.
NOTHING_DONE = 3
# Ended by a signal, as shells count: 128 and its number. Of SIGPIPE: who read the output went away, as `head` does.
INTERRUPTED, READER_GONE, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGPIPE, 128 + signal.SIGTERM
# Columns of the help: the most that names take beside their text, and the most that a line takes.
NAMES_WIDTH = 26
LINE_WIDTH = 100


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `timeout`, Slurm and `docker stop` send it: a run ends as it does on Ctrl-C."""


def _end(*_: object) -> None:
    # Only once: what was finished is being kept.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and exit with its status; turn the project's own errors into one readable message.

    Exit status: what `main` returns (None is 0); 2 for a wrong command line; 3 for an `AigcVqaError` and when no room
    is left to write; 130 for Ctrl-C, 143 for SIGTERM, which ends a run in the same way; 141, and no word, where the
    reader of the output has gone. Any other exception is a bug and keeps its traceback.

    Args:
        main: The command, without arguments.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
    try:
        status = main()
        sys.stdout.flush()
    except AigcVqaError as error:
        lines = [printable(line) for line in str(error).split("\n")]
        print("error: " + "\n".join(lines), file=sys.stderr)
        sys.exit(NOTHING_DONE)
    except BrokenPipeError:
        # What is still in the buffer goes nowhere; Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        place = f" {error.filename}" if error.filename else ""
        reason = os.strerror(error.errno)
        print(f"error: cannot write{place}: {reason}; what was finished is kept, run again with room", file=sys.stderr)
        sys.exit(NOTHING_DONE)
    except KeyboardInterrupt as interrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED)
    sys.exit(status or 0)


def make_app(name: str, **settings: Any) -> "App":
    """A cyclopts application with the project's manners: plain help, no `--no-...` options.

    Args:
        name: What a user types, such as `aigc-vqa`.
        settings: More arguments of `cyclopts.App`.

    Returns:
        The application, without commands.
    """
    from cyclopts import App, Parameter

    return App(
        name=name,
        default_parameter=Parameter(negative=(), show_default=_shown),
        help_format="plaintext",
        help_formatter=_PlainHelp(),
        suppress_keyboard_interrupt=False,
        **settings,
    )


def read_command_line(app: "App", argv: Sequence[str] | None = None) -> tuple[Callable[..., Any], BoundArguments]:
    """Find the function that a command line asks for, and its arguments.

    Where the line asks for help or for the version, that is printed and the process exits with status 0; where it is
    wrong, one line on standard error names the option and what is allowed, and the exit status is 2.

    Args:
        app: The application.
        argv: The words after the program's name; None: those of the process.

    Returns:
        The function and its arguments.
    """
    from cyclopts import CycloptsError

    words = sys.argv[1:] if argv is None else list(argv)
    try:
        function, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False, help_on_error=False)
    except CycloptsError as error:
        place = " ".join([*app.name, *(error.command_chain or ())])
        misuse(place, _described(error, app))
    if getattr(function, "__module__", "").startswith("cyclopts"):
        # The library's own: help and version.
        function(*bound.args, **bound.kwargs)
        # Without a command there is nothing to do: the help stands where an error would.
        sys.exit(0 if {*app.help_flags, *app.version_flags} & {*words} else MISUSE)
    return function, bound


def misuse(command: str, problem: str) -> NoReturn:
    """End a command that was called wrongly: one line on standard error, exit status 2.

    Args:
        command: What was called, such as `aigc-vqa score`.
        problem: What is wrong and what is allowed.
    """
    print(f"error: {problem} See `{command} --help`.", file=sys.stderr)
    sys.exit(MISUSE)


def stage_arguments(stage: Callable[..., None], argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Read the command line of `python -m stages.NAME`: what the stage takes beside its first argument, the params.

    Args:
        stage: The function that does the stage's work.
        argv: The words after the program's name; None: those of the process.

    Returns:
        The arguments by name.
    """
    app = make_app(f"python -m stages.{stage.__name__}", version_flags=())
    app.default(partial(stage, None))
    return read_command_line(app, argv)[1].kwargs


def _shown(value: object) -> str:
    """A default as it is typed."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _described(error: "CycloptsError", app: "App") -> str:
    """One line on what is wrong with a command line."""
    from cyclopts import MissingArgumentError, UnknownCommandError, UnusedCliTokensError

    error.verbose = False
    if isinstance(error, UnknownCommandError):
        # The library's own text imports every command for its list.
        wanted = (error.unused_tokens or [""])[0]
        names = ", ".join(name for name in (error.app or app) if not name.startswith("-"))
        return f"unknown command {wanted!r}; allowed: {names}."
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected {' '.join(map(repr, error.unused_tokens or ()))}."
    if type(error) is MissingArgumentError and error.argument is not None:
        return f"{error.keyword} needs a value." if error.keyword else f"{error.argument.name} is missing."
    text = str(error).rstrip(".")
    return f"{text[:1].lower()}{text[1:]}{'' if text.endswith('?') else '.'}"


class _PlainHelp:
    """Prints help as plain text: no boxes, no colours, nothing at the ends of lines, so that it reads well in logs."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print the commands or the options, names beside their text."""
        is_command = panel.format == "command"
        if not panel.entries or (is_command and all(entry.names[0].startswith("-") for entry in panel.entries)):
            return
        names = {option_names(entry): option_meaning(entry) for entry in panel.entries}
        width = min(max(map(len, names)), NAMES_WIDTH) + 4
        lines = [f"{panel.title}:"]
        for name, meaning in names.items():
            label = f"  {name}"
            if len(label) + 2 > width:  # a long name stands alone
                lines.append(label)
                label = ""
            lines.append(_wrapped(meaning, console, first=label.ljust(width), indent=width))
        _put(console, "\n".join(lines))

    def render_usage(self, console: "Console", _: "ConsoleOptions", usage: object) -> None:
        """Print the line that shows how the command is called."""
        _put(console, _wrapped(f"usage: {' '.join(str(usage).split())}", console, indent=7))

    def render_description(self, console: "Console", _: "ConsoleOptions", description: object) -> None:
        """Print the docstring's text, its paragraphs wrapped anew."""
        paragraphs = _plain(description).strip().split("\n\n")
        _put(console, "\n\n".join(_wrapped(" ".join(text.split()), console) for text in paragraphs))


def _plain(text: object) -> str:
    return str(getattr(getattr(text, "primary_renderable", text), "plain", text) or "")


def _wrapped(text: str, console: "Console", *, first: str = "", indent: int = 0) -> str:
    width = min(console.width, LINE_WIDTH)
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _put(console: "Console", text: str) -> None:
    print(f"{text.rstrip()}\n", file=console.file)


def option_names(entry: "HelpEntry") -> str:
    """How an option, an argument or a command is typed.

    Args:
        entry: Its entry in the help.

    Returns:
        Such as "--out FILE".
    """
    return ", ".join(entry.display_labels_with_metavar)


def option_meaning(entry: "HelpEntry") -> str:
    """What an option, an argument or a command is for, what is allowed, and what holds without it.

    Args:
        entry: Its entry in the help.

    Returns:
        One line.
    """
    words = _plain(entry.description).split()
    if entry.choices:
        words.append(f"[{'|'.join(entry.choices)}]")
    if entry.required:
        words.append("[required]")
    elif entry.default not in (None, "", "False", "None"):
        words.append(f"[default: {entry.default}]")
    return " ".join(words)
