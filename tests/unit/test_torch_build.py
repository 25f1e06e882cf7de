"""Which build of torch nox installs: tried with an index of made-up wheels on this machine."""

import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from virtualenv.seed.wheels.embed import get_embed_wheel

from chores import torch_build
from chores.torch_build import NotThereError, choose, split

ROOT = Path(__file__).parents[2]
PINS = {"torch": "2.14.1", "torchvision": "0.29.1", "numpy": "2.4.6"}
HERE = (sys.version_info.major, sys.version_info.minor)
TAG = f"cp{HERE[0]}{HERE[1]}-cp{HERE[0]}{HERE[1]}-manylinux_2_28_{os.uname().machine}"


@dataclass
class Index:
    """A package index on this machine, after PEP 503: files by the path of their folder."""

    address: str = ""
    files: dict[str, list[Path]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  # every path, in order
    hangs: threading.Event | None = None  # if set, nothing is answered before the event

    def add(self, folder: str, *paths: Path) -> None:
        for path in paths:
            name = path.name.partition("-")[0].lower()
            self.files.setdefault(f"/{folder}/{name}/", []).append(path)

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        if self.hangs is not None:
            self.hangs.wait()
        if path in self.files:
            links = (f'<a href="{file.name.replace("+", "%2B")}">{file.name}</a><br>' for file in self.files[path])
            return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        folder, _, name = path.rpartition("/")
        held = {file.name.replace("+", "%2B"): file for file in self.files.get(f"{folder}/", [])}
        return held[name].read_bytes() if name in held and held[name].exists() else None


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    """An index that has the pinned CPU builds; this machine has no NVIDIA driver."""
    made = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 - the name is the library's
            content = made.answer(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.address = f"http://127.0.0.1:{server.server_port}"
    wheels = [
        wheel(tmp_path / "wheels", "torch", "2.14.1+cpu"),
        wheel(tmp_path / "wheels", "torchvision", "0.29.1+cpu"),
    ]
    made.add("cpu", *wheels)
    monkeypatch.setenv("ARBENCH_TORCH_INDEX", f"{made.address}/cpu")
    monkeypatch.setattr(torch_build, "driver", lambda: None)
    yield made
    if made.hangs is not None:
        made.hangs.set()
    server.shutdown()
    server.server_close()


def wheel(folder: Path, name: str, version: str, tag: str = TAG) -> Path:
    """A wheel that holds nothing."""
    folder.mkdir(exist_ok=True)
    made, about = folder / f"{name}-{version}-{tag}.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(f"{about}/RECORD", f"{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return made


def test_without_an_nvidia_driver_the_cpu_build_is_taken(index: Index) -> None:
    choice = choose(None, PINS, HERE)
    assert choice.build == torch_build.CPU
    assert "no NVIDIA driver" in str(choice)
    assert "-- --cuda" in str(choice)
    assert "\n" not in str(choice)
    assert sorted(index.asked) == ["/cpu/torch/", "/cpu/torchvision/"]


def test_with_an_nvidia_driver_pypis_build_is_taken_and_no_index_asked(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_build, "driver", lambda: "/proc/driver/nvidia/version")
    choice = choose(None, PINS, HERE)
    assert choice.build == torch_build.PYPI
    assert "there is an NVIDIA driver (/proc/driver/nvidia/version)" in str(choice)
    assert index.asked == []


@pytest.mark.parametrize("sign", ["proc", "dev", "nvidia-smi"])
def test_a_driver_is_known_by_its_files_or_by_nvidia_smi(
    sign: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch_build, "DRIVER", (tmp_path / "proc", tmp_path / "dev"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert torch_build.driver() is None
    (tmp_path / sign).touch(mode=0o755)
    assert torch_build.driver() == str(tmp_path / sign)


def test_an_index_that_does_not_answer_costs_two_seconds(index: Index) -> None:
    index.hangs = threading.Event()
    started = time.monotonic()
    choice = choose(None, PINS, HERE)
    assert 1.9 < time.monotonic() - started < 4  # two, and what a busy machine adds
    assert choice.build == torch_build.PYPI
    assert f"{index.address}/cpu did not answer within 2 seconds" in str(choice)


@pytest.mark.parametrize(
    ("pins", "python", "missing"),
    [
        (PINS | {"torch": "2.14.2"}, HERE, "torch 2.14.2"),
        (PINS | {"torch": "2.14"}, HERE, "torch 2.14 "),
        (PINS | {"torchvision": "0.30.0"}, HERE, "torchvision 0.30.0"),
        (PINS, (3, 99), "torch 2.14.1 for Python 3.99"),
    ],
)
def test_an_index_without_the_pinned_builds_is_left_alone(
    index: Index, pins: dict[str, str], python: tuple[int, int], missing: str
) -> None:
    choice = choose(None, pins, python)
    assert choice.build == torch_build.PYPI
    assert f"{index.address}/cpu has no CPU build of {missing}" in str(choice)


def test_an_index_that_is_not_there_is_told_with_the_reason(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARBENCH_TORCH_INDEX", f"{index.address}/other")
    assert f"{index.address}/other cannot be reached (HTTP Error 404" in str(choose(None, PINS, HERE))
    monkeypatch.setenv("ARBENCH_TORCH_INDEX", "http://somebody:secret@127.0.0.1:9/cpu")
    told = str(choose(None, PINS, HERE))
    assert "http://127.0.0.1:9/cpu cannot be reached (" in told
    assert "secret" not in told


def test_what_is_asked_for_decides(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_build, "driver", lambda: "/dev/nvidiactl")
    assert choose(torch_build.CPU, PINS, HERE).build == torch_build.CPU
    index.asked.clear()
    monkeypatch.setattr(torch_build, "driver", lambda: None)
    assert choose(torch_build.PYPI, PINS, HERE).build == torch_build.PYPI
    assert index.asked == []
    with pytest.raises(NotThereError, match=r"--cpu: .* has no CPU build of torch 9"):
        choose(torch_build.CPU, PINS | {"torch": "9"}, HERE)


def test_the_options_do_not_go_on_to_pytest_or_arbench() -> None:
    assert split(["--cpu", "tests/unit", "-x"]) == (torch_build.CPU, ["tests/unit", "-x"])
    assert split(["--images", "5", "--cuda"]) == (torch_build.PYPI, ["--images", "5"])
    assert split(["--cuda", "--cpu"]) == (torch_build.CPU, [])
    assert split(["-k", "cpu"]) == (None, ["-k", "cpu"])


NOXFILE = """
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))
from chores.environment import ROOT, Environment
from chores import torch_build

torch_build.driver = lambda: None

@nox.session(venv_backend="none")
def probe(session):
    place = Environment(ROOT / ".nox" / "arbench")
    place.install(session)
    program = "from importlib.metadata import version as v; print('has', *map(v, ('torch', 'torchvision', 'ours')))"
    place.run(session, "python", "-c", program)
"""


@pytest.mark.slow
def test_nox_installs_once_and_again_only_where_the_other_build_is_asked_for(index: Index, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "chores", project / "chores")
    (project / "noxfile.py").write_text(NOXFILE)
    (project / "pyproject.toml").write_text(
        '[project]\nname = "nothing"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
    )
    setuptools = get_embed_wheel("setuptools", f"{HERE[0]}.{HERE[1]}")
    assert setuptools is not None
    pins = {"torch": "2.14.1", "torchvision": "0.29.1", "ours": "3", "setuptools": setuptools.version}
    (project / "requirements.lock").write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
    wheels = tmp_path / "wheels"
    index.add("pypi", wheel(wheels, "torch", "2.14.1"), wheel(wheels, "torchvision", "0.29.1"), setuptools.path)
    index.add("mine", wheel(wheels, "ours", "3", "py3-none-any"))  # where the user's pip looks, too

    def nox(*options: str) -> str:
        index.asked.clear()
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHONPATH"))}
        env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{index.address}/pypi", "PIP_NO_CACHE_DIR": "1"}
        env |= {"PIP_EXTRA_INDEX_URL": f"{index.address}/mine", "COLUMNS": "1000"}
        command = [sys.executable, "-m", "nox", "-s", "probe", "--", *options]
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    (project / "arbench.egg-info").mkdir()  # what an earlier `pip install -e .` has left: its entry points hide ours
    said = nox()
    assert not (project / "arbench.egg-info").exists()
    assert "has 2.14.1+cpu 0.29.1+cpu 3" in said
    assert "torch's CPU build (about 200 MB), since there is no NVIDIA driver here" in said
    assert "has 2.14.1+cpu" in nox()
    assert index.asked == []
    said = nox("--cuda")
    assert "has 2.14.1 0.29.1 3" in said
    assert "torch's build on PyPI, with CUDA (3 GB), since --cuda asks for it" in said
    assert not [path for path in index.asked if path.startswith("/cpu")]
    assert "has 2.14.1 0.29.1 3" in nox()
    assert index.asked == []
    index.files["/cpu/torch/"][0].unlink()  # listed, but it cannot be downloaded
    shutil.rmtree(project / ".nox")
    assert "has 2.14.1 0.29.1 3" in nox()
