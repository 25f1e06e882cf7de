"""Everything on the command line that is for clusters: options of ``run`` and ``train``, and the commands ``status``
and ``cancel``."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import ArbenchError

if TYPE_CHECKING:
    from harness.cluster.executor import Settings
    from harness.cluster.training import Launch
from harness.cli.options import above_zero, count

NEED_A_CLUSTER = ("site", "max_parallel", "no_wait", "dry_run")


def add(commands: Any) -> None:
    """Add ``status`` and ``cancel`` to the commands of arbench."""
    status = commands.add_parser("status", help="how far the sweeps of a store are, and what failed why")
    status.add_argument("store", type=Path, metavar="DIR", help="the store")
    status.add_argument("--watch", action="store_true", help="again and again, until nothing is open")
    status.add_argument("--every", type=count(1), default=10, metavar="S", help="seconds (default: %(default)s)")
    status.set_defaults(run=_status)
    cancel = commands.add_parser("cancel", help="end all jobs on the cluster that belong to a store")
    cancel.add_argument("store", type=Path, metavar="DIR", help="the store, or the folder of training runs")
    cancel.set_defaults(run=_cancel)


def add_options(parser: argparse.ArgumentParser, about: str) -> Any:
    """Add the group of cluster options that ``run`` and ``train`` have in common. Returns the group.

    about: the help text of the group
    """
    cluster = parser.add_argument_group("on a cluster", f"{about}; see docs/cluster.md")
    cluster.add_argument("--cluster", metavar="NAME", help="where it is done: slurm, local, or a package's scheduler")
    cluster.add_argument(
        "--site", type=Path, metavar="FILE", help="site file: partition, account, gpus, memory, time..."
    )
    cluster.add_argument(
        "--retries", type=count(0), default=2, metavar="N", help="tries again after a failure (default: %(default)s)"
    )
    cluster.add_argument("--no-wait", action="store_true", help="submit everything and return")
    return cluster


def add_sweep_options(cluster: Any) -> None:
    """Add the cluster options that only ``run`` has.

    cluster: the group to which the options are added
    """
    cluster.add_argument(
        "--shard-minutes",
        type=above_zero,
        default=10.0,
        metavar="M",
        help="work of a job of the cluster (default: %(default)g)",
    )
    cluster.add_argument("--max-parallel", type=count(1), metavar="N", help="jobs at once (default: no bound)")
    cluster.add_argument("--dry-run", action="store_true", help="print what would be submitted, and its hours")


def settings(asked: argparse.Namespace) -> "Settings | None":
    """The settings with which ``run`` uses a cluster; None without ``--cluster``. Raises ArbenchError if ``--cluster``
    is missing, but another option needs it."""
    if not _on_a_cluster(asked):
        return None
    from harness.cluster.executor import Settings
    from harness.cluster.schedulers import named
    from harness.cluster.site import load

    scheduler = named(asked.cluster)
    site = load(asked.site, scheduler.defaults)
    return Settings(scheduler, site, asked.shard_minutes, asked.max_parallel, asked.retries)


def launch(asked: argparse.Namespace) -> "Launch | None":
    """How ``train`` is to use the cluster; None without ``--cluster``. Raises ArbenchError in the same case as
    ``settings``."""
    if not _on_a_cluster(asked):
        return None
    from harness.cluster.schedulers import named
    from harness.cluster.site import load
    from harness.cluster.training import Launch

    scheduler = named(asked.cluster)
    return Launch(scheduler, load(asked.site, scheduler.defaults), asked.retries, not asked.no_wait)


def _on_a_cluster(asked: argparse.Namespace) -> bool:
    given = [name for name in NEED_A_CLUSTER if getattr(asked, name, None)]
    if asked.cluster is None and given:
        raise ArbenchError(f"--{given[0].replace('_', '-')} needs --cluster, as in --cluster slurm")
    return asked.cluster is not None


def _status(asked: argparse.Namespace) -> None:
    from harness.cluster.status import standings, status
    from harness.records.store import Store

    store = Store(asked.store)
    if not asked.watch:
        print(status(store))
        return
    clear = "\033[2J\033[H" if sys.stdout.isatty() else ""
    while True:
        trials = list(standings(store))
        print(f"{clear}{time.strftime('%H:%M:%S')}  {asked.store}\n{status(store)}", flush=True)
        if all(trial.state != "open" for trial in trials):
            return
        time.sleep(asked.every)


def _cancel(asked: argparse.Namespace) -> None:
    from harness.cluster.status import cancel

    print(f"{cancel(asked.store)} tasks of {asked.store} ended")
