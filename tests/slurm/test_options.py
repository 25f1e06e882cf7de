"""Every option of sbatch that a site file may have reaches the job."""

from collections.abc import Iterator

import pytest

from harness import cli
from harness.cluster import site
from harness.cluster.slurm import commands, options
from harness.cluster.submitted import Submissions
from tests.helpers.places import Place
from tests.slurm.conftest import Slurm

USUAL = {
    'partition = "high"': "Partition=high",
    'account = "vision"': "Account=vision",
    'qos = "fast"': "QOS=fast",
    "cpus = 2": "CPUs/Task=2",
    'memory = "123M"': "MinMemoryNode=123M",
    'time = "1:23:00"': "TimeLimit=01:23:00",
    'time-min = "10"': "TimeMin=00:10:00",
    'begin = "now+1hour"': "EligibleTime=",
    'deadline = "now+5days"': "Deadline=2",
    'constraint = "quiet"': "Features=quiet",
    'gres = "gpu:2"': "gres:gpu:2",
    'gres_flags = "enforce-binding"': "GresEnforceBind=Yes",
    "nice = 7": "Nice=7",
    'comment = "for the paper"': "Comment=for the paper",
    'mail-user = "someone@example.org"': "MailUser=someone@example.org",
    'mail_type = "FAIL"': "MailType=FAIL",
    "nodes = 1": "NumNodes=1",
    "contiguous = true": "Contiguous=1",
    "delay-boot = 3": "DelayBoot=00:03:00",
    'cpu-freq = "low"': "CPU_max_freq=Low",
    'licenses = "matlab:2"': "Licenses=matlab:2",
    'tmp = "0"': "MinTmpDiskNode=0",
    "mincpus = 2": "MinCPUsNode=2",
    "requeue = true": "Requeue=1",
    'power = "level"': "Power=LEVEL",
    'exclude = "spare"': "ExcNodeList=spare",
    'switches = "1@3"': "Switches=1@00:03:00",
    'profile = "none"': "",
    'propagate = "NONE"': "",
    'wckey = "paper"': "",
    "use-min-nodes = true": "",
    "spread-job = true": "SpreadJob=Yes",
    "no-kill = true": "",
}
"""What most site files may have: line -> what `scontrol show job` then says, if it says it at all."""
GPUS = {
    "hold = true": "Reason=JobHeldUser",
    "gpus = 2": "TresPerJob=gres:gpu:2",
    'gpu-bind = "closest"': "TresBind=gpu:closest",
    'gpu-freq = "low"': "TresFreq=gpu:low",
    "cpus-per-gpu = 2": "CpusPerTres=gres:gpu:2",
    'mem-per-gpu = "77M"': "MemPerTres=gres:gpu:77",
    "no-requeue = true": "Requeue=0",
    "overcommit = true": "",
    'bb = "capacity=1G"': "BurstBuffer=capacity=1G",
}
TASKS = {
    "hold = true": "Reason=JobHeldUser",
    "ntasks = 2": "NumTasks=2",
    "ntasks-per-node = 2": "NtasksPerN:B:S:C=2:0:",
    "gpus-per-node = 2": "TresPerNode=gres:gpu:2",
    'mem-per-cpu = "99M"': "MinMemoryCPU=99M",
    'distribution = "cyclic"': "",
    "oversubscribe = true": "OverSubscribe=YES",
    'mcs-label = "x"': "MCS_label=x",
    'cluster-constraint = "x"': "ClusterFeatures=x",
    "bbf = '{place}/bbf'": "",
    "nodefile = '{place}/nodes'": "ReqNodeList={node}",
}
LAYOUT = {
    "hold = true": "Reason=JobHeldUser",
    "exclusive = true": "OverSubscribe=NO",
    "gpus-per-task = 1": "TresPerTask=gres:gpu:1",
    "ntasks-per-socket = 1": "NtasksPerN:B:S:C=0:0:1:",
    "sockets-per-node = 1": "Socks/Node=1",
    "cores-per-socket = 1": "ReqB:S:C:T=0:0:1:1",
    "threads-per-core = 1": "ReqB:S:C:T=0:0:1:1",
    "core-spec = 1": "CoreSpec=1",
    "nodelist = '{node}'": "ReqNodeList={node}",
    'chdir = "/tmp"': "WorkDir=/tmp",
    'input = "/dev/zero"': "StdIn=/dev/zero",
    'export = "ALL"': "",
    "get-user-env = true": "",
    "ignore-pbs = true": "",
    "uid = 0": "UserId=root(0)",
    "gid = 0": "GroupId=root(0)",
}
REST = {
    "priority = 77": "Priority=77",
    'begin = "now+1hour"': "EligibleTime=",
    'extra-node-info = "1:1:1"': "ReqB:S:C:T=0:0:1:1",
    "thread-spec = 1": "ThreadSpec=1",
    "ntasks-per-core = 1": "NtasksPerN:B:S:C=0:0:*:1",
    "gpus-per-socket = 1": "TresPerSocket=gres:gpu:1",
    "reboot = true": "Reboot=1",
    "export-file = '{place}/exported'": "",
}
RESERVED = {"hold = true": "Reason=JobHeldUser", 'reservation = "kept"': "Reservation=kept"}
SHARED = ("[timing]", "exclusive = false")
"""With a core reserved, no node can be had alone."""
GROUPS = {"usual": USUAL, "gpus": GPUS, "tasks": TASKS, "layout": LAYOUT, "rest": REST, "reserved": RESERVED}


def names(group: dict[str, str]) -> set[str]:
    """The options that a group's lines are about, as sbatch calls them."""
    return {site.ALIASES.get(name, name.replace("_", "-")) for name in (line.split(" = ")[0] for line in group)}


@pytest.fixture
def reserved(cluster: Slurm) -> Iterator[None]:
    """A reservation of one of the node's cores, called kept."""
    what = ("starttime=now", "duration=infinite", "users=root", f"nodes={cluster.node}", "corecnt=1")
    cluster.call("scontrol", "create", "reservation", "reservationname=kept", *what)
    yield
    cluster.empty()
    cluster.call("scontrol", "delete", "reservationname=kept")


def test_the_options_below_are_all_that_this_clusters_sbatch_has(cluster: Slurm) -> None:
    tried = set().union(*map(names, GROUPS.values()))
    assert tried == commands.options() - options.OURS - {"container"}  # which is arbench's own


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_reaches_the_job(
    place: Place, cluster: Slurm, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest, group: str
) -> None:
    if group == "reserved":
        request.getfixturevalue("reserved")
    for name, content in (("nodes", cluster.node), ("bbf", "#"), ("exported", "A=b\0")):
        (place.folder / name).write_text(content)
    words = {"{place}": str(place.folder), "{node}": cluster.node}
    asked = {fill(line, words): fill(sign, words) for line, sign in GROUPS[group].items()}
    (place.folder / "site.toml").write_text("\n".join(["[generate]", *asked, *SHARED, ""]))
    assert cli.main(place.on_cluster("--no-wait")) == 0, capfd.readouterr().err
    number = next(one.number for one in Submissions(place.store).all() if one.stage == "generate")
    assert number is not None
    shown = cluster.call("scontrol", "show", "job", number).split("\n\n")[0]
    assert [sign for sign in asked.values() if sign not in shown] == []
    script = cluster.call("scontrol", "write", "batch_script", number, "-")
    given = {line.removeprefix("#SBATCH --").split("=")[0] for line in script.splitlines() if "#SBATCH" in line}
    assert names(GROUPS[group]) - given == set()


def fill(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
