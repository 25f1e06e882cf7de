"""A container's CPU quota, of either version of control groups, is heeded; made-up trees stand for /proc and /sys."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import cli
from harness.machine import cores
from tests.helpers import sweeping

TWO = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"
ONE = "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"


def tree(root: Path, groups: str, mounts: str, quotas: dict[str, str]) -> Path:
    """A file system with this process in ``groups``; quotas: content by file below /sys/fs/cgroup."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n{mounts}")
    for name, content in quotas.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "mounts", "quotas", "share"),
    [
        ("0::/\n", TWO, {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", TWO, {"cpu.max": "max 100000"}, None),
        ("0::/\n", TWO, {}, None),
        ("0::/a/b\n", TWO, {"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, 1.0),
        ("0::/a/b\n", TWO, {"a/cpu.max": "max 100000", "a/b/cpu.max": "25000 50000"}, 0.5),
        ("0::/a/b\n", TWO, {"cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3.0),
        ("0::/../outside\n", TWO, {"cpu.max": "200000 100000"}, 2.0),
        ("0::/docker/x\n", TWO.replace(" / /sys", " /docker/x /sys"), {"cpu.max": "200000 100000"}, 2.0),
        ("0::/a b\n", TWO.replace("/sys/fs/cgroup", "/sys/fs/cgroup/a\\040b"), {"a b/cpu.max": "100000 100000"}, 1.0),
        ("0::/\n", TWO, {"cpu.max": "nonsense"}, None),
        ("0::/\n", TWO, {"cpu.max": "0 0"}, None),
        ("nonsense\n", "more nonsense - cgroup2\n", {"cpu.max": "100000 100000"}, None),
        (
            "4:cpu,cpuacct:/job\n1:name=systemd:/\n",
            ONE.format(top="/"),
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "350000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            3.5,
        ),
        (
            "4:cpu,cpuacct:/docker/x\n",
            ONE.format(top="/docker/x"),
            {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        (
            "4:cpu,cpuacct:/job\n",
            ONE.format(top="/"),
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "-1", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            None,
        ),
        (
            "4:cpu,cpuacct:/out/in\n0::/\n",
            ONE.format(top="/") + TWO,
            {
                "cpu,cpuacct/out/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/out/cpu.cfs_period_us": "100000",
                "cpu,cpuacct/out/in/cpu.cfs_quota_us": "800000",
                "cpu,cpuacct/out/in/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
    ],
)
def test_the_smallest_quota_of_all_nested_groups_holds(
    tmp_path: Path, groups: str, mounts: str, quotas: dict[str, str], share: float | None
) -> None:
    assert cores.quota(tree(tmp_path, groups, mounts, quotas)) == share


@pytest.mark.parametrize(
    ("allowed", "content", "used"), [(8, "150000", 1), (8, "20000", 1), (8, "900000", 8), (2, "max", 2)]
)
def test_as_many_cores_are_used_as_the_quota_lets_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, content: str, used: int
) -> None:
    monkeypatch.setattr(cores, "allowed", lambda: allowed)
    assert cores.cores(tree(tmp_path, "0::/\n", TWO, {"cpu.max": f"{content} 100000"})) == used


def test_without_control_groups_all_cores_are_used(tmp_path: Path) -> None:
    assert cores.quota(tmp_path) is None
    assert cores.cores(tmp_path) == cores.allowed()


def test_torch_has_as_many_threads_as_the_quota_lets_run(tmp_path: Path) -> None:
    root = tree(tmp_path, "0::/\n", TWO, {"cpu.max": "100000 100000"})
    program = (
        f"from pathlib import Path; from harness.machine.cores import heed_quota; heed_quota(Path({str(root)!r}))\n"
        "import torch; print(torch.get_num_threads())"
    )
    env = {name: value for name, value in os.environ.items() if name not in cores.THREADS}
    found = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1"]


def test_what_the_user_has_set_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    cores.heed_quota(tree(tmp_path, "0::/\n", TWO, {"cpu.max": "100000 100000"}))
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_env_tells_the_quota_and_the_cores_that_are_used(capsys: pytest.CaptureFixture[str]) -> None:
    with sweeping.in_place():
        assert cli.main(["env"]) == 0
    assert '"cores": {\n  "allowed": ' in capsys.readouterr().out
