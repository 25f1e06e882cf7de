"""What a cluster needs and no Slurm is needed for: leases, faults, bundles, site files, the copy of the code."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import cli, files
from harness.cluster import leases, site
from harness.cluster.bundles import Rates, bundles
from harness.cluster.faults import blame, faults
from harness.cluster.leases import Lease
from harness.cluster.schedulers import Schedulers, UnreachableError
from harness.cluster.slurm import commands, options
from harness.cluster.status import standings
from harness.cluster.submitted import Submissions, since_start
from harness.cluster.task import Task
from harness.cluster.training import Training
from harness.cluster.watch import Watch
from harness.errors import ArbenchError
from harness.identity import source
from harness.jobs import bench
from harness.jobs.bench import Failure
from harness.jobs.plan import Job, TrialPlan
from harness.records.store import Store
from harness.trial import Trial
from tests.helpers import sweeping


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with sweeping.in_folder(tmp_path):
        yield tmp_path


def planned(folder: Path, images: int = 70) -> TrialPlan:
    """A plan of the fake method."""
    return TrialPlan(Trial.of("fake", "tiny", images=images), "fake", "k" * 64, folder, {}, "tiny", {})


def shards(folder: Path, images: int = 70) -> list[Job]:
    return [Job(planned(folder), "generate", range(start, start + 7)) for start in range(0, images, 7)]


def test_a_claim_keeps_others_off_until_it_is_released_or_stale(small: Path) -> None:
    lease = Lease(shards(small)[0])
    assert lease.take("one:0")
    assert not lease.take("two:0")
    assert lease.take("one:0")  # begun again by Slurm: its own
    assert lease.holder() == "one:0"
    lease.release()
    assert lease.holder() is None
    assert lease.take("two:0")
    old = time.time() - leases.STALE_S - 1
    os.utime(lease.path, (old, old))
    assert lease.take("three:0")
    lease.touch()
    assert lease.fresh()


def test_where_claims_show_late_both_tasks_get_one_and_the_last_stays(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Lease(shards(small)[0]), Lease(shards(small)[0])
    assert first.take("one:0")
    monkeypatch.setattr(Lease, "fresh", lambda self: False)  # what another machine may still see
    assert second.take("two:0")
    assert first.holder() == "two:0"


def test_a_fault_told_twice_of_one_occasion_counts_once(small: Path) -> None:
    job, other = shards(small)[:2]
    for occasion in ("a-0-0", "a-0-0", "b-1-0"):
        blame(job, Failure("generate", f"reason {occasion}", "log"), occasion)
    blame(other, Failure("generate", "another", "log"), "a-0-0")
    found = faults(small)
    assert [failure.reason for failure in found[job.part]] == ["reason a-0-0", "reason b-1-0"]
    assert len(found[other.part]) == 1
    job.plan.forgive()
    assert faults(small) == {}


def test_tasks_are_about_as_long_as_asked_for(small: Path) -> None:
    jobs = shards(small)
    sizes = [len(task) for task in bundles(jobs, lambda job: 60.0, 3, None, lambda job: False)]
    assert sizes == [3, 3, 3, 1]
    assert [len(task) for task in bundles(jobs, lambda job: 900.0, 3, None, lambda job: False)] == [1] * 10


def test_tasks_are_shorter_where_some_that_may_run_would_idle_but_not_much_shorter_than_a_start(small: Path) -> None:
    jobs = shards(small)
    assert len(bundles(jobs, lambda job: 60.0, 60, 5, lambda job: False)) == 5
    assert len(bundles(jobs, lambda job: 1.0, 60, 5, lambda job: False)) == 1


def test_without_rates_shards_are_spread_over_four_tasks_for_each_that_may_run(small: Path) -> None:
    assert [len(task) for task in bundles(shards(small), lambda job: None, 10, 1, lambda job: False)] == [3, 3, 3, 1]


def test_what_one_trial_took_tells_of_others_of_its_method_until_they_tell_themselves(small: Path) -> None:
    measured, other = planned(small), replace(planned(small), key="o" * 64, name="other")
    stranger = replace(other, key="s" * 64, name="stranger", trial=replace(other.trial, preset="lost"))
    submissions = Submissions(small)
    rates = Rates(Store(small), submissions)
    made = submissions.new("generate", [["any"]], 0, "code")
    asked = [Job(plan, "generate", range(5)) for plan in (measured, other, stranger)]
    rates.look([measured, other, stranger])
    assert [rates.job(job) for job in asked] == [None, None, None]
    made.tell(0, "done", job=Job(measured, "generate", range(7)).id, images=7, seconds=14.0)
    rates.look([])  # its trials are met before, and measured by now
    assert [rates.job(job) for job in asked] == [10.0, 10.0, None]
    made.tell(0, "done", job=Job(other, "generate", range(7)).id, images=7, seconds=28.0)
    rates.look([])
    assert [rates.job(job) for job in asked] == [10.0, 20.0, None]


def test_what_went_wrong_goes_alone_and_what_is_timed_goes_together(small: Path) -> None:
    jobs = [*shards(small), *(Job(planned(small), "timing") for _ in range(3))]
    bad = jobs[4]
    tasks = bundles(jobs, lambda job: 1.0, 10, None, lambda job: job is bad)
    assert [bad] in tasks
    assert jobs[-3:] in tasks
    assert sorted(job.id for task in tasks for job in task) == sorted(job.id for job in jobs)


def test_a_site_file_is_read_with_its_stages_and_a_sweeps_table_over_it() -> None:
    common = site.parse(
        {"partition": "gpu", "cpus": 4, "gpus": "a100:2", "timing": {"constraint": "h100"}}, "site.toml"
    )
    over = common.over({"memory": "64G", "timing": {"partition": "quiet"}})
    generate, timing = over.resources("generate"), over.resources("timing")
    assert generate.options == {
        "time": "1:00:00",
        "partition": "gpu",
        "cpus-per-task": 4,
        "gpus": "a100:2",
        "mem": "64G",
    }
    assert generate.gpus == 2
    assert timing.options["partition"] == "quiet"
    assert timing.options["constraint"] == "h100"
    assert timing.options["exclusive"] is True
    assert site.parse({"timing": {"exclusive": False}}, "").resources("timing").options == {"time": "1:00:00"}


def test_modules_setup_and_container_make_up_the_jobs_surroundings() -> None:
    found = site.parse({"modules": ["cuda/12"], "setup": ["ulimit -c 0"], "container": "apptainer exec x.sif"}, "")
    resources = found.resources("generate")
    assert resources.setup == ("module load cuda/12", "ulimit -c 0")
    assert resources.python == f"apptainer exec x.sif {sys.executable}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"cpus": 1, "cpus_per_task": 2}, "site.toml: 'cpus-per-task' is given twice"),
        ({"setup": "one line"}, "'setup' must be a list of strings"),
        ({"partition": ["a"]}, "'partition' must be a string, a number of up to 9 digits or true"),
        ({"comment": "a\nb"}, "'comment' must be a string"),
        ({"poll-seconds": 0}, "'poll-seconds' must be a whole number of seconds"),
        ({"timing": {"time": "soon"}}, r"site.toml: \[timing\]: time 'soon' is none of Slurm's"),
    ],
)
def test_a_wrong_site_file_is_refused_naming_place_and_key(content: dict[str, object], said: str) -> None:
    with pytest.raises(ArbenchError, match=said):
        site.parse(content, "site.toml")


def test_what_arbench_gives_sbatch_itself_cannot_be_in_a_site_file() -> None:
    with pytest.raises(ArbenchError, match=r"site.toml: 'array' is set by arbench itself"):
        options.check([site.parse({"array": "0-3"}, "site.toml")], ["generate"])


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30", 2), ("2:00:00", 120), ("1-0", 1440), ("1-2:03", 1563), ("1-02:03:04", 1564), ("0:59:01", 60)],
)
def test_time_limits_are_read_as_slurm_reads_them(text: str, minutes: int) -> None:
    assert site.minutes(text) == minutes


def test_the_copy_of_the_code_is_what_runs_from_it_and_its_hash_moves_with_it(small: Path) -> None:
    place = source.keep(small / "code")
    assert source.keep(small / "code") == place
    program = "import harness, tests.helpers.sweeping; print(harness.__file__); print(tests.helpers.sweeping.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert run.stdout.splitlines() == [str(place / "harness/__init__.py"), str(place / "tests/helpers/sweeping.py")], (
        run.stderr
    )
    assert not list(place.rglob("__pycache__/*.pyc")) or os.environ.get("PYTHONDONTWRITEBYTECODE") is None


def test_a_record_whose_parts_come_from_other_code_says_so(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["run", str(small / "small.toml"), "--store", str(small / "store"), "--workers", "0"]
    real = bench.Bench.do

    def stop_before_flops(self: bench.Bench, job: Job) -> None:
        if job.stage == "flops":
            raise KeyboardInterrupt
        real(self, job)

    with monkeypatch.context() as patch:
        patch.setattr(bench, "code_sha256", lambda: "0" * 64)
        patch.setattr(bench.Bench, "do", stop_before_flops)
        assert cli.main(command) == 130
    assert cli.main(command) == 0
    first, *others = Store(small / "store").records()
    assert first["provenance"]["stage_code"]["generate"] == "0" * 64
    assert f"generate, quality: made by other code ({'0' * 60})" in first["quality"]["flags"]
    assert all(set(record["provenance"]["stage_code"].values()) == {source.code_sha256()} for record in others)
    assert not any("other code" in flag for record in others for flag in record["quality"]["flags"])


def test_the_status_of_a_store_needs_no_cluster(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", str(small / "store")]) == 2
    assert "no sweep was run here" in capsys.readouterr().err
    cli.main(["run", str(small / "small.toml"), "--store", str(small / "store"), "--workers", "0", "--batch", "7"])
    capsys.readouterr()
    assert cli.main(["status", str(small / "store")]) == 0
    assert capsys.readouterr().out == "3 trials: 3 recorded, 0 open, 0 failed\n12 of 12 shards\n"


def test_the_status_counts_shards_of_whole_compute_batches_and_reads_lists_of_earlier_versions(small: Path) -> None:
    command = ["run", str(small / "small.toml"), "--store", str(small / "store"), "--workers", "0", "--batch", "10"]
    assert cli.main(command) == 0
    assert [one.shards for one in standings(Store(small / "store"))] == [(2, 2)] * 3  # 14 images each, two batches of 7
    (path,) = (small / "store" / "sweeps").glob("*.json")
    content = files.read_json(path)
    assert {trial.pop("compute_batch") for trial in content["trials"]} == {7}
    files.write_json(path, content)
    assert [one.shards for one in standings(Store(small / "store"))] == [(3, 3)] * 3


@pytest.mark.parametrize("option", ["--site=x.toml", "--max-parallel=2", "--no-wait", "--dry-run"])
def test_options_of_a_cluster_need_a_cluster(small: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert cli.main(["run", str(small / "small.toml"), "--store", str(small / "store"), option]) == 2
    assert f"{option.partition('=')[0]} needs --cluster, as in --cluster slurm" in capsys.readouterr().err


def test_a_tasks_last_life_begins_with_its_last_start() -> None:
    lives = [{"event": event} for event in ("start", "done", "interrupted", "start", "done")]
    assert since_start(lives) == [{"event": "done"}]
    assert since_start([]) is None


def test_a_shard_is_done_however_others_have_cut_it(small: Path) -> None:
    made = planned(small).shards
    made.folder.mkdir()
    for cut, whole in ((range(0, 12), False), (range(12, 17), False), (range(30, 40), False), (range(17, 21), True)):
        made.path(cut).touch()
        assert made.covers(range(10, 20)) is whole


def test_code_that_has_changed_since_the_run_began_is_not_copied(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**source._hashes(), "harness/cli/command.py": "0" * 64}
    monkeypatch.setattr(source, "_hashes", lambda: known)
    with pytest.raises(ArbenchError, match=r"harness/cli/command.py has changed since the run began; start it again"):
        source.keep(small / "code")
    assert not list((small / "code").iterdir())


def test_what_slurm_has_never_taken_blames_no_job(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "queue", lambda users: {})
    monkeypatch.setattr(commands, "ends", lambda jobs: {})
    cut_off, lost = shards(small)[:2]
    submissions = Submissions(small)
    submissions.new("generate", [[cut_off.id]], 0, "code")
    taken = submissions.new("generate", [[lost.id]], 0, "code")
    files.write_json(taken.folder / "submitted.json", {"job": "7"})
    watch = Watch(submissions, Schedulers(), 0, 0)
    assert watch.in_flight() == {cut_off.id, lost.id}
    for _ in range(2):
        assert watch.look({cut_off.id: cut_off, lost.id: lost})
    assert watch.in_flight() == set()
    assert list(faults(small)) == [lost.part]


def test_an_array_is_throttled_though_some_of_its_tasks_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\nprintf \'7_0-1: %s\\n7_2-9: %s\\n\' "$FIRST" "$REST" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FIRST", "Job has already finished")
    monkeypatch.setenv("REST", "No error")
    commands.throttle("7", 2)
    monkeypatch.setenv("REST", "Unable to contact slurm controller (connect failure)")
    with pytest.raises(UnreachableError, match="7_2-9: Unable to contact"):
        commands.throttle("7", 2)


def test_a_claim_that_cannot_be_written_keeps_nobody_off(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease(shards(small)[0])
    lease.path.parent.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *given, **named: os.fdopen(os.open("/dev/full", os.O_WRONLY), "w"))
        with pytest.raises(ArbenchError, match=r"cannot write .*generate-0-7.json: No space left on device"):
            lease.take("one:0")
    assert lease.take("two:0")


def test_training_goes_back_to_the_queue_until_three_lives_have_saved_nothing(small: Path) -> None:
    made = Submissions(small).new("train", [["name"]], 0, "code")
    training = Training(made, lambda: None, small)
    (small / "actvar-tiny").mkdir()
    assert training.checkpoint() is not None
    assert training.checkpoint() is not None
    (small / "actvar-tiny" / "state.pt").touch()
    assert training.checkpoint() is not None
    training._began = time.time() + 1
    assert [training.checkpoint() is not None for _ in range(3)] == [True, True, False]


def test_a_job_at_which_three_lives_of_a_task_were_interrupted_is_to_blame(small: Path) -> None:
    made, job = Submissions(small).new("generate", [["id"]], 0, "code"), shards(small)[0]
    task = Task(made, 0, bench.Bench((), small), [job], 2, 1e6, small)
    for released in (True, True, False):
        assert Lease(job).take(task.name)
        task._at, task._began = job, time.time()
        task.checkpoint()
        assert (Lease(job).holder() is None) is released
