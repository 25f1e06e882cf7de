"""The command ``run``, which measures the trials of a sweep."""

import argparse
import sys
from pathlib import Path
from typing import Any

from harness.cli import cluster
from harness.cli.options import add_checkpoint, add_only, count
from harness.progress import counted

SHARD = "images a shard, rounded up to whole compute batches; moves no image (default: %(default)s)"


def add(commands: Any) -> None:
    """Add ``run`` to the commands of arbench."""
    add = commands.add_parser("run", help="measure the trials of a sweep; what is recorded is skipped")
    add.add_argument("sweep", type=Path, metavar="SWEEP", help="a sweep file, or the name of a bundled sweep")
    add.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of records, made if need be")
    add.add_argument(
        "--workers", type=count(0), metavar="N", help="processes (default: one a core or GPU; 0: this one alone)"
    )
    add.add_argument("--images", type=count(1), metavar="N", help="images a trial, in place of the sweep's number")
    add.add_argument("--batch", type=count(1), default=250, metavar="N", help=SHARD)
    add_only(add)
    add_checkpoint(add)
    add.add_argument(
        "--no-timing",
        action="store_true",
        help="records without timing, for shared machines; a later run adds it",
    )
    add.add_argument(
        "--report", type=Path, metavar="DIR", help="write the report there: while the run goes on, and at its end"
    )
    add.add_argument("--retry-failed", action="store_true", help="try again what is recorded as failed")
    add.add_argument(
        "--inception", type=Path, metavar="FILE", help="weights-inception-2015-12-05-6726825d.pth: for Inception FID"
    )
    add.add_argument(
        "--reference",
        type=Path,
        metavar="REF",
        help="of data that do not ship with arbench: guided-diffusion's .npz, or one of 'arbench reference build'",
    )
    add.add_argument("--device", default="cpu", metavar="D", help="cpu, cuda (all GPUs), cuda:1 (default: cpu)")
    add.add_argument("--precision", metavar="P", help="of the networks, fp32 or bf16, in place of the sweep's")
    add.add_argument("--tf32", metavar="T", help="TF32 for products of fp32 on a GPU, off or on; as --precision")
    add.add_argument(
        "--compute-batch",
        type=int,
        metavar="N",
        help="images that are computed at once, a part of the key; as --precision",
    )
    add.add_argument(
        "--random-weights",
        action="store_true",
        help="FLOPs and time without checkpoints: no images, no scores, rows marked",
    )
    cluster.add_sweep_options(cluster.add_options(add, "the same trials, in jobs of a scheduler"))
    add.set_defaults(run=_run)


def _run(asked: argparse.Namespace) -> int:
    from harness import sweep
    from harness.records.store import Store
    from harness.run import driver
    from harness.run.selection import only_of, parse_checkpoints

    store = Store(asked.store)
    options = driver.Options(
        workers=_workers(asked),
        batch=asked.batch,
        retry_failed=asked.retry_failed,
        inception=asked.inception,
        reference=asked.reference,
        device=asked.device,
        cluster=cluster.settings(asked),
        wait=not asked.no_wait,
        timing=not asked.no_timing,
        checkpoints=parse_checkpoints(asked.checkpoint),
        report=asked.report,
    )
    given = {name: getattr(asked, name) for name in ("precision", "tf32", "compute_batch")}
    setup: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    setup |= {"weights": "random"} if asked.random_weights else {}
    loaded = only_of(sweep.load(asked.sweep, asked.images, setup), asked.only)
    if asked.dry_run:
        print(driver.prepared(loaded, store, options).outlook())
        return 0
    tally = driver.run(loaded, store, options)
    print(f"{tally}; store: {asked.store}")
    if not tally.failed:
        return 0
    hint = "" if asked.retry_failed else "; --retry-failed tries them again"
    records = "its record says" if tally.failed == 1 else "their records say"
    print(f"arbench: {counted(tally.failed, 'trial')} failed, {records} why{hint}", file=sys.stderr)
    return 1


def _workers(asked: argparse.Namespace) -> int:
    """The number of worker processes on this machine. With ``--cluster`` it is 0, since this machine may lack the
    devices that the cluster has."""
    from harness.machine import devices

    if asked.cluster is not None:
        return 0
    return devices.workers(asked.device) if asked.workers is None else asked.workers
