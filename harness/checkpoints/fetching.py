"""Fetch published weights from the Hugging Face hub, or from a mirror named by HF_ENDPOINT.

huggingface_hub makes the URL, asks the hub for commit, size and hash of the file, and downloads the file. The function
``http_get`` of huggingface_hub continues a partial file, tries again when a connection breaks, and shows progress.
The function ``hf_hub_download`` is not used. In version 2.4 of huggingface_hub, this function gives each download a new
name. It therefore never continues a download that was killed.

The downloaded file is checked against the size and sha256 that the server announced. The file gets its final name NAME
only when it is whole. Beside it stands NAME.json, with the file's URL, commit and hash. No token is sent: all the files
are public.
"""

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.checkpoints.published import Source
from harness.errors import ArbenchError
from harness.hashing import sha256

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata


US = "arbench"
"""The name under which arbench presents itself to the server."""


def fetch(source: Source, path: Path) -> None:
    """Download a file to ``path``. If a download is cut short, the part that has arrived is kept. The next call
    continues from there.

    Raises ArbenchError if the server cannot be reached or has no such file, or if the downloaded file is not the file
    that the server announced.
    """
    from httpx2 import HTTPError, InvalidURL  # late, like all imports for the network
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    endpoint = (os.environ.get("HF_ENDPOINT") or "").rstrip("/") or None
    url = hf_hub_url(source.repository, source.path, revision=source.revision, endpoint=endpoint)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        announced = _download(url, partial, path.name)
    except HfHubHTTPError as error:
        raise ArbenchError(
            f"cannot fetch {url}: {error.response.status_code} {error.response.reason_phrase}"
        ) from error
    except (OSError, ValueError, HTTPError, InvalidURL) as error:
        kept = f"; {partial} is kept, the same command goes on from there" if partial.exists() else ""
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ArbenchError(f"cannot fetch {url}: {reason}{kept}") from error
    found, expected = sha256(partial), announced.etag or ""
    if re.fullmatch("[0-9a-f]{64}", expected) and found != expected:
        partial.unlink()
        raise ArbenchError(f"{url}: what arrived has sha256 {found}, announced was {expected}; it has been removed")
    about = {"url": url, "commit": announced.commit_hash or "unknown", "sha256": found}
    path.with_name(f"{path.name}.json").write_text(json.dumps({**about, "bytes": partial.stat().st_size}, indent=1))
    partial.replace(path)
    print(f"{path}: sha256 {found}, commit {about['commit']}")


def _download(url: str, partial: Path, name: str) -> "HfFileMetadata":
    """Append to the file ``partial`` the bytes that it still lacks. Returns the metadata that the server announces for
    the whole file: its size, its hash and its commit.

    name: the name of the file in the progress bar
    """
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers
    from tqdm import tqdm

    announced = get_hf_file_metadata(url, token=False, library_name=US)
    have = partial.stat().st_size if partial.exists() else 0
    if announced.size is None or have > announced.size:  # unknown where to continue: start again
        have = 0
    with partial.open("ab" if have else "wb") as file:
        http_get(
            url,
            file,
            resume_size=have,
            headers=build_hf_headers(token=False, library_name=US),
            expected_size=announced.size,
            displayed_filename=name,
            tqdm_class=tqdm,
        )
    return announced
