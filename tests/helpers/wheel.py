"""The wheel, and an environment in which it is installed and this checkout is not."""

import shutil
import site
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("arbench", "harness", "baselines", "methods", "reports")


def build(folder: Path) -> Path:
    """Build it from a copy, in a folder."""
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    return next(folder.glob("arbench-*.whl"))


def environment(folder: Path) -> Path:
    """Make an environment with what arbench needs, from the one that runs, and without arbench; its programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    # A .pth file of a folder that is named in one is not read: the checkout's editable install stays out.
    (packages(folder) / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    return folder / "bin"


def packages(environment: Path) -> Path:
    """Its site-packages."""
    return next((environment / "lib").glob("python*/site-packages"))


def install(programs: Path, package: Path) -> None:
    """Install a wheel or a folder into the environment with these programs, and nothing that it asks for."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--ignore-installed"]
    command = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", *options, str(package)]
    subprocess.run(command, check=True)
