"""What the site file says reaches the jobs, or is refused before anything is submitted."""

import pytest

from harness import cli
from tests.helpers import sweeping
from tests.helpers.places import PATIENCE_S, Place, until
from tests.slurm.conftest import Slurm, submitted


def test_a_stages_table_goes_over_the_rest_and_timing_is_alone_on_its_node(
    place: Place, cluster: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ("hold = true", 'constraint = "quiet"', "[timing]", 'constraint = "loud"', "")
    (place.folder / "site.toml").write_text("\n".join(lines))
    assert cli.main(place.on_cluster("--no-wait")) == 0
    jobs = [job for job in cluster.call("scontrol", "show", "job").split("\n\n") if "JobState=PENDING" in job]
    generate = next(job for job in jobs if "Features=quiet" in job)
    assert "OverSubscribe=OK" in generate
    timing = next(job for job in jobs if "Features=loud" in job)
    assert "OverSubscribe=NO" in timing  # alone on its node
    capsys.readouterr()
    assert cli.main(["status", str(place.store)]) == 0
    assert "pending (" in capsys.readouterr().out
    assert cli.main(["cancel", str(place.store)]) == 0
    until(lambda: not cluster.call("squeue", "--noheader"), PATIENCE_S)


def test_modules_setup_lines_and_container_surround_the_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    told, inside = place.folder / "told", place.folder / "inside"
    monkeypatch.setenv("BASH_FUNC_module%%", f'() {{ echo "module $*" >>{told}; }}')
    place.sweep("[method.fake]\ngrid = { steps = [1] }", images=7)
    setup = f'["echo setup >>{told}", "export OMP_NUM_THREADS=1"]'
    place.site('modules = ["cuda/12.4", "python"]', f'container = "env {sweeping.LOG}={inside}"', setup=setup, cpus="2")
    assert place.run("--max-parallel", "1", "--shard-minutes", "60") == 0
    lines = told.read_text().splitlines()
    assert lines[0] == "module load cuda/12.4 python"  # tried before anything was submitted
    assert lines[1:4] == ["module load cuda/12.4", "module load python", "setup"]
    assert lines.count("setup") >= len(submitted(place)) >= 2
    assert inside.read_text().startswith(f"{sweeping.COMPUTED} 1 ")
    assert not (place.folder / "sampled").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("partiton = 'main'", "unknown option 'partiton'; did you mean 'partition'?"),
        ("partition = 'mian'", "unknown partition 'mian'; did you mean 'main'? (valid: high, main)"),
        ("account = 'visoin'", "(valid: root, vision)"),
        ("constraint = 'silent'", "(valid: loud, quiet)"),
        ("output = 'mine.log'", "'output' is set by arbench itself"),
        ("clusters = 'other'", "'clusters' is set by arbench itself"),
        ("container = 'no-such-program image.sif'", "container: no command 'no-such-program' here"),
    ],
)
def test_what_the_cluster_does_not_have_is_refused_before_submission(
    place: Place, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    (place.folder / "site.toml").write_text(line + "\n")
    assert cli.main(place.on_cluster()) == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert said in shown
    assert str(place.folder / "site.toml") in shown
    assert not submitted(place)
    assert not place.store.exists()


def test_a_limit_on_submitted_jobs_slows_a_sweep_down_and_fails_nothing(
    place: Place, cluster: Slurm, capfd: pytest.CaptureFixture[str]
) -> None:
    place.sweep("[method.fake]", images=14)
    cluster.limit_submitted(2)
    try:
        assert place.run() == 0
    finally:
        cluster.limit_submitted(-1)
    assert "job submit limit" in capfd.readouterr().err
    assert [record["status"] for record in place.records()] == ["done"]
    assert not list(place.store.glob("work/*/faults/*"))
