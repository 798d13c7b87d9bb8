"""A real Git and DVC history for the tests of the gate."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.stages.commands.gate_run import DVC_YAML, git, write_run


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits with their outs in DVC's cache: tag `old` (much worse), then main (SROCC about 0.94)."""
    from dvc.repo import Repo

    folder = tmp_path_factory.mktemp("history")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        git("init", "-q", "-b", "main")
        git("config", "user.name", "tester")
        git("config", "user.email", "tester@example.org")
        params = (ROOT / "params.yaml").read_text(encoding="utf-8")
        fewer = re.sub(r"bootstrap_samples: \d+", "bootstrap_samples: 100", params)
        (folder / "params.yaml").write_text(fewer, encoding="utf-8")
        Repo.init().close()
        with (folder / ".dvc" / "config").open("a", encoding="utf-8") as file:
            file.write(f"[core]\n    analytics = false\n    site_cache_dir = {folder / '.site-cache'}\n")
        (folder / ".gitignore").write_text(".site-cache/\n/results/predictions.parquet\n", encoding="utf-8")
        (folder / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
        for noise, tag in ((30.0, "old"), (8.0, "good")):
            write_run(noise=noise)
            with Repo() as repo:
                repo.commit(force=True)
            git("add", ".")
            git("commit", "-q", "-m", tag)
            git("tag", tag)
    return folder


@pytest.fixture
def project(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the history to change, as working directory."""
    copy = tmp_path / "project"
    shutil.copytree(history, copy, symlinks=True)
    monkeypatch.chdir(copy)
    return copy
