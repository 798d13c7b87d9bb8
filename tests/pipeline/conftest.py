"""The toy project after its first run, which the tests of the graph copy and change."""

import shutil
from pathlib import Path

import pytest

from tests.pipeline.toy import dvc, make_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after its first `dvc repro`, in Git. Tests must leave its outputs as they are."""
    project = make_project(tmp_path_factory.mktemp("project"), git=True)
    dvc(project, "repro")
    return project


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished project to change."""
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy, symlinks=True)
    return copy
