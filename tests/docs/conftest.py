"""An environment in which a page's commands are run."""

import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment that sees this checkout and what it needs, as if arbench were installed in
    it: what a page installs goes there and nowhere else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (own,) = (folder / "lib").glob("python*/site-packages")
    (own / "arbench-checkout.pth").write_text("\n".join([str(ROOT), *site.getsitepackages()]))
    command = folder / "bin" / "arbench"
    command.write_text(f"#!{folder}/bin/python\nimport sys\nfrom harness.cli import main\nsys.exit(main())\n")
    command.chmod(0o755)
    return folder / "bin"
