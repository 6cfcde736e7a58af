"""One run in several processes, under real MPI libraries: `python3 mpi.py DEFROST`.

A small pipeline runs alone, and with 1 to 4 ranks under Open MPI and MPICH: all manifests are equal, and so are all
checkpoints, which manifests list by digest. Ranks are killed, asked to stop, and started by the wrong launcher; a run goes on
with another number of ranks, or all end with a message.

Needs Debian's openmpi-bin and mpich, which it installs if apt can. What cannot be had is passed over.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

defrost = os.path.abspath(sys.argv[1])
repository = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["openmpi-bin", "mpich"]
LAUNCHERS = {
    "Open MPI": ["mpirun.openmpi", "--oversubscribe"],
    "MPICH": ["mpiexec.mpich"],
}
PATIENCE = 120

# Three stages of several ranks: on cached features, with batch normalisation that trains, and an evaluation.
PIPELINE = """
name = "ranks"
seed = 1

[data.emoji]
format     = "image_folder"
root       = "{quickstart}/emoji"
image_size = 64
resize     = 64
normalize  = "efficientnet_lite"
split      = {{ validation = 0.15, test = 0.25, group = '^(.+?)__', seed = 1 }}

[model.net]
arch = "efficientnet_lite0"
head = {{ kind = "linear", dropout = 0.2 }}

[stage.pretrained]
kind   = "load_weights"
file   = "{quickstart}/efficientnet_lite0.safetensors"
reinit = ["@head"]

[stage.frozen]
kind       = "train"
from       = "pretrained"
train      = ["@head"]
epochs     = 2
batch_size = 8
accumulate = 3
optimizer  = {{ kind = "adamw", lr = 3e-3 }}

[stage.finetune]
kind       = "train"
from       = "frozen@best"
train      = ["_blocks.{{14..15}}", "_conv_head", "_bn1", "@head"]
epochs     = {epochs}
batch_size = 8
accumulate = 4
clip_norm  = 1.0
ema        = {{ decay = 0.9 }}
augment    = {{ horizontal_flip = 0.5, rotation = 10 }}
optimizer  = {{ kind = "sgd", lr = 1e-2, momentum = 0.9 }}

[stage.test]
kind  = "evaluate"
from  = "finetune@best"
split = "test"

[run]
checkpoint_seconds = {seconds}
"""

folder = pathlib.Path(tempfile.mkdtemp(prefix="defrost-mpi-"))
environment = {
    # Runs as root in containers; asks nothing.
    **os.environ,
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    # Several ranks on few processors give way to one another.
    "OMPI_MCA_mpi_yield_when_idle": "1",
}


def main():
    launchers = {name: command for name, command in LAUNCHERS.items() if available(command[0])}
    if not launchers:
        print("mpi: neither Open MPI nor MPICH can be had here; passed over", file=sys.stderr)
        return
    expected = manifest(run([], "plain"), "plain")
    for name, command in launchers.items():
        for ranks in [1, 2, 3, 4]:
            runs = f"{ranks} ranks of {name}"
            output = run([*command, "-n", str(ranks)], runs)
            check(manifest(output, runs) == expected, f"{runs}: other bytes than one process\n{output}")
            check(output.count("finished finetune") == 1, f"{runs}: printed more than once\n{output}")
            surplus = f"`accumulate = 3` has work for 3 of {ranks} processes" in output
            check(surplus == (ranks == 4), f"{runs}: the warning of too many ranks\n{output}")
        print(f"mpi: 1 to 4 ranks of {name} have the bytes of one process")
    for name, command in launchers.items():
        killed(name, command, 0, 2)
        killed(name, command, 2, 1)
        stopped(name, command)
        mixed(name, command)
    unfit(launchers)


def available(program):
    """Whether a program is there, installed if need be."""
    if shutil.which(program) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES]
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(install, env=quiet, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return shutil.which(program) is not None


def pipeline(epochs=1, seconds=60):
    file = folder / f"ranks-{epochs}-{seconds}.toml"
    quickstart = repository / "pipelines" / "quickstart"
    file.write_text(PIPELINE.format(quickstart=quickstart, epochs=epochs, seconds=seconds))
    return file


def command_line(launcher, runs, file):
    return [*launcher, defrost, "run", str(file), "--runs-dir", str(folder / runs)]


def run(launcher, runs, file=None, code=0, arguments=(), **variables):
    """Runs to the end, and returns what was printed."""
    line = [*command_line(launcher, runs, file or pipeline()), *arguments]
    return output_of(line, runs, code, **variables)


def output_of(line, what, code, **variables):
    done = subprocess.run(
        line,
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    check(done.returncode == code, f"{what}: exit code {done.returncode} and not {code}\n{done.stdout}")
    return done.stdout


def manifest(output, runs):
    found = list((folder / runs).glob("ranks/*/manifest.json"))
    check(len(found) == 1, f"{runs}: {len(found)} manifests\n{output}")
    return found[0].read_bytes()


def processes(runs):
    """The processes of a run, by rank."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().split(b"\0")
            if line[0].decode() != defrost or str(folder / runs).encode() not in line:
                continue
            variables = dict(
                item.split(b"=", 1) for item in (entry / "environ").read_bytes().split(b"\0") if b"=" in item
            )
        except (OSError, IndexError, UnicodeDecodeError):
            continue
        rank = variables.get(b"OMPI_COMM_WORLD_RANK", variables.get(b"PMI_RANK", b"0"))
        found[int(rank)] = int(entry.name)
    return found


def started(launcher, runs, file):
    """A run that has written a checkpoint of its last train stage."""
    log = open(folder / f"{runs}.log", "w+")
    started = subprocess.Popen(command_line(launcher, runs, file), env=environment, stdout=log, stderr=log)
    for _ in range(PATIENCE * 100):
        events = list((folder / runs).glob("ranks/*/events.jsonl"))
        text = events[0].read_text() if events else ""
        saved = [line for line in text.splitlines() if "checkpoint_written" in line and "finetune" in line]
        if len(saved) > 1:
            return started, log
        check(started.poll() is None, f"{runs}: ended too early\n{pathlib.Path(log.name).read_text()}")
        time.sleep(0.01)
    sys.exit(f"error: {runs}: no checkpoint")


def ended(process, log, runs):
    """Waits for the end of all processes, and returns what they printed."""
    process.wait(timeout=PATIENCE)
    wait_for(lambda: not processes(runs), f"{runs}: processes are left")
    return pathlib.Path(log.name).read_text()


def killed(name, command, rank, resumed):
    """A rank is killed: all end, and the run goes on with another number of ranks."""
    file = pipeline(epochs=3, seconds=0)
    runs = f"killed {rank} of {name}"
    process, log = started([*command, "-n", "3"], runs, file)
    os.kill(processes(runs)[rank], signal.SIGKILL)
    ended(process, log, runs)
    check(process.returncode != 0, f"{runs}: the launcher reports no failure")
    output = run([*command, "-n", str(resumed)], runs, file)
    check("resum" in output, f"{runs}: began again\n{output}")
    check(manifest(output, runs) == longer(), f"{runs}: other bytes\n{output}")
    if rank == 2:
        unwatched(command, file)
    print(f"mpi: rank {rank} of {name} killed, and resumed with {resumed}")


def unwatched(command, file):
    """A launcher that does not end the others, because it is stopped: they notice."""
    runs = f"left alone by {command[0]}"
    process, log = started([*command, "-n", "3"], runs, file)
    ranks = processes(runs)
    launchers = {process.pid} | {parent(pid) for pid in ranks.values()}
    for launcher in launchers:
        os.kill(launcher, signal.SIGSTOP)
    try:
        os.kill(ranks[1], signal.SIGKILL)
        wait_for(lambda: not processes(runs), f"{runs}: ranks wait for ever")
    finally:
        for launcher in launchers:
            os.kill(launcher, signal.SIGCONT)
    output = ended(process, log, runs)
    check("rank 1 ended before its work was done" in output, f"{runs}: no message\n{output}")


def parent(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def wait_for(condition, message):
    for _ in range(PATIENCE * 10):
        if condition():
            return
        time.sleep(0.1)
    sys.exit(f"error: {message}")


def stopped(name, command):
    """One rank is asked to stop: all stop at the same step, after a checkpoint."""
    file = pipeline(epochs=3, seconds=0)
    runs = f"stopped {name}"
    process, log = started([*command, "-n", "2"], runs, file)
    os.kill(processes(runs)[1], signal.SIGUSR1)
    output = ended(process, log, runs)
    check("stopped on request after a checkpoint" in output, f"{runs}: no clean stop\n{output}")
    output = run([*command, "-n", "4"], runs, file)
    check("resum" in output, f"{runs}: began again\n{output}")
    check(manifest(output, runs) == longer(), f"{runs}: other bytes\n{output}")
    print(f"mpi: a rank of {name} asked to stop, and resumed with 4")


LONGER = []


def longer():
    """The manifest of the longer run of one process."""
    if not LONGER:
        file = pipeline(epochs=3, seconds=0)
        LONGER.append(manifest(run([], "longer", file), "longer"))
    return LONGER[0]


def mixed(name, command):
    """Ranks that would do different things."""
    one, other = pipeline(), folder / "other.toml"
    other.write_text(one.read_text().replace("seed = 1\n\n[data", "seed = 2\n\n[data"))
    line = command_line([], f"mixed {name}", one)
    other_line = command_line([], f"mixed {name}", other)
    both = [*command, "-n", "1", *line, ":", "-n", "1", *other_line]
    output = output_of(both, f"mixed ranks of {name}", 1)
    check("rank 1 has another recipe than rank 0" in output, f"mixed ranks of {name}\n{output}")
    print(f"mpi: mixed ranks of {name} are refused")


def unfit(launchers):
    """Launchers and libraries that do not fit end with one message."""
    libraries = {"Open MPI": "libmpi.so.40", "MPICH": "libmpich.so.12"}
    for name, command in launchers.items():
        two = [*command, "-n", "2"]
        for other in launchers.keys() - {name}:
            output = run(two, "unfit", code=2, DEFROST_MPI=libraries[other])
            check(output.count("started this process, but the MPI library") == 1, f"another library\n{output}")
        output = run(two, "unfit", code=1, DEFROST_MPI="/nowhere/libmpi.so")
        check(output.count("cannot open `/nowhere/libmpi.so`") == 1, f"no library\n{output}")
        output = output_of([*two, defrost, "validate", str(pipeline())], "another command", 0)
        check(output.count("each does all of this command") == 1, f"another command\n{output}")
        output = run(two, "unfit", code=2, arguments=["--jobs", "2"])
        check(output.count("leave out `--jobs`") == 1, f"several processes of their own\n{output}")
        output = run(two, "unfit", file=folder / "nowhere.toml", code=2)
        check(output.count("is not valid") == 1, f"an error that is printed by every rank\n{output}")
    if "MPICH" in launchers:
        # As if the library were another one than the launcher's: each process is alone in its world.
        output = run([], "unfit", code=2, PMI_SIZE="2", PMI_RANK="0")
        check("started 2 processes, but `MPICH" in output and "connects 1 of them" in output, f"two worlds\n{output}")
        output = run([], "unfit", PMI_SIZE="2", PMI_RANK="1")
        check(not output, f"two worlds, the other rank\n{output}")
    slurm = {"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}
    output = run([], "unfit", code=2, **slurm)
    check("without a way to work together" in output, f"srun without MPI\n{output}")
    print("mpi: launchers and libraries that do not fit are refused with a message")


def check(holds, message):
    if not holds:
        sys.exit(f"error: {message}")


try:
    main()
finally:
    for runs in folder.iterdir():
        for process in processes(runs.name).values():
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
