"""The commands ``score`` and ``reference build``: score images that were made elsewhere, against a reference."""

import argparse
import glob
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import count
from harness.errors import ArbenchError

if TYPE_CHECKING:
    from harness.extractors.inception import InceptionExtractor
    from harness.images.reading import Reading


IMAGES_OF = (
    "an .npz (arr_0: uint8 [N, H, W, C]), an .npy, a WebDataset .tar, or a folder of images; several count together"
)


NO_CACHE = "none"
LARGEST_SIDE = 4096


def add(commands: Any) -> None:
    """Add ``score`` and ``reference build`` to the commands of arbench."""
    add = commands.add_parser("score", help="FID, sFID, IS, KID, precision and recall of images made elsewhere")
    add.add_argument("samples", type=Path, nargs="+", metavar="SAMPLES", help=IMAGES_OF)
    add.add_argument(
        "--reference",
        type=Path,
        required=True,
        metavar="REF",
        help="guided-diffusion's .npz, one of 'arbench reference build', or images as for SAMPLES",
    )
    _add_reading(add, "of SAMPLES")
    _add_inception(add)
    add.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="where what is seen in a reference's images is kept, by content (default: arbench/references in the "
        f"user's cache; {NO_CACHE}: nowhere)",
    )
    add.add_argument(
        "--store", type=Path, metavar="DIR", help="add a row to this store's leaderboard, marked as foreign"
    )
    add.add_argument("--name", metavar="X", help="what the row is called")
    add.add_argument("--replace", action="store_true", help="take the place of the foreign row of this name")
    add.add_argument("--json", action="store_true", help="as JSON")
    add.set_defaults(run=_score)
    parser = commands.add_parser("reference", help="statistics of images, to score against")
    add = parser.add_subparsers(metavar="build", required=True).add_parser("build", help="compute and keep them")
    add.add_argument("sources", type=Path, nargs="+", metavar="IMAGES", help=IMAGES_OF)
    add.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .npz file")
    _add_reading(add, "of IMAGES")
    _add_inception(add)
    add.set_defaults(run=_build)


def _add_reading(add: argparse.ArgumentParser, of: str) -> None:
    add.add_argument(
        "--resize",
        type=count(1),
        metavar="SIDE",
        help="crop images in the middle, as guided-diffusion does, to SIDE pixels",
    )
    add.add_argument("--images", type=count(1), metavar="N", help=f"the first N {of}; an error if there are fewer")
    add.add_argument(
        "--key", metavar="NAME", help=f"array {of} in an .npz (default: arr_0), or ending in a .tar (jpg, seg.png)"
    )


def _add_inception(add: argparse.ArgumentParser) -> None:
    add.add_argument("--inception", type=Path, metavar="FILE", help="weights-inception-2015-12-05-6726825d.pth")
    add.add_argument("--inception-sha256", metavar="HASH", help="to be held to, where FILE is another's Inception")
    add.add_argument("--batch", type=count(1), default=50, metavar="N", help="images at a time (default: %(default)s)")
    add.add_argument("--tf32", choices=("off", "on"), default="off", help="on: Inception in TF32, on a GPU that has it")
    add.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda, cuda:1 (default: cpu)")


def _score(asked: argparse.Namespace) -> None:
    from harness.images.reading import AS_THEY_ARE
    from harness.images.samples import open_samples
    from harness.progress import narrated
    from harness.records import foreign
    from harness.stages.quality.reference_files import default_cache, holds_statistics, remembered
    from harness.stages.quality.score import in_words, scored
    from harness.stages.quality.seen import watched

    row = None
    if asked.store is not None:
        row = foreign.Row(asked.store, asked.name, asked.replace)  # first, before any work is done: it may raise
    elif asked.name is not None or asked.replace:
        raise ArbenchError("--name and --replace are for a row on a leaderboard: --store DIR says which")
    paths = spread(asked.samples)
    open_samples(paths, _reading(asked))  # only to raise early if they cannot be read
    extractor = _extractor(asked)
    cache = default_cache() if asked.cache is None else None if str(asked.cache) == NO_CACHE else asked.cache
    crop = AS_THEY_ARE if holds_statistics(asked.reference) else replace(_reading(asked), images=None, key=None)
    narrate = narrated()
    told = narrate("reference among itself")
    against = remembered(asked.reference, extractor, asked.batch, crop, cache, _tell, told)
    seen = watched(paths, extractor, asked.batch, _reading(asked))
    found = scored(seen, against, narrate)
    if row is not None:
        _tell(f"leaderboard: row {asked.name!r} is {row.write(seen, found, asked.reference, extractor, crop)}")
    print(json.dumps(found.figures, indent=1) if asked.json else in_words(found.figures))


def _build(asked: argparse.Namespace) -> None:
    from harness.stages.quality.reference import write
    from harness.stages.quality.reference_files import holds_statistics, of_seen, open_reference
    from harness.stages.quality.seen import watched

    if asked.out.suffix != ".npz":
        raise ArbenchError(f"--out {asked.out}: a file's name ends in .npz")
    paths = spread(asked.sources)
    stored = [path for path in paths if holds_statistics(path)]
    if stored and len(paths) > 1:
        raise ArbenchError(f"{stored[0]} holds statistics (mu, sigma), which cannot be put together with other files")
    extractor, reading = _extractor(asked), _reading(asked)
    if stored:
        made = open_reference(paths[0], extractor, asked.batch, reading)
    else:
        made = of_seen(watched(paths, extractor, asked.batch, reading), extractor)
    write(asked.out, made)
    for note in made.facts.get("notes") or ():
        print(f"note: {note}")
    images = f"{made.facts['images']} images, IS {made.is_:.4g}" if made.is_ is not None else "no images"
    if made.facts.get("statistics") == "stored":
        names = "mu, sigma" + (", mu_s, sigma_s" if made.spatial is not None else "")
        images += f"; {names} are those stored in {paths[0]}"
    print(f"{asked.out}: {images}")


def spread(paths: Sequence[Path]) -> list[Path]:
    """Replace each path that has wildcards by the files that match it, sorted by name. A path is kept as it is if a
    file has exactly that name. Raises ArbenchError if no file matches a path with wildcards."""
    found: list[Path] = []
    for path in paths:
        fits: Iterable[Path] = [path]
        if glob.has_magic(str(path)) and not os.path.lexists(path):
            fits = sorted(map(Path, glob.glob(str(path))))  # noqa: PTH207 - Path.glob takes no absolute pattern
            if not fits:
                raise ArbenchError(f"{path}: no file fits this pattern")
        found.extend(fits)
    return found


def _reading(asked: argparse.Namespace) -> "Reading":
    from harness.images.reading import Reading

    if asked.resize is not None and asked.resize > LARGEST_SIDE:
        raise ArbenchError(f"--resize {asked.resize} is out of range (valid: 1 to {LARGEST_SIDE} pixels)")
    return Reading(asked.resize, asked.images, asked.key)


def _extractor(asked: argparse.Namespace) -> "InceptionExtractor":
    from harness.extractors.inception import load_inception
    from harness.machine import devices

    device = devices.checked(asked.device)
    if asked.tf32 == "on" and device.type != "cuda":
        raise ArbenchError(f"--tf32 on: device {asked.device!r} has no TF32 (valid with --device cuda)")
    extractor = load_inception(asked.inception, asked.inception_sha256)
    extractor.network.to(device)
    extractor.tf32 = asked.tf32
    return extractor


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
