"""Sweeps submitted from inside a job: what is submitted is not taken for a part of it."""

import sys
from collections.abc import Callable

import pytest

from harness.cluster.submitted import Submissions
from tests.helpers.places import PATIENCE_S, Place, until
from tests.slurm.conftest import Slurm

PARENT = ("--ntasks=1", "--cpus-per-task=2")
"""The parent has two cores; what it submits is given one by default."""
SITE = f"""
python = "{sys.executable} -m tests.helpers.job"
memory = "300M"
time = "20"
poll-seconds = 1
visibility-seconds = 2
[timing]
exclusive = false
"""
ONE = "[method.fake]\ngrid = { steps = [1] }"


def by_srun(cluster: Slurm, driver: list[str]) -> None:
    cluster.call("srun", *PARENT, *driver)


def by_an_array(cluster: Slurm, driver: list[str]) -> None:
    wrapped = f"--wrap=srun {' '.join(driver)}"
    cluster.call("sbatch", "--wait", "--array=3", "--output=/dev/null", *PARENT, wrapped)


@pytest.mark.parametrize("parent", [by_srun, by_an_array])
def test_a_sweep_submitted_from_inside_a_job_runs_in_jobs_of_its_own_with_their_own_threads(
    place: Place, cluster: Slurm, parent: Callable[[Slurm, list[str]], None]
) -> None:
    place.sweep(ONE)
    (place.folder / "site.toml").write_text(SITE)
    driver = [sys.executable, "-m", "tests.helpers.sweeping", *place.on_cluster("--random-weights")]
    parent(cluster, [*driver, *([] if parent is by_srun else ["--no-wait"])])
    until(lambda: place.records() or not cluster.call("squeue", "--noheader"), PATIENCE_S)
    (record,) = place.records()
    assert record["status"] == "done", record["failure"]
    assert record["timing"]["threads"] == 1
    submissions = Submissions(place.store).all()
    assert [one.stage for one in submissions] == ["flops", "timing"]
    for one in submissions:
        (start,) = (event for event in one.events(0) if event["event"] == "start")
        assert start["JOB_ID"] == one.number
