"""Fetch published weights from the Hugging Face hub, or from a mirror named by HF_ENDPOINT.

Plain HTTP by the standard library, since huggingface_hub (2.4) throws away what a killed download has got: here it goes
on where it stopped. What arrives is checked against the size and the sha256 that the hub announces, and a file has its
name only when it is whole. Beside it stands NAME.json: where it came from, which commit, its hash.
"""

import json
import os
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from harness import registry, weights
from harness.checkpoint import sha256
from harness.errors import ArbenchError, unknown
from harness.weights import Source

ENDPOINT = "https://huggingface.co"
CHUNK = 1 << 20
TIMEOUT_S = 60


class _Announced(HTTPRedirectHandler):
    """Keeps the headers of a first answer that sends us elsewhere: the hub announces size and hash there."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.headers = {**headers, **self.headers}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def sources(preset: str) -> dict[str, Source]:
    """The published files of a preset: ``METHOD/PRESET``, or ``PRESET`` for all methods that have it.

    Raises ArbenchError if there is no such preset, or if it has no published weights.
    """
    wanted, _, name = preset.rpartition("/")
    found: dict[str, Source] = {}
    valid: set[str] = set()
    for method in [wanted] if wanted else registry.names():
        try:
            owner = registry.get(method)
        except ArbenchError:  # `arbench list` tells why
            if wanted:
                raise
            continue
        valid |= set(owner.presets)
        if name in owner.presets:
            found |= owner.weight_sources(name)
    if name not in valid:
        raise unknown("preset", name, valid)
    if not found:
        raise ArbenchError(f"preset {preset} has no published weights")
    return found


def fetch_preset(preset: str) -> list[Path]:
    """Fetch what a preset needs and is not there yet; the paths of all its published files."""
    paths = []
    for file, source in sources(preset).items():
        path = weights.place(file)
        if path.is_file():
            print(f"{path}: there already")
        else:
            fetch(source, path)
        paths.append(path)
    return paths


def fetch(source: Source, path: Path) -> None:
    """Download a file to ``path``. Raises ArbenchError if the server cannot be reached, has no such file, or what
    arrived is not what it announced; a download cut short is kept and goes on next time."""
    url = source.url(os.environ.get("HF_ENDPOINT") or ENDPOINT)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        announced = _download(url, partial)
    except HTTPError as error:
        raise ArbenchError(f"cannot fetch {url}: {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        kept = f"; {partial} is kept, the same command goes on from there" if partial.exists() else ""
        raise ArbenchError(f"cannot fetch {url}: {getattr(error, 'reason', None) or error}{kept}") from error
    found = sha256(partial)
    expected = announced.get("x-linked-etag", "").strip('"')
    if re.fullmatch("[0-9a-f]{64}", expected) and found != expected:
        partial.unlink()
        raise ArbenchError(f"{url}: what arrived has sha256 {found}, announced was {expected}; it has been removed")
    about = {"url": url, "commit": announced.get("x-repo-commit", "unknown"), "sha256": found}
    path.with_name(f"{path.name}.json").write_text(json.dumps({**about, "bytes": partial.stat().st_size}, indent=1))
    partial.replace(path)
    print(f"{path}: sha256 {found}, commit {about['commit']}")


def _download(url: str, partial: Path) -> Mapping[str, str]:
    """Append to ``partial`` what it lacks; the headers of all answers, names in lower case. ValueError if it is
    short."""
    from tqdm import tqdm

    have = partial.stat().st_size if partial.exists() else 0
    first = _Announced()
    request = Request(url, headers={"Range": f"bytes={have}-", "User-Agent": "arbench"} if have else {})
    try:
        answer = build_opener(first).open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        if error.code != 416:  # nothing is left to send: start again
            raise
        partial.unlink()
        return _download(url, partial)
    with answer:
        if answer.status != 206:  # the whole file: an answer without ranges, or nothing was there
            have = 0
        headers = {name.lower(): value for name, value in {**answer.headers, **first.headers}.items()}
        length = answer.headers.get("Content-Length")
        whole = have + int(length) if length else None
        with (
            partial.open("ab" if have else "wb") as file,
            tqdm(desc=partial.name[1:-8], initial=have, total=whole, unit="B", unit_scale=True) as bar,
        ):
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    size = partial.stat().st_size
    if whole is not None and size != whole:
        raise ValueError(f"{size} of {whole} bytes arrived")
    return headers
