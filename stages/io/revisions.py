"""Files of the project as another Git revision has them: from Git, and DVC's outs by their hash in that revision."""

from pathlib import Path

from stages.errors import RevisionError


def read_at(path: Path, revision: str) -> bytes:
    """The bytes that `path` (relative to the project's root) has at a Git revision.

    What Git does not hold is looked up in that revision's dvc.lock and comes from DVC's cache, or from its remote.
    Raises RevisionError for an unknown revision, a project without Git, and a file that is in neither.
    """
    # Imported here: DVC takes a second that commands without a baseline need not pay.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError
    from scmrepo.exceptions import SCMError

    try:
        return DVCFileSystem(".", rev=revision).read_bytes(path.as_posix())
    except RevError:
        raise RevisionError(f"{revision}: no such Git revision here (a shallow clone lacks most of them)") from None
    except OSError:
        raise RevisionError(f"{revision}: has no {path} that Git, DVC's cache or its remote holds") from None
    except (DvcException, SCMError) as error:
        raise RevisionError(f"{revision}: {path} cannot be read ({error})") from None


def describe_revision(revision: str) -> str:
    """`main (0b61afb)`; the name alone when it is the hash itself, or cannot be resolved."""
    from dvc.scm import Git
    from scmrepo.exceptions import SCMError

    try:
        commit = Git(".").resolve_rev(revision)
    except SCMError:
        return revision
    return revision if commit.startswith(revision) else f"{revision} ({commit[:7]})"
