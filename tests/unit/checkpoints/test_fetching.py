"""Fetching published weights from a local mirror of the hub."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from harness.checkpoints import fetching
from harness.checkpoints import published as weights
from harness.checkpoints.published import Source
from harness.cli.command import main
from harness.cli.weights import listed, sources
from harness.errors import ArbenchError

CONTENT = bytes(range(256)) * 4096
SOURCE = Source("FoundationVision/var", "var_d16.pth")
COMMIT = "FoundationVision/var@6d0ee6598a42f75079aa79e58b012b57b284c91b"


class Hub(BaseHTTPRequestHandler):
    """Sends /REPOSITORY/resolve/REVISION/FILE to another host, as the hub does, and serves ranges there."""

    content: ClassVar[bytes] = CONTENT
    commit: ClassVar[str] = "c0ffee"
    announced: ClassVar[str] = hashlib.sha256(CONTENT).hexdigest()
    breaks_after: ClassVar[int] = 0
    stalls_after: ClassVar[int] = 0
    ranges: ClassVar[list[str]] = []
    going_on: ClassVar[threading.Event] = threading.Event()

    def do_HEAD(self) -> None:  # noqa: N802 - the library's name
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        if "/missing" in self.path:
            self.send_error(404, "Not Found")
        elif self.path.startswith("/blob"):
            self._blob()
        else:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.headers['Host'].split(':')[1]}/blob")
            self.send_header("X-Repo-Commit", self.commit)
            self.send_header("X-Linked-Etag", f'"{self.announced}"')
            self.send_header("X-Linked-Size", str(len(self.content)))
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _blob(self) -> None:
        asked, whole = self.headers.get("Range"), len(self.content)
        self.ranges.append(asked or "")
        start = int(asked[6:-1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(whole - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        self.wfile.write(self.content[start : self.breaks_after or self.stalls_after or None])
        if self.stalls_after:
            self.going_on.wait(60)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    """The mirror, and an empty folder for weights."""
    going_on = threading.Event()
    handler = type("OneHub", (Hub,), {"ranges": [], "going_on": going_on})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("ARBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)
    yield handler
    going_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_preset_is_fetched_with_its_tokenizer_and_noted(hub: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "var/imagenet256-d16"]) == 0
    for file in ("var_d16.pth", "vae_ch160v4096z32.pth"):
        path = weights.place(file)
        assert path.read_bytes() == CONTENT
        note = json.loads(path.with_name(f"{file}.json").read_text())
        assert note["commit"] == "c0ffee" and note["sha256"] == hub.announced and note["bytes"] == len(CONTENT)
    row = next(row for row in listed() if row["method"] == "var" and row["preset"] == "imagenet256-d16")
    assert row["found"] and row["sha256"] == hub.announced and row["source"] == COMMIT
    hub.ranges.clear()
    assert main(["weights", "fetch", "var/imagenet256-d16"]) == 0
    assert hub.ranges == []
    assert "there already" in capsys.readouterr().out


def test_a_broken_download_goes_on_where_it_stopped(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)  # between its own retries
    path = weights.place("var_d16.pth")
    hub.breaks_after = 300_000
    with pytest.raises(ArbenchError, match=r"partial is kept, the same command goes on"):
        fetching.fetch(SOURCE, path)
    assert not path.exists()
    assert hub.ranges == ["", *["bytes=300000-"] * (len(hub.ranges) - 1)]
    hub.breaks_after = 0
    hub.ranges.clear()
    fetching.fetch(SOURCE, path)
    assert path.read_bytes() == CONTENT
    assert hub.ranges == ["bytes=300000-"]
    assert [found.name for found in sorted(path.parent.iterdir())] == ["var_d16.pth", "var_d16.pth.json"]


def test_a_killed_download_goes_on_where_it_stopped(hub: type[Hub]) -> None:
    chunk = 10 << 20  # what the library writes at once
    hub.content = CONTENT * 16
    hub.announced = hashlib.sha256(hub.content).hexdigest()
    hub.stalls_after = chunk + (4 << 20)
    path = weights.place("EAR-adaLN-B.pt")
    begun = path.with_name(".EAR-adaLN-B.pt.partial")
    command = [sys.executable, "-m", "arbench", "weights", "fetch", "ear/imagenet256-b"]
    killed = subprocess.Popen(command, env=os.environ.copy(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not (begun.exists() and begun.stat().st_size >= chunk) and time.monotonic() < end:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not path.exists() and begun.stat().st_size == chunk
    hub.stalls_after = 0
    hub.ranges.clear()
    assert main(["weights", "fetch", "ear/imagenet256-b"]) == 0
    assert path.read_bytes() == hub.content
    assert hub.ranges == [f"bytes={chunk}-", ""]  # the network goes on, the tokenizer had not begun
    assert not begun.exists()


def test_a_mirror_that_announces_nothing_and_knows_no_ranges_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "mirror" / SOURCE.repository / "resolve" / "main"
    served.mkdir(parents=True)
    (served / SOURCE.path).write_bytes(CONTENT)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    path = tmp_path / "var_d16.pth"
    path.with_name(".var_d16.pth.partial").write_bytes(b"what an earlier download has got")
    try:
        fetching.fetch(SOURCE, path)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert path.read_bytes() == CONTENT
    assert json.loads(path.with_name("var_d16.pth.json").read_text())["commit"] == "unknown"


def test_what_is_not_what_was_announced_is_removed(hub: type[Hub]) -> None:
    hub.announced = "0" * 64
    path = weights.place("var_d16.pth")
    with pytest.raises(ArbenchError, match="announced was 0000"):
        fetching.fetch(SOURCE, path)
    assert list(path.parent.iterdir()) == []


def test_a_partial_file_that_is_too_long_starts_again(hub: type[Hub]) -> None:
    path = weights.place("var_d16.pth")
    path.parent.mkdir(parents=True)
    path.with_name(".var_d16.pth.partial").write_bytes(CONTENT + b"more")
    fetching.fetch(SOURCE, path)
    assert path.read_bytes() == CONTENT


def test_what_cannot_be_fetched_is_one_clear_line(
    hub: type[Hub], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArbenchError, match=r"cannot fetch http.*missing.*: 404"):
        fetching.fetch(Source("someone/missing", "x.pt"), weights.place("x.pt"))
    assert main(["weights", "fetch", "imagenet256-d61"]) == 2
    assert "did you mean 'imagenet256-d16'?" in capsys.readouterr().err
    assert main(["weights", "fetch", "raster/fmnist"]) == 2
    assert "has no published weights" in capsys.readouterr().err
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ArbenchError, match="Connection refused"):
        fetching.fetch(SOURCE, weights.place("var_d16.pth"))


def test_a_preset_shared_by_methods_is_fetched_for_all(hub: type[Hub]) -> None:
    assert {"c2i_B_256.pt", "EAR-adaLN-B.pt"} <= set(sources("imagenet256-b"))
    assert set(sources("ear/imagenet256-b")) == {"EAR-adaLN-B.pt", "XQGAN-8192.pt"}


def test_missing_weights_are_listed_as_such(hub: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights"]) == 0
    shown = capsys.readouterr().out
    assert f"var_d16.pth from {COMMIT}: missing" in shown
    assert "c2i_B_256.pt from FoundationVision/LlamaGen@main, unpinned: missing" in shown
    assert "raster-imagenet256-xl.safetensors: missing, and not published" in shown
    assert main(["weights", "--json"]) == 0
    assert {"method", "preset", "file", "source", "pinned", "path", "found", "sha256"} == set(
        json.loads(capsys.readouterr().out)[0]
    )
