"""Drivers of a cluster that come and go: what they take up, what they leave, and how they are ended. Slurm is played by
a dict of what waits or runs."""

import errno
import json
import os
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness import cli, files
from harness.cluster import executor, schedulers
from harness.cluster.executor import Cluster, Settings
from harness.cluster.schedulers import End, Inside, Queued, TaskId, Work
from harness.cluster.site import Resources, Site
from harness.cluster.slurm import commands
from harness.cluster.slurm.scheduler import Slurm
from harness.cluster.submitted import Submission, Submissions
from harness.errors import ArbenchError
from harness.jobs.bench import Bench
from harness.jobs.executors import Outcome
from harness.jobs.plan import Job, TrialPlan
from harness.records.store import Store
from harness.stages import STAGES
from harness.trial import Trial
from tests.helpers import sweeping


class FakeSlurm:
    """Takes all submissions; its queue is what a test makes of it."""

    name: ClassVar[str] = "slurm"
    defaults: ClassVar[Mapping[str, Any]] = {}
    stays: ClassVar[bool] = True

    def __init__(self) -> None:
        self.waiting: dict[TaskId, Queued] = {}
        self.end = End("CANCELLED", outside=True)
        self.submitted: list[Submission] = []
        self.after: list[list[str]] = []
        self.ended: list[list[str]] = []
        self.throttled: list[tuple[str | None, int]] = []

    def check(self, sites: Sequence[Site], stages: Sequence[str]) -> None: ...

    def most_tasks(self) -> int:
        return 1000

    def submit(self, made: Submission, how: Resources, code: Path, work: Sequence[Work], after: Sequence[str]) -> str:
        number = str(100 + len(self.submitted))
        self.submitted.append(made)
        self.after.append(list(after))
        for index in range(len(made.tasks)):
            self.waiting[made.id, index] = Queued(f"{number}_{index}", "PENDING", "Priority")
        return number

    def queue(self, submissions: Sequence[Submission]) -> dict[TaskId, Queued]:
        return dict(self.waiting)

    def ends(self, tasks: Iterable[tuple[Submission, int]]) -> dict[TaskId, End]:
        return {(one.id, index): self.end for one, index in tasks}

    def cancel(self, numbers: Collection[str]) -> None:
        self.ended.append(sorted(numbers))

    def throttle(self, made: Submission, parallel: int) -> None:
        self.throttled.append((made.number, parallel))

    def inside(self) -> Inside:
        return Inside(1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    with sweeping.in_place():
        made = FakeSlurm()
        monkeypatch.setattr(schedulers, "named", lambda name: made)
        monkeypatch.setattr(executor, "FILES_S", 0.0)
        yield made


def cluster(folder: Path, parallel: int | None = None) -> Cluster:
    site = Site(common={"poll-seconds": 0.001, "visibility-seconds": 0.001})
    settings = Settings(schedulers.named("slurm"), site, max_parallel=parallel)
    return Cluster(Bench((), folder), Store(folder), settings, lambda line: None)


def planned(folder: Path, images: int = 28) -> TrialPlan:
    stages = {stage: folder / f"{stage}.json" for stage in STAGES}
    return TrialPlan(Trial.of("fake", "tiny", images=images), "fake", "k" * 64, folder / "work", stages, "tiny", {})


def waves(plan: TrialPlan) -> list[list[Job]]:
    shards = [Job(plan, "generate", range(start, start + 7)) for start in range(0, plan.trial.images, 7)]
    return [shards, [Job(plan, "quality")], [Job(plan, "timing")]]


def leave(folder: Path, several: Sequence[Sequence[Job]]) -> list[Outcome]:
    """What a driver with --no-wait does."""
    one = cluster(folder)
    failures = one.given_up([job for wave in several for job in wave])
    one.leave(several, {"code": "x"})
    return failures


def turns(one: Cluster, jobs: Sequence[Job], between: Callable[[int], Any]) -> None:
    """Run a driver; ``between`` is called with the number of the turn, each time that it looks at the store."""
    real, count = one._settled, 0

    def settled(queue: deque[Job]) -> Iterator[Any]:
        nonlocal count
        count += 1
        between(count)
        return real(queue)

    one._settled = settled  # type: ignore[method-assign]
    list(one.run(deque(jobs)))


def test_a_driver_that_has_only_taken_up_anothers_tasks_ends_with_them(fake: FakeSlurm, tmp_path: Path) -> None:
    shards = waves(planned(tmp_path))[0]
    with pytest.raises(KeyboardInterrupt):
        turns(cluster(tmp_path), shards, lambda turn: _interrupt() if fake.submitted else None)
    count = len(fake.submitted)

    def cancel(turn: int) -> None:
        if turn == 3:
            assert cli.main(["cancel", str(tmp_path)]) == 0
            fake.waiting.clear()
        assert turn < 9

    with pytest.raises(ArbenchError, match="`arbench cancel` has ended this run"):
        turns(cluster(tmp_path), shards, cancel)
    assert len(fake.submitted) == count  # nothing was submitted again


def test_what_a_driver_submits_while_it_is_being_cancelled_is_ended_too(fake: FakeSlurm, tmp_path: Path) -> None:
    shards = waves(planned(tmp_path))[0]
    real = fake.submit

    def late(*given: Any) -> str:
        Submissions(tmp_path).cancel()  # and squeue does not show it yet
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake, "submit", late)
        with pytest.raises(ArbenchError, match="`arbench cancel` has ended this run"):
            turns(cluster(tmp_path), shards, lambda turn: None)
    assert fake.ended == [["100"]]


def test_cancelling_where_nothing_was_submitted_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cancel", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: nothing was submitted to a cluster from here" in capsys.readouterr().err


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_what_is_left_to_the_cluster_waits_for_what_an_earlier_driver_has_under_way(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    all_waves = waves(planned(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        turns(cluster(tmp_path), all_waves[0], lambda turn: _interrupt() if fake.submitted else None)
    (shards,) = fake.submitted
    leave(tmp_path, all_waves)
    _, quality, timing = fake.submitted
    assert (quality.stage, fake.after[1]) == ("quality", [str(shards.number)])
    assert (timing.stage, fake.after[2]) == ("timing", [str(quality.number)])
    assert timing.records


def test_a_timing_under_way_whose_driver_is_gone_is_followed_by_one_that_writes_the_records(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    timing = waves(planned(tmp_path))[2]
    with pytest.raises(KeyboardInterrupt):
        turns(cluster(tmp_path), timing, lambda turn: _interrupt() if fake.submitted else None)
    leave(tmp_path, [[], [], timing])
    first, second = fake.submitted
    assert (first.records, second.records) == (False, True)
    assert fake.after[1] == [str(first.number)]
    leave(tmp_path, [[], [], timing])  # again: all is on its way
    assert len(fake.submitted) == 2


def assert_submitted_anew(fake: FakeSlurm, folder: Path, meanwhile: Callable[[], object]) -> None:
    """What is left to the cluster, and left to it again after ``meanwhile``, is submitted twice in the same way."""
    all_waves = waves(planned(folder))
    leave(folder, all_waves)
    count = len(fake.submitted)
    meanwhile()
    leave(folder, all_waves)
    first, second = fake.submitted[:count], fake.submitted[count:]
    assert [one.tasks for one in first] == [one.tasks for one in second]


def test_what_is_left_to_the_cluster_and_dies_there_is_submitted_anew(fake: FakeSlurm, tmp_path: Path) -> None:
    assert_submitted_anew(fake, tmp_path, lambda: fake.waiting.clear())  # all of it was cancelled by hand, say


def gone_at_the_third_look(fake: FakeSlurm, patch: pytest.MonkeyPatch, looks: list[Sequence[Submission]]) -> None:
    """Have nothing left in the queue from the third look on. looks: gets what each look asks for."""

    def queue(submissions: Sequence[Submission]) -> dict[TaskId, Queued]:
        looks.append(submissions)
        if len(looks) == 3:
            fake.waiting.clear()
        return dict(fake.waiting)

    patch.setattr(fake, "queue", queue)


def test_a_task_that_slurm_is_just_ending_is_waited_for(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[Submission]] = []

    def end_all() -> None:
        fake.waiting = {task: Queued(one.job, "COMPLETING", ending=True) for task, one in fake.waiting.items()}
        gone_at_the_third_look(fake, monkeypatch, asked)

    assert_submitted_anew(fake, tmp_path, end_all)
    assert len(asked) >= 4


def test_what_was_cancelled_and_is_not_gone_yet_is_waited_for_and_then_submitted(
    fake: FakeSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[Submission]] = []

    def cancel() -> None:
        assert cli.main(["cancel", str(tmp_path)]) == 0
        gone_at_the_third_look(fake, monkeypatch, asked)

    assert_submitted_anew(fake, tmp_path, cancel)
    assert len(asked) >= 3


def test_what_is_left_to_the_cluster_is_submitted_whole_until_it_was_tried_often_enough(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    all_waves = waves(planned(tmp_path))
    fake.end = End("FAILED (exit code 1:0)")
    for _ in range(3):
        assert leave(tmp_path, all_waves) == []
        shards = [job for one in fake.submitted if one.stage == "generate" for task in one.tasks for job in task]
        assert sorted(shards) == sorted(job.id for job in all_waves[0])  # none probes for the others
        fake.waiting.clear()
        fake.submitted.clear()
    (job, failure), *_ = cluster(tmp_path).given_up([job for wave in all_waves for job in wave])
    assert failure is not None
    assert failure.reason == "the task ended before the job was done: FAILED (exit code 1:0) (tried 3 times)"


def test_a_driver_started_again_knows_how_many_tasks_the_one_before_had_let_run(
    fake: FakeSlurm, tmp_path: Path
) -> None:
    shards = waves(planned(tmp_path, images=70))[0]
    made = Submissions(tmp_path).new("generate", [[job.id] for job in shards], 1, "code")
    made.accepted(fake.submit(made, Resources({}, (), "python", 90), tmp_path, [], []))
    turn_of_first = cluster(tmp_path, parallel=4)
    with pytest.raises(KeyboardInterrupt):
        turns(turn_of_first, shards, lambda turn: _interrupt() if fake.throttled else None)
    assert fake.throttled == [(str(made.number), 4)]
    with pytest.raises(KeyboardInterrupt):
        turns(cluster(tmp_path, parallel=4), shards, lambda turn: _interrupt() if turn > 4 else None)
    assert fake.throttled == [(str(made.number), 4)]
    assert cluster(tmp_path, parallel=4)._free() == 0


def test_squeue_is_asked_about_all_who_have_submitted_to_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[int]] = []

    def queue(users: set[int]) -> dict[TaskId, Queued]:
        asked.append(set(users))
        return {}

    monkeypatch.setattr(commands, "queue", queue)
    made = Submissions(tmp_path).new("generate", [["k:x"]], 0, "code")
    monkeypatch.setattr(os, "getuid", lambda: 4321)  # somebody else's driver, on the same store
    assert Slurm().queue([made]) == {}
    assert asked == [{4321, tmp_path.stat().st_uid}]


def test_squeue_is_given_numbers_of_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "squeue"
    program.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\necho "arbench-one|7_3|3|RUNNING|None"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert commands.queue({1000, 0}) == {("one", 3): Queued("7_3", "RUNNING", "None")}
    assert "--user=0,1000 --array" in (tmp_path / "asked").read_text()


def test_a_file_that_another_machine_replaces_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"a": 1}))
    real, tries = Path.read_bytes, []

    def stale_at_first(self: Path) -> bytes:
        tries.append(self)
        if len(tries) == 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", stale_at_first)
    assert files.read_json(path) == {"a": 1}
    assert len(tries) == 2
