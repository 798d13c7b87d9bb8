"""Files of the project as another Git revision has them: from Git, and DVC's outs by their hash in that revision."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from stages.errors import RevisionError


def read_at(path: Path, revision: str) -> bytes:
    """The bytes of a file at a Git revision.

    A file that Git does not hold is looked up in that revision's dvc.lock and comes from DVC's cache or its remote.

    Args:
        path: Relative to the project's root.
        revision: A branch, tag, commit or DVC experiment.

    Raises:
        RevisionError: There is no Git, no such revision, or no such file in either.
    """
    # DVC takes an empty name for the working tree: every file would be compared with itself.
    if not revision.strip():
        raise RevisionError(f"{revision!r}: no Git revision; a branch, tag, commit or experiment is needed")
    # Imported here: DVC takes a second to load, and commands without a baseline do without it.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import Git, RevError, resolve_rev
    from scmrepo.exceptions import SCMError

    try:
        if not _is_commit(resolve_rev(Git("."), revision)):
            raise RevisionError(f"{revision}: a file or folder in Git; the revision alone is needed")
        # At a revision DVC counts from the root of Git, in which the project may be a folder.
        files = DVCFileSystem(".", rev=revision, subrepos=True)
        data: bytes = files.read_bytes(_folder_in_git() + path.as_posix())
        return data
    except RevError:
        raise RevisionError(f"{revision}: no such Git revision here (a shallow clone lacks most of them)") from None
    except OSError:
        raise RevisionError(f"{revision}: has no {path} that Git, DVC's cache or its remote holds") from None
    except (DvcException, SCMError) as error:
        raise RevisionError(f"{revision}: {path} cannot be read ({error})") from None


def _folder_in_git() -> str:
    """`sub/folder/` of the working directory below the root of Git; empty in the root itself."""
    command = ["git", "rev-parse", "--show-prefix"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _is_commit(name: str) -> bool:
    """Whether an object of Git is a commit, or a tag of one; `main:results` is none."""
    command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    return subprocess.run(command, capture_output=True).returncode == 0


def describe_revision(revision: str) -> str:
    """A revision with its commit, such as `main (0b61afb)`; the name alone where it is a hash or cannot be resolved."""
    from dvc.scm import Git
    from scmrepo.exceptions import SCMError

    try:
        commit = Git(".").resolve_rev(revision)
    except SCMError:
        return revision
    return revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"


def other_version(
    path: Path, current: str, *, revision: str | None, normalise: Callable[[bytes], str]
) -> tuple[str, bytes] | None:
    """A committed version of a file to compare with.

    Args:
        path: Relative to the project's root.
        current: The file as it is now, normalised.
        revision: Where to take it from; None: the last committed version that differs from `current`.
        normalise: Maps the bytes of a version to what is compared.

    Returns:
        The revision and the bytes; None without Git or without such a version.

    Raises:
        RevisionError: `revision` does not exist or does not have the file.
    """
    if revision is not None:
        return describe_revision(revision), read_at(path, revision)
    try:
        command = ["git", "log", "--max-count=50", "--format=%h", "--", str(path)]
        log = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    for commit in log.stdout.split():
        try:
            data = read_at(path, commit)
            if normalise(data) != current:
                return commit, data
        except (RevisionError, ValueError):
            continue  # deleted there, or not yet what it is today
    return None


def head() -> str | None:
    """The abbreviated commit that is checked out, with a + when tracked files are changed; None without Git."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None
