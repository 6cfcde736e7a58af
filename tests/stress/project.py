"""A small project on the quickstart's drawings and weights, and the program that works on it."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "pipelines/quickstart"
CLASSES = 3
IMAGES_PER_CLASS = 10
# Nobody waits longer for a program to end.
PATIENCE = 120

PIPELINE = """name = "stress"
seed = 7
[data.emoji]
format = "image_folder"
root = "emoji"
image_size = 32
resize = 32
normalize = "efficientnet_lite"
split = { validation = 0.25, test = 0.25, seed = 2 }
[model.net]
arch = "efficientnet_lite0"
head = { kind = "linear", dropout = 0.2 }
[defaults.train]
batch_size = 5
[stage.pretrained]
kind = "load_weights"
file = "weights.safetensors"
reinit = ["@head"]
[stage.frozen]
kind = "train"
from = "pretrained"
train = ["@head"]
epochs = 4
optimizer = { kind = "adamw", lr = 1e-2 }
[stage.finetune]
kind = "train"
from = "frozen@best"
train_last = 2
epochs = 3
augment = { horizontal_flip = 0.5, rotation = 10 }
optimizer = { kind = "sgd", lr = 1e-3, momentum = 0.9 }
[stage.test]
kind = "evaluate"
from = "finetune@best"
split = "test"
[run]
threads = 1
"""


class Ended:
    """What a program said, and how it ended."""

    def __init__(self, code, out, err, hung=False):
        self.code, self.out, self.err, self.hung = code, out, err, hung

    def trouble(self):
        """What no program may ever do, whatever is done to it; None if it did not."""
        if self.hung:
            return f"did not end within {PATIENCE} s"
        if "panicked" in self.err or "panicked" in self.out:
            return "panicked: " + self.err[-400:]
        if self.code < 0 and self.code != -signal.SIGKILL:
            return f"ended by {signal.Signals(-self.code).name}"
        return None


class Project:
    """A folder with images, weights, a pipeline and `runs`."""

    def __init__(self, program, folder, runs=None):
        self.program, self.folder = str(program), Path(folder)
        self.runs = Path(runs) if runs else self.folder / "runs"

    @classmethod
    def new(cls, program, above):
        folder = Path(tempfile.mkdtemp(dir=above))
        folder.chmod(0o755)
        (folder / "runs").mkdir()
        for images in sorted(path for path in (QUICKSTART / "emoji").iterdir() if path.is_dir())[:CLASSES]:
            target = folder / "emoji" / images.name
            target.mkdir(parents=True)
            for image in sorted(images.iterdir())[:IMAGES_PER_CLASS]:
                shutil.copyfile(image, target / image.name)
        shutil.copyfile(QUICKSTART / "efficientnet_lite0.safetensors", folder / "weights.safetensors")
        (folder / "stress.toml").write_text(PIPELINE)
        return cls(program, folder)

    def copy(self):
        """The same with all it has computed; hard links between its files stay hard links."""
        folder = Path(tempfile.mkdtemp(dir=self.folder.parent))
        subprocess.run(["cp", "-a", f"{self.folder}/.", str(folder)], check=True)
        return Project(self.program, folder)

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, *arguments, out=subprocess.PIPE, err=subprocess.PIPE, shim=None, file_bytes=None, user=None, **more):
        """Starts the program on this folder's runs."""
        environment = dict(os.environ, NO_COLOR="1", **({"LD_PRELOAD": str(shim)} if shim else {}))

        def prepare():
            # This script may be started under nohup; the runs are not.
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            if file_bytes:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes,) * 2)

        command = [self.program, *arguments, "--runs-dir", str(self.runs)]
        more.setdefault("preexec_fn", prepare)
        if user is not None:
            more.update(user=user, group=user, extra_groups=[])
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, **more)

    def run(self, *arguments, **options):
        """`defrost run` to its end."""
        return ended(self.start("run", "stress.toml", *arguments, **options))

    def defrost(self, *arguments, **options):
        return ended(self.start(*arguments, **options))

    def directory(self, name="stress"):
        latest = self.runs / name / "latest"
        return self.runs / name / latest.read_text().strip()

    def events(self):
        found = list((self.runs / "stress").glob("*/events.jsonl"))
        return found[0].read_text(errors="replace") if found else ""

    def result(self, name="stress"):
        """Every deterministic file of the run with a digest of its bytes; None if it is not complete."""
        try:
            directory = self.directory(name)
            if (directory / "state").read_text().strip() != "complete":
                return None
            listed = json.loads((directory / "manifest.json").read_text())["files"]
            files = {file: digest((directory / file).read_bytes()) for file in listed}
        except (OSError, ValueError) as error:
            return {"unreadable": str(error)}
        # The plan and the settings have the run's name in them.
        return {file: found for file, found in files.items() if file.startswith("stages/")}


def digest(data):
    return hashlib.sha256(data).hexdigest()


def ended(child, patience=PATIENCE):
    """Waits for the end of a program, and kills one that hangs."""
    try:
        out, err = child.communicate(timeout=patience)
        hung = False
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        hung = True
    return Ended(child.returncode, (out or b"").decode(errors="replace"), (err or b"").decode(errors="replace"), hung)


def wait_for(project, child, text, patience=PATIENCE):
    """Waits until the run has said something, or is over; whether it still runs."""
    started = time.monotonic()
    while child.poll() is None and time.monotonic() - started < patience:
        if text in project.events():
            return True
        time.sleep(0.002)
    return False
