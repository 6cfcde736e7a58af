"""A real Slurm on this machine, and runs that it preempts, loses and cancels: `python3 slurm.py DEFROST`.

It starts two nodes of one processor on 127.0.0.1, with ports, keys and folders of its own, and ends them. Eight runs share
a stage. After preemptions without grace, with grace and with `PreemptMode=CANCEL`, a notice as before the time limit, a lost
node, a cancelled job and a failing run, all manifests equal those of a plain run, and the shared stage was computed once.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge, which it installs if apt can. Else it is passed over.
"""

import json
import os
import pathlib
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

defrost = os.path.abspath(sys.argv[1])
PACKAGES = ["slurmctld", "slurmd", "slurm-client", "munge"]
PROGRAMS = ["slurmctld", "slurmd", "sbatch", "munged"]
PATIENCE = 180

CONFIG = """
ClusterName=defrost
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
ReturnToService=2
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=1000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=1000
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=0
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""

PIPELINE = """
name = "colours"
seed = 7

[data.photos]
format     = "image_folder"
root       = "photos"
image_size = 32
resize     = 32
split      = { validation = 0.25, test = 0.25, seed = 0 }

[model.net]
arch = "efficientnet_lite0"
head = { kind = "linear" }

[defaults.train]
batch_size = 5

[stage.start]
kind = "init_weights"

[stage.frozen]
kind      = "train"
from      = "start"
train     = ["@head"]
epochs    = 60
augment   = { horizontal_flip = 0.5 }
optimizer = { kind = "adamw", lr = 1e-2 }

[stage.tuned]
kind       = "train"
from       = "frozen@best"
train_last = 2
epochs     = 120
augment    = { horizontal_flip = 0.5, rotation = 10 }
optimizer  = { kind = "sgd", lr = 1e-3, momentum = 0.9 }

[stage.test]
kind = "evaluate"
from = "tuned@best"

[[matrix]]
path   = "stage.tuned.optimizer.lr"
name   = "lr"
values = [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 1e30]

[run]
checkpoint_seconds = 0.5
threads = 1
"""
FAILING = "lr=1e30"


def passed_over(why):
    print(f"interop: Slurm passed over, {why}", file=sys.stderr)
    sys.exit(0)


def have_slurm():
    if os.geteuid() != 0:
        passed_over("it takes root")
    if all(shutil.which(program) for program in PROGRAMS):
        return
    if not shutil.which("apt-get"):
        passed_over("it is not installed")
    command = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        passed_over("it is not installed, and apt cannot install it")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def run(*command, check=True, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done


def wait(what, condition):
    since = time.monotonic()
    while not (found := condition()):
        if time.monotonic() - since > PATIENCE:
            raise SystemExit(f"waited in vain for {what}\n{run('squeue', '-r', check=False).stdout}")
        time.sleep(0.1)
    return found


class Slurm:
    """The daemons. The processes are those that this class started, and are ended by their numbers."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def __enter__(self):
        munge = self.folder / "munge"
        munge.mkdir()
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        for path in [munge, munge / "key"]:
            shutil.chown(path, "munge", "munge")
        # Its socket must be in a folder that everyone may enter.
        munge.chmod(0o755)
        self.folder.chmod(0o755)
        options = [f"--{name}={munge}/{name}" for name in ["socket", "key-file", "pid-file", "log-file", "seed-file"]]
        options = [option.replace("/key-file", "/key") for option in options]
        self.start("runuser", "-u", "munge", "--", "munged", "--foreground", *options)
        wait("munge", (munge / "socket").exists)
        (self.folder / "state").mkdir()
        host = socket.gethostname().split(".")[0]
        config = self.folder / "slurm.conf"
        config.write_text(CONFIG.format(host=host, folder=self.folder, ports=free_ports(3)))
        os.environ["SLURM_CONF"] = str(config)
        self.start("slurmctld", "-D", "-f", str(config))
        for node in ["n1", "n2"]:
            (self.folder / f"spool-{node}").mkdir()
            self.start("slurmd", "-D", "-f", str(config), "-N", node)
        idle = lambda: run("sinfo", "-h", "-N", "-p", "low", "-o", "%T", check=False).stdout.split()
        try:
            wait("two idle nodes", lambda: idle() == ["idle"] * 2)
        except SystemExit:
            self.__exit__()
            raise
        return self

    def start(self, *command):
        log = open(self.folder / "daemons.log", "a")
        self.started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def __exit__(self, *_):
        run("scancel", "--me", check=False)
        time.sleep(1)
        for process in reversed(self.started):
            process.terminate()
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


class Project:
    def __init__(self, folder):
        self.folder = folder
        (folder / "runs").mkdir(parents=True)
        (folder / "colours.toml").write_text(PIPELINE)
        draws = random.Random(1)
        for name, colour in [("blue", (30, 40, 200)), ("green", (40, 190, 50)), ("red", (210, 40, 30))]:
            (folder / "photos" / name).mkdir(parents=True)
            for number in range(12):
                rows = [bytes(min(255, value + draws.randrange(64)) for _ in range(24) for value in reversed(colour)) for _ in range(24)]
                head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54 + 24 * 72, 0, 0, 54, 40, 24, 24, 1, 24, 0, 0, 0, 0, 0, 0)
                (folder / "photos" / name / f"{number:02}.bmp").write_bytes(head + b"".join(rows))

    def defrost(self, *arguments, check=True):
        return run(defrost, *arguments, cwd=self.folder, check=check)

    def json(self, *arguments):
        return json.loads(self.defrost("--json", *arguments).stdout)

    def rows(self):
        return {row["label"]: row for row in self.json("status", "colours.toml")["runs"] if not row.get("shared_stages")}

    def manifests(self):
        found = self.folder.glob("runs/colours/*/manifest.json")
        return {path.parent.name: path.read_bytes() for path in found}


def squeue():
    """The jobs of the low partition: state, node and number of restarts by array and index."""
    jobs = {}
    text = run("squeue", "-h", "-r", "-p", "low", "-O", "ArrayJobID:20,ArrayTaskID:10,State:20,NodeList:20,RestartCnt:10").stdout
    for line in text.splitlines():
        array, index, state, node, restarts = (line[at:end].strip() for at, end in [(0, 20), (20, 30), (30, 50), (50, 70), (70, 80)])
        jobs[f"{array}_{index}"] = (state, node, int(restarts or 0))
    return jobs


def training(project, job):
    """Whether a running job trains, and is not near the end of a stage."""
    array, index = job.split("_")
    logs = list(project.folder.glob(f"runs/.submissions/*/logs/{job}.log"))
    if not logs:
        return False
    text = logs[0].read_text(errors="replace")
    last = max(text.rfind("running"), text.rfind("resuming"))
    epochs = re.findall(r"epoch (\d+)/(\d+)", text[last:])
    return bool(epochs) and int(epochs[-1][0]) < int(epochs[-1][1]) // 3


def running_on(project, used):
    """A job that trains, of those to which nothing has happened."""
    running = (job for job, (state, *_) in squeue().items() if state == "RUNNING" and job not in used)
    return next((job for job in running if training(project, job)), None)


def preempt(job):
    """Gives the node of a job to another one, of a partition that goes before."""
    node = squeue()[job][1]
    run("sbatch", "-p", "high", "-w", node, "-o", "/dev/null", "--wrap", "sleep 1")


def notice(job):
    """The signal before the time limit. Slurm sends none to a job that it is preempting."""
    run("timeout", "2", "scancel", "--batch", "--signal=USR1", job, check=False)


def lose_node(job):
    node = squeue()[job][1]
    run("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    time.sleep(1)
    # It may be back by itself.
    run("scontrol", "update", f"nodename={node}", "state=resume", check=False)


def accident(project, cause, used):
    """Something happens to a job, which Slurm starts again. A job that ended just before does not count."""

    def again(job):
        restarts = squeue().get(job, (None, None, None))[2]
        return restarts is None or restarts > 0

    while True:
        job = wait(f"a run for {cause.__name__}", lambda: running_on(project, used))
        used.add(job)
        cause(job)
        wait(f"{job} to be started again", lambda: again(job))
        if job in squeue():
            return job


def main():
    have_slurm()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        (folder / "slurm").mkdir()
        with Slurm(folder / "slurm"):
            accidents(folder)


def accidents(folder):
    project = Project(folder / "cluster")
    submitted = project.json("submit", "colours.toml", "--", "--begin=now")
    [first, second] = [array["job"] for array in submitted["arrays"]]
    assert [len(array["tasks"]) for array in submitted["arrays"]] == [1, 8], submitted
    used = set()

    # The shared stage is preempted. The runs wait for its second start.
    shared = accident(project, preempt, used)
    assert shared == f"{first}_0", shared
    assert all(state == "PENDING" for job, (state, *_) in squeue().items() if job.startswith(f"{second}_")), squeue()
    wait("the shared stage to end", lambda: shared not in squeue())

    # A preemption without grace, a node that is lost, the notice before the time limit, and a preemption with grace.
    accident(project, preempt, used)
    accident(project, lose_node, used)
    accident(project, notice, used)
    run("scontrol", "update", "partition=low", "GraceTime=2")
    accident(project, preempt, used)
    # One run is cancelled.
    cancelled = wait("a run to cancel", lambda: running_on(project, used))
    used.add(cancelled)
    labels = {row["job"]["id"]: label for label, row in project.rows().items() if row["job"]}
    answer = project.json("cancel", "colours.toml", "--only", labels[cancelled])
    assert answer["cancelled"] == [cancelled], answer
    run("scontrol", "update", "partition=low", "GraceTime=0")
    wait("the end of the jobs", lambda: not squeue())

    rows = project.rows()
    states = {label: row["state"] for label, row in rows.items()}
    assert states[labels[cancelled]] == "interrupted" and "defrost submit" in rows[labels[cancelled]]["note"], rows
    assert states[FAILING] == "failed" and "finite" in rows[FAILING]["error"] + str(rows), rows[FAILING]
    others = {state for label, state in states.items() if label not in [FAILING, labels[cancelled]]}
    assert others == {"complete"}, states

    # Submitting again mends what is left. Where preempted jobs are cancelled, once more.
    run("scontrol", "update", "partition=low", "PreemptMode=CANCEL")
    actions = lambda document: {run["label"]: run["action"] for run in document["runs"]}
    again = project.json("submit", "colours.toml", "--only", labels[cancelled])
    assert actions(again) == {labels[cancelled]: "submitted"}, again
    job = wait("the cancelled run", lambda: running_on(project, used))
    preempt(job)
    wait("the end of the jobs", lambda: not squeue())
    assert project.rows()[labels[cancelled]]["state"] == "interrupted", project.rows()
    last = project.json("submit", "colours.toml")
    expected = {label: "complete" for label in states} | {labels[cancelled]: "submitted", FAILING: "submitted"}
    assert actions(last) == expected, last
    wait("the end of the jobs", lambda: not squeue())

    plain = Project(folder / "plain")
    assert plain.defrost("run", "colours.toml", check=False).returncode == 1
    assert len(plain.manifests()) == 7
    assert project.manifests() == plain.manifests(), "manifests differ from those of a plain run"
    compares_stages(project)
    print(f"interop: Slurm: 8 runs, six accidents, the bytes of a plain run")


def compares_stages(project):
    """The shared stage was begun once; all else of it was resumed or cached."""
    begun = []
    for events in project.folder.glob("runs/colours/*/events.jsonl"):
        for line in events.read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "stage_started" and event["stage"] == "frozen" and event["outcome"] == "ran":
                begun.append(events.parent.name)
    assert len(begun) == 1, begun


main()
