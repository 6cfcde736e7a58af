"""What happens to programs and files: each accident is done to a run, which must come to the right bytes or say why not."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

from project import PATIENCE, Project, ended, wait_for

NOBODY = 65534
EVERY_STEP = ("--set", "run.checkpoint_seconds=0")


class Accidents:
    """Counts what was tried and notes what went wrong."""

    def __init__(self, program, above, quick, seed):
        self.program, self.above, self.quick = program, above, quick
        self.draws = random.Random(seed)
        self.figures = {}
        project = Project.new(program, above)
        started = time.monotonic()
        first = project.run()
        self.seconds = time.monotonic() - started
        self.reference = project.result()
        if first.code != 0 or not self.reference or first.trouble():
            raise SystemExit(f"error: the run that all others are compared with failed:\n{first.err}")
        self.finished = project

    def many(self, quick, full):
        return quick if self.quick else full

    def note(self, kind, failure=None):
        """One case of a kind, and what was wrong with it."""
        found = self.figures.setdefault(kind, [0, []])
        found[0] += 1
        if failure:
            found[1].append(failure)

    def judge(self, kind, case, end, codes, project=None, words=(), state="any"):
        """Holds an end against what it may be."""
        failure = end.trouble()
        if not failure and end.code not in codes:
            failure = f"exit code {end.code}, not {' or '.join(map(str, codes))}: {end.err[-300:].strip()}"
        if not failure and end.code == 1 and "error" not in end.err and "invalid" not in end.out + end.err:
            failure = "failed without a word"
        missing = [word for word in words if word not in end.err + end.out]
        if not failure and missing:
            failure = f"does not say `{missing[0]}`: {end.err[-300:].strip()}"
        if not failure and project and end.code == 0 and project.result() != self.reference:
            failure = "other bytes than an undisturbed run"
        self.note(kind, failure and f"{case}: {failure}")

    def kills(self, shim=None):
        """SIGKILL at any moment, again and again, until a run comes to its end."""
        kind = "killed without locks" if shim else "killed"
        for case in range(self.many(2, 8) if shim else self.many(4, 30)):
            project = Project.new(self.program, self.above)
            pace = EVERY_STEP if case % 2 == 0 else ("--set", "run.checkpoint_seconds=0.2")
            end = None
            for kill in range(60):
                child = project.start("run", "stress.toml", *pace, shim=shim)
                time.sleep(self.draws.uniform(0, self.seconds * (0.6 + kill / 20)))
                if child.poll() is not None:
                    end = ended(child)
                    break
                child.kill()
                ended(child)
                self.note(f"{kind}: kills")
            end = end or project.run(shim=shim)
            self.judge(kind, f"run {case} after {kill} kills", end, [0], project)
            self.judge(kind, f"verify {case}", project.defrost("verify", "stress"), [0])
            left = [path for path in project.runs.glob(".work/*/*")]
            self.note(kind, f"run {case}: {left[0]} is left" if left and not shim else None)
            project.remove()

    def lost_locks(self):
        """Somebody deletes all lock files of a run that was killed: it goes on all the same."""
        project = Project.new(self.program, self.above)
        child = project.start("run", "stress.toml", *EVERY_STEP)
        wait_for(project, child, '"epoch":2')
        child.kill()
        ended(child)
        for lock in project.runs.glob(".work/*/*/lock"):
            lock.unlink()
        self.judge("lock files deleted", "run", ended(project.start("run", "stress.toml"), 30 + 5 * self.seconds), [0], project)
        project.remove()

    def damage(self):
        """Each file of a finished store and run is cut short, changed or deleted."""
        files = sorted(path.relative_to(self.finished.folder) for path in self.finished.runs.rglob("*") if path.is_file())
        cases = [(file, how) for file in files for how in ("cut", "flip", "delete")]
        if self.quick:
            cases = self.draws.sample(cases, 15)
        for file, how in cases:
            project = self.finished.copy()
            spoil(project.folder / file, how, self.draws)
            for command in (["verify", "stress"], ["status", "stress"], ["predict", "stress", some_image(project)], ["plan", "stress.toml", "--no-estimates"]):
                self.judge("damaged: looked at", f"{command[0]} after {how} {file}", project.defrost(*command), [0, 1, 2])
            self.judge("damaged", f"run after {how} {file}", project.run(), [0, 1], project)
            project.remove()

    def races(self, shim=None):
        """Several processes at one file, and at several files that share stages."""
        kind = "racing without locks" if shim else "racing"
        for round_ in range(self.many(1, 4)):
            project = Project.new(self.program, self.above)
            names = ["stress"] * 3 + ["other", "third"]
            children = [project.start("run", "stress.toml", "--set", f"name={name}", *EVERY_STEP, shim=shim) for name in names]
            ends = [ended(child, 2 * PATIENCE) for child in children]
            for name, end in zip(names, ends):
                self.judge(kind, f"{name} in round {round_}", end, [0])
            for name in sorted(set(names)):
                wrong = project.result(name) != self.reference
                self.note(kind, f"{name} in round {round_}: other bytes" if wrong else None)
            self.judge(kind, f"run after round {round_}", project.run(), [0], project)
            project.remove()

    def signals(self):
        """Each signal that asks for an end gives a checkpoint and 130; under nohup a hang-up changes nothing."""
        for name in ("INT", "TERM", "HUP", "USR1", "USR2", "XCPU"):
            project = Project.new(self.program, self.above)
            child = project.start("run", "stress.toml", "--json", "--set", "stage.finetune.epochs=3000")
            wait_for(project, child, '"epochs":3000')
            child.send_signal(getattr(signal, "SIG" + name))
            self.judge("signals", name, ended(child), [130])
            state = (project.directory() / "state").read_text().strip()
            self.note("signals", f"{name} leaves the state {state}" if state != "interrupted" else None)
            self.judge("signals", f"run after {name}", project.run(), [0], project)
            project.remove()
        project = Project.new(self.program, self.above)
        child = project.start("run", "stress.toml", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        wait_for(project, child, "run_started")
        child.send_signal(signal.SIGHUP)
        self.judge("signals", "HUP under nohup", ended(child), [0], project)
        project.remove()

    def streams(self):
        """Standard output and error that are closed, full, broken, or a terminal that goes away."""
        def closing(*files):
            return lambda: [os.close(file) for file in files]
        for case, files in (("output closed", (1,)), ("error closed", (2,)), ("both closed", (1, 2))):
            project = Project.new(self.program, self.above)
            self.judge("streams", case, project.run(preexec_fn=closing(*files)), [0], project)
            self.judge("streams", f"list, {case}", project.defrost("list", preexec_fn=closing(*files)), [0, 1])
            project.remove()
        project = self.finished.copy()
        with open("/dev/full", "w") as full:
            self.judge("streams", "list, output full", project.defrost("list", out=full), [1])
            self.judge("streams", "run, error full", project.run(err=full), [0], project)
        reader, writer = os.pipe()
        os.close(reader)
        self.judge("streams", "list, broken pipe", project.defrost("list", out=writer), [0])
        self.judge("streams", "run --json, broken pipe", project.run("--json", out=writer, err=writer), [0], project)
        os.close(writer)
        project.remove()
        project = Project.new(self.program, self.above)
        terminal, end = os.openpty()
        child = project.start("run", "stress.toml", "--set", "stage.finetune.epochs=3000", out=end, err=end, start_new_session=True,
                              preexec_fn=lambda: __import__("fcntl").ioctl(2, __import__("termios").TIOCSCTTY, 0))
        os.close(end)
        wait_for(project, child, '"epochs":3000')
        os.close(terminal)
        self.judge("streams", "terminal gone", ended(child), [130])
        self.judge("streams", "run after terminal gone", project.run(), [0], project)
        project.remove()

    def outputs(self):
        """Files that a person names: devices, links, pipes."""
        project = self.finished.copy()
        page, link, null, full = (project.folder / name for name in ("page.html", "link.html", "null", "full"))
        page.write_text("old")
        page.chmod(0o640)
        link.symlink_to("page.html")
        if os.geteuid() == 0:
            # Not those of the machine, which a program that fails here would take away.
            for device, number in ((null, "3"), (full, "7")):
                subprocess.run(["mknod", str(device), "c", "1", number], check=False, stderr=subprocess.DEVNULL)
        for target in (page, link, *([null] if null.exists() else [])):
            self.judge("named files", f"report --output {target.name}", project.defrost("report", "stress", "--output", str(target)), [0])
        self.note("named files", None if link.is_symlink() and "<html" in page.read_text() else "a link was replaced")
        self.note("named files", None if page.stat().st_mode & 0o777 == 0o640 else "permissions were not kept")
        self.note("named files", "a device was replaced" if null.exists() and not null.is_char_device() else None)
        if full.exists():
            self.judge("named files", "report --output full", project.defrost("report", "stress", "--output", str(full)), [1], words=[str(full)])
        # By a link, for the same reason.
        out = project.folder / "out"
        out.symlink_to("/dev/stdout")
        end = project.defrost("report", "stress", "--output", str(out))
        self.note("named files", None if end.code == 0 and end.out.rstrip().endswith("</html>") else "standard output has more than the page")
        project.remove()

    def full_disks(self):
        """Files that may not grow, and, for root, a disk that is full."""
        for size in self.draws.sample(range(2_000, 14_000_000), self.many(3, 12)):
            project = Project.new(self.program, self.above)
            self.judge("files limited", f"{size} bytes", project.run(*EVERY_STEP, file_bytes=size), [0, 1], project)
            self.judge("files limited", f"run after {size} bytes", project.run(), [0], project)
            project.remove()
        for size in self.draws.sample(range(100_000, 60_000_000), self.many(4, 15)):
            project = Project.new(self.program, self.above)
            if not mount(project.runs, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
                return
            try:
                end = project.run(*EVERY_STEP)
                self.judge("disk full", f"{size} bytes", end, [0, 1], project, words=[] if end.code == 0 else ["full", str(project.runs)])
                mount(project.runs, "-o", "remount,size=150m", "tmpfs")
                self.judge("disk full", f"run after {size} bytes", project.run(), [0], project)
                fill(project.runs)
                self.judge("disk full", "a finished run", project.run(), [0], project)
            finally:
                subprocess.run(["umount", str(project.runs)], check=False)
            project.remove()

    def closed_folders(self):
        """A finished run that may only be read: another user's, and, for root, a read-only disk."""
        looks = [["run", "stress.toml"], ["plan", "stress.toml"], ["list"], ["status", "stress"], ["verify", "stress"], ["report", "stress"],
                 ["compare", "stress"], ["diff", "stress", "stress"], ["gc"]]
        project = self.finished.copy()
        root = os.geteuid() == 0
        if root:
            for look in [*looks, ["predict", "stress", some_image(project)]]:
                self.judge("another user", " ".join(look), project.defrost(*look, user=NOBODY), [0], project)
            end = project.run("--set", "stage.frozen.epochs=5", user=NOBODY)
            self.judge("another user", "a run to be computed", end, [1], words=["permission denied"])
        if root and mount(project.runs, "--bind", str(project.runs)) and mount(project.runs, "-o", "remount,ro,bind"):
            for look in [*looks, ["predict", "stress", some_image(project)]]:
                self.judge("read-only disk", " ".join(look), project.defrost(*look), [0], project)
            end = project.run("--set", "stage.frozen.epochs=5")
            self.judge("read-only disk", "a run to be computed", end, [1], words=["read-only"])
        subprocess.run(["umount", str(project.runs)], check=False, stderr=subprocess.DEVNULL)
        project.remove()


def some_image(project):
    return str(next((project.folder / "emoji").glob("*/*")))


def mount(folder, *arguments):
    """Mounts something at a folder, where that is allowed."""
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True) if os.geteuid() == 0 else None
    return done is not None and done.returncode == 0


def fill(folder):
    """Leaves no space on a disk."""
    with open(folder / "fill", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


def spoil(path: Path, how, draws):
    """Changes a file behind everybody's back; names that share its bytes change with it, as on a failing disk."""
    data = path.read_bytes()
    path.chmod(0o644)
    if how == "delete":
        path.unlink()
    elif how == "cut":
        os.truncate(path, draws.randrange(len(data)) if data else 0)
    elif data:
        place = draws.randrange(len(data))
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([data[place] ^ 1 << draws.randrange(8)]))
