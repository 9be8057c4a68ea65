"""The batch script for Slurm: what it starts, in which order, and that it ends all of it whatever happens.

There is no Slurm here. Small programs stand in for `srun`, `scontrol`, `ray` and `clipsieve`: they do on this machine what the
real ones do on many, and write down what they were called with. The last test puts the real Ray behind the stand-ins for Slurm.
"""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from clipsieve.cli.scan import command as scan
from waiting import wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy/slurm.sh"

STAND_INS = {
    # One step: the options go, and what is left runs here in place of a node. Like srun, it ends what it runs when it is ended.
    "srun": """
echo "srun $*" >> "$BOOK/calls"
output=
while [ $# -gt 0 ]; do
    case $1 in
        --output=*) output=${1#*=} ;;
        --nodelist=*) export NODE=${1#*=} ;;
        --*) ;;
        *) break ;;
    esac
    shift
done
[ -z "$output" ] || exec >> "$output" 2>&1
exec "$@"
""",
    "scontrol": """
echo "scontrol $*" >> "$BOOK/calls"
echo "$3" | tr , '\\n'
""",
    "hostname": 'echo "${ADDRESSES:-127.0.1.1 fe80::1 10.0.0.7}"',
    "ray": """
echo "ray on $NODE: $*" >> "$BOOK/calls"
if [ "$1" = status ]; then
    printf '======== Autoscaler status ========\\nNode status\\n----\\nActive:\\n'
    ls "$BOOK/joined" | sed 's/^/ 1 node_/'
    printf 'Idle:\\n (no idle nodes)\\nPending:\\n (no pending nodes)\\nRecent failures:\\n (no failures)\\n\\n'
    printf 'Resources\\n----\\nTotal Usage:\\n 0.0/8.0 CPU\\n'
    exit
fi
echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN" >> "$BOOK/tokens"
case " $BROKEN " in *" $NODE "*) echo "no such interface"; exit 1 ;; esac
case " $LOST " in *" $NODE "*) ;; *) touch "$BOOK/joined/$NODE" ;; esac
echo $$ >> "$BOOK/pids"
exec /bin/sleep 60
""",
    "clipsieve": """
echo "clipsieve on $NODE: $*" >> "$BOOK/calls"
echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN" >> "$BOOK/tokens"
echo $$ >> "$BOOK/pids"
[ -z "$LONG" ] || exec /bin/sleep 60
exit "${STATUS:-0}"
""",
    "rm": 'echo "rm $*" >> "$BOOK/calls"',
    "sleep": "exec /bin/sleep 0.02",  # between looks; nobody waits for anything here
}


@dataclass
class Slurm:
    """A folder of stand-ins, and the book in which they write."""

    place: Path

    @property
    def calls(self) -> list[str]:
        return (self.place / "calls").read_text().splitlines()

    @property
    def tokens(self) -> set[str]:
        return set((self.place / "tokens").read_text().splitlines())

    def pids(self) -> list[int]:
        return [int(line) for line in (self.place / "pids").read_text().split()]

    def start(self, *words: str, nodes: str = "n1,n2,n3", **variables: str) -> subprocess.Popen[str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RAY_", "CLIPSIEVE_"))
        }
        told = {
            "SLURM_JOB_ID": "71234",
            "SLURM_JOB_NODELIST": nodes,
            "SLURM_CPUS_PER_TASK": "16",
            "SLURM_GPUS_ON_NODE": "4",
        }
        path = f"{self.place / 'bin'}{os.pathsep}{os.environ['PATH']}"
        settings = kept | told | {"PATH": path, "BOOK": str(self.place)} | variables
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([SCRIPT, *words], cwd=self.place, env=settings, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, *words: str, **told: str) -> subprocess.CompletedProcess[str]:
        with self.start(*words, **told) as job:
            out, err = job.communicate(timeout=30)
        return subprocess.CompletedProcess(words, job.returncode, out, err)


@pytest.fixture
def slurm(tmp_path: Path) -> Slurm:
    (tmp_path / "bin").mkdir()
    (tmp_path / "joined").mkdir()
    for name in ("calls", "tokens", "pids"):
        (tmp_path / name).touch()
    for name, body in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return Slurm(tmp_path)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_ray_node_for_each_of_slurms_and_the_command_on_the_first(slurm: Slurm) -> None:
    done = slurm.run("scan", "s3://b/images", "-o", "s3://b/run")
    assert done.returncode == 0, done.stderr
    told = [line for line in slurm.calls if line.startswith(("ray", "clipsieve", "rm")) and "status" not in line]
    shared = "--num-cpus=16 --num-gpus=4 --temp-dir=/tmp/ray-71234 --block"
    head = f"--node-ip-address=10.0.0.7 --port=21234 --include-dashboard=false {shared}"
    assert told[0] == f"ray on n1: start --head {head}"
    assert sorted(told[1:3]) == [f"ray on {node}: start --address=10.0.0.7:21234 {shared}" for node in ("n2", "n3")]
    assert told[3] == "clipsieve on n1: scan s3://b/images -o s3://b/run --engine ray --ray-address 10.0.0.7:21234"
    assert told[4:] == ["rm -rf -- /tmp/ray-71234"]


def test_the_head_is_there_before_the_workers_begin_and_all_are_before_the_command(slurm: Slurm) -> None:
    slurm.run("scan", "a", "-o", "b")
    first = {
        word: next(i for i, line in enumerate(slurm.calls) if word in line)
        for word in ("--head", "status", "start --addr")
    }
    assert first["--head"] < first["start --addr"]
    assert first["status"] < first["start --addr"]
    assert len(list((slurm.place / "joined").iterdir())) == 3


def test_every_step_is_beside_others_and_has_the_scripts_environment(slurm: Slurm) -> None:
    slurm.run("scan", "a", "-o", "b")
    steps = [line for line in slurm.calls if line.startswith("srun") and "rm -rf" not in line]
    assert len(steps) >= 6  # the address, three nodes, at least one look, the command
    assert all(line.startswith("srun --overlap --export=ALL --nodes=1 --ntasks=1 --nodelist=n") for line in steps)
    assert sorted(path.name for path in slurm.place.glob("*.log")) == [f"clipsieve-71234-n{i}.log" for i in (1, 2, 3)]


def test_the_cluster_takes_commands_from_this_job_alone_and_no_argument_says_how(slurm: Slurm) -> None:
    slurm.run("scan", "a", "-o", "b")
    (found,) = slurm.tokens  # the same for all
    mode, token = found.split()
    assert mode == "token"
    assert re.fullmatch("[0-9a-f]{64}", token)
    assert token not in "".join(slurm.calls)
    slurm.run("scan", "a", "-o", "b")
    assert len(slurm.tokens) == 2  # and another for each job


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_jobs_status_is_the_commands_and_nothing_is_left_running(slurm: Slurm, status: int) -> None:
    done = slurm.run("scan", "a", "-o", "b", STATUS=str(status))
    assert done.returncode == status
    assert f"clipsieve ended with {status}" in done.stderr
    assert len(slurm.pids()) == 4
    assert not any(is_alive(pid) for pid in slurm.pids())
    assert any("rm -rf" in line for line in slurm.calls) == (status == 0)  # what went wrong may stand in Ray's logs


def test_a_worker_that_does_not_join_ends_the_job_in_time_with_a_message(slurm: Slurm) -> None:
    begin = time.monotonic()
    done = slurm.run("scan", "a", "-o", "b", LOST="n2", CLIPSIEVE_JOIN_SECONDS="1")
    assert time.monotonic() - begin < 30
    assert done.returncode == 1
    assert "error: 2 of 3 nodes have joined in 1 s" in done.stderr
    assert "clipsieve-71234-n2.log" in done.stderr
    assert not any(line.startswith("clipsieve") for line in slurm.calls)
    assert len(slurm.pids()) == 3
    assert not any(is_alive(pid) for pid in slurm.pids())


@pytest.mark.parametrize("broken", ["n1", "n3"])
def test_a_ray_node_that_ends_is_named_at_once(slurm: Slurm, broken: str) -> None:
    done = slurm.run("scan", "a", "-o", "b", BROKEN=broken, CLIPSIEVE_JOIN_SECONDS="20")
    assert done.returncode == 1
    assert f"error: the Ray node on {broken} ended by itself" in done.stderr
    assert "no such interface" in (slurm.place / f"clipsieve-71234-{broken}.log").read_text()
    assert not any(is_alive(pid) for pid in slurm.pids())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_command_and_every_node(slurm: Slurm, number: signal.Signals, status: int) -> None:
    with slurm.start("scan", "a", "-o", "b", LONG="yes") as job:
        wait_until(lambda: len(slurm.pids()) >= 4)
        assert all(is_alive(pid) for pid in slurm.pids())
        job.send_signal(number)
        job.communicate(timeout=20)
    assert job.returncode == status
    assert len(slurm.pids()) == 4
    assert not any(is_alive(pid) for pid in slurm.pids())


def test_a_job_of_one_node_needs_no_worker(slurm: Slurm) -> None:
    done = slurm.run("scan", "a", "-o", "b", nodes="n1", SLURM_GPUS_ON_NODE="", SLURM_GPUS_PER_NODE="h200:2")
    assert done.returncode == 0, done.stderr
    starts = [line for line in slurm.calls if "ray on" in line and "start" in line]
    assert len(starts) == 1
    assert "--num-gpus=2" in starts[0]


def test_what_a_person_may_set(slurm: Slurm) -> None:
    told = {"CLIPSIEVE_HEAD_ADDRESS": "192.168.9.9", "CLIPSIEVE_HEAD_PORT": "7000", "SLURM_RESTART_COUNT": "2"}
    done = slurm.run(
        "scan", "a b", "-o", "b", CLIPSIEVE_RAY_OPTIONS="--object-store-memory=5 --disable-usage-stats", **told
    )
    assert "start 2 after the first" in done.stderr
    starts = [line for line in slurm.calls if line.startswith("ray") and "start" in line]
    assert all(line.endswith("--block --object-store-memory=5 --disable-usage-stats") for line in starts)
    assert "clipsieve on n1: scan a b -o b --engine ray --ray-address 192.168.9.9:7000" in slurm.calls
    assert not any(line.startswith("srun") and "hostname" in line for line in slurm.calls)


@pytest.mark.parametrize(
    ("words", "told", "message"),
    [
        (["scan"], {"SLURM_JOB_ID": ""}, "this is not a job of Slurm"),
        ([], {}, "no command for clipsieve"),
        (["scan"], {"ADDRESSES": "127.0.0.1 ::1"}, "no address of n1 is known to the others"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    slurm: Slurm, words: list[str], told: dict[str, str], message: str
) -> None:
    done = slurm.run(*words, **told)
    assert done.returncode == 1
    assert f"error: {message}" in done.stderr
    assert not slurm.pids()


def test_what_slurm_is_asked_for() -> None:
    asked = re.findall(r"^#SBATCH --(\S+?)(?:=(\S+))?$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)
    options = {name: value or None for name, value in asked}
    assert options["ntasks-per-node"] == "1"
    assert {"nodes", "cpus-per-task", "gpus-per-node", "exclusive", "no-kill", "requeue", "time"} <= options.keys()
    assert "%j" in str(options["output"])
    assert options["signal"] == "B:TERM@120"  # to the script, whose trap then has time


def test_the_example_in_the_script_is_a_command_of_clipsieves() -> None:
    (line,) = re.findall(
        r"^# +sbatch \S+ deploy/slurm\.sh scan (.+)$", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE
    )
    found = scan.make_context("scan", [*line.split(), "--engine", "ray", "--ray-address", "10.0.0.7:21234"]).params
    assert (found["engine"], found["ray_address"]) == ("ray", "10.0.0.7:21234")
    assert str(found["run"]).startswith("s3:/")


@pytest.mark.ray
@pytest.mark.slow
def test_with_the_real_ray_nodes_join_and_all_end(slurm: Slurm) -> None:
    real = Path(sys.executable).parent
    for name in ("ray", "sleep", "rm"):
        (slurm.place / "bin" / name).unlink()
    # What would be clipsieve asks the cluster how many nodes it has.
    (slurm.place / "bin/clipsieve").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c \"import ray; ray.init('$8', log_to_driver=False); "
        "print('nodes', sum(node['Alive'] for node in ray.nodes()))\"\n"
    )
    (slurm.place / "bin/ray").symlink_to(real / "ray")
    told = {"CLIPSIEVE_HEAD_ADDRESS": "127.0.0.1", "SLURM_CPUS_PER_TASK": "1", "SLURM_GPUS_ON_NODE": "0"}
    small = "--object-store-memory=100000000 --dashboard-agent-listen-port=0"
    job = slurm.start(
        "scan", "a", "-o", "b", nodes="n1,n2", SLURM_JOB_ID=str(os.getpid()), CLIPSIEVE_RAY_OPTIONS=small, **told
    )
    with job:
        out, err = job.communicate(timeout=400)  # seconds, on a machine at rest
    logs = "".join(path.read_text() for path in slurm.place.glob("*.log"))
    assert job.returncode == 0, err + logs
    assert "nodes 2" in out
    assert not Path(f"/tmp/ray-{os.getpid()}").exists()  # noqa: S108
