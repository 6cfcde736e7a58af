"""defrost and PyTorch in turns on one machine: ratios of paired rounds. README.md says what each row is."""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import head_stage
import images

HERE = Path(__file__).parent
STEPS = {
    "train": ("resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vit_s_16"),
    "infer": ("resnet18", "resnet50", "mobilenet_v2", "vit_s_16"),
    "frozen": ("resnet50",),
}
TITLES = {"train": "train step, all parameters", "infer": "inference", "frozen": "train step, frozen backbone"}


class Bench:
    """Both sides of every measurement, each in a process of its own."""

    def __init__(self, args):
        self.args = args
        self.work = args.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.seen = {}

    def call(self, command):
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.args.threads)}
        done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ours(self, *command):
        return json.loads(self.call([self.args.defrost, *command, "--json"]))

    def theirs(self, *command):
        threads = () if "--threads" in command else ("--threads", self.args.threads)
        return json.loads(self.call([sys.executable, HERE / "torch_side.py", *command, *threads]))

    def seconds(self, command):
        start = time.perf_counter()
        self.call(command)
        return time.perf_counter() - start

    def rounds(self, sides):
        """{side: [result of each round]}, the side that begins moving on by one each round."""
        names, results = list(sides), {name: [] for name in sides}
        for number in range(self.args.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                results[name].append(sides[name]())
        return results

    def photos(self):
        return images.folder(self.work, self.args.images, (640, 480))

    def step(self, mode, arch):
        """The rounds of one step; the row of its memory asks for the same ones."""
        if (mode, arch) not in self.seen:
            args = self.args
            shape = ("--arch", arch, "--mode", mode, "--batch", args.batch, "--image-size", args.image_size,
                     "--steps", args.steps, "--warmup", args.warmup)
            self.seen[mode, arch] = self.rounds({
                "defrost": lambda: self.ours("bench", *shape, "--threads", args.threads),
                "PyTorch": lambda: self.theirs("step", *shape),
                "PyTorch channels_last": lambda: self.theirs("step", *shape, "--channels-last"),
            })
        return self.seen[mode, arch]

    def step_row(self, mode, arch):
        results = self.step(mode, arch)
        numbers = {side: [result["step_ms"] for result in rounds] for side, rounds in results.items()}
        numbers["defrost"] = [step["median"] for step in numbers["defrost"]]
        return row(f"{TITLES[mode]}: {arch}", "ms", numbers)

    def memory_row(self):
        results = self.step("train", "resnet50")
        numbers = {side: [result["peak_rss_mb"] for result in rounds] for side, rounds in results.items()}
        return row("peak memory of the train step: resnet50", "MB", numbers)

    def data_row(self):
        args, folder = self.args, self.photos() / "train"
        shape = ("--images", folder, "--batch", args.batch, "--image-size", args.image_size,
                 "--steps", 2 * args.steps, "--warmup", args.warmup, "--threads", 1)
        results = self.rounds({
            "defrost": lambda: self.ours("bench", "--mode", "data", *shape),
            "PyTorch": lambda: self.theirs("data", *shape),
        })
        numbers = {side: [result["images_per_s"] for result in rounds] for side, rounds in results.items()}
        return row("JPEG to augmented tensor, one worker (more is better)", "images/s", numbers)

    def pipeline(self, name, root, start, arch, epochs, image_size):
        file = self.work / f"{name}.toml"
        file.write_text(head_stage.pipeline(
            root, name=name, start=start, arch=arch, epochs=epochs, image_size=image_size, batch=self.args.batch))
        return file

    def run(self, file, fresh=False):
        """The wall time of `run`, start-up and everything it writes included."""
        runs = self.work / f"{file.stem}-runs"
        if fresh:
            shutil.rmtree(runs, ignore_errors=True)
        return self.seconds([self.args.defrost, "run", file, "--runs-dir", runs, "--threads", self.args.threads])

    def stage_row(self, cache):
        args, folder, arch = self.args, self.photos(), self.args.stage_arch
        weights = self.work / f"{arch}.pth"
        if not weights.exists():
            self.theirs("weights", "--arch", arch, "--classes", len(images.CLASSES), "--weights", weights)
        start = f'kind = "load_weights"\nfile = {json.dumps(str(weights))}'
        file = self.pipeline("stage", folder, start, arch, args.epochs, args.image_size)
        shape = ("--arch", arch, "--images", folder, "--weights", weights, "--epochs", args.epochs,
                 "--batch", args.batch, "--image-size", args.image_size, *(["--cache"] if cache else []))
        last = self.step_row("infer", arch)["format"] == "PyTorch channels_last"
        results = self.rounds({
            "defrost": lambda: self.run(file, fresh=True),
            "PyTorch": lambda: self.theirs("stage", *shape, *(["--channels-last"] if last else []))["seconds"],
        })
        against = "features cached by hand" if cache else "plain loop"
        return row(f"frozen stage, {args.images} images, {args.epochs} epochs, {arch}: against a {against}", "s", results)

    def cached_row(self, count):
        folder = images.folder(self.work, count, (24, 24), images.tiny)
        name = f"cached-{count}"
        file = self.pipeline(name, folder, 'kind = "init_weights"', "resnet18", 1, 32)
        # Files of the last two seconds are not trusted to be at rest.
        time.sleep(3)
        self.run(file, fresh=True)
        return row(f"`run`, everything cached, {count} images", "s", self.rounds({"defrost": lambda: self.run(file)}))

    def plan_row(self, count):
        """The quickstart with as many seeds."""
        file = self.work / f"plan-{count}.toml"
        quickstart = json.dumps(str(HERE.parents[1] / "pipelines/quickstart.toml"))
        seeds = f'[[matrix]]\npath = "seed"\nvalues = {list(range(count))}'
        file.write_text(f'extends = {quickstart}\nname = "plan-{count}"\n\n{seeds}\n')
        command = [self.args.defrost, "plan", file, "--runs-dir", self.work / f"plan-{count}-runs"]
        return row(f"`plan` of {count} runs", "s", self.rounds({"defrost": lambda: self.seconds(command)}))

    def start_row(self, *command):
        defrost = self.args.defrost
        once = {"defrost": lambda: 1e3 * statistics.median(self.seconds([defrost, *command]) for _ in range(20))}
        return row(f"`{' '.join(part for part in command if not isinstance(part, Path))}`", "ms", self.rounds(once))

    def validate_row(self):
        file = self.pipeline("start", self.photos(), 'kind = "init_weights"', "resnet50", 1, 224)
        return self.start_row("validate", file)


def row(work, unit, numbers):
    """Medians of both sides, and the ratios of the rounds: to PyTorch in the memory format that is its better one."""
    ours = numbers.pop("defrost")
    result = {"work": work, "unit": unit, "defrost": statistics.median(ours), "rounds": {"defrost": ours, **numbers}}
    if numbers:
        side = min(numbers, key=lambda name: statistics.median(numbers[name]))
        ratios = [mine / other for mine, other in zip(ours, numbers[side])]
        result |= {"pytorch": statistics.median(numbers[side]), "format": side,
                   "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    return result


def catalogue(bench):
    """Every row by the name that `--only` knows it by."""
    rows = {f"{mode}/{arch}": lambda mode=mode, arch=arch: bench.step_row(mode, arch)
            for mode, archs in STEPS.items() for arch in archs}
    return rows | {
        "memory": bench.memory_row,
        "stage/plain": lambda: bench.stage_row(cache=False),
        "stage/cached": lambda: bench.stage_row(cache=True),
        "data": bench.data_row,
        "cached/1000": lambda: bench.cached_row(1_000),
        "cached/100000": lambda: bench.cached_row(bench.args.many),
        "plan/1000": lambda: bench.plan_row(1_000),
        "plan/10000": lambda: bench.plan_row(10_000),
        "start/validate": bench.validate_row,
        "start/help": lambda: bench.start_row("plan", "--help"),
    }


def markdown(row):
    cells = [row["work"], f"{row['defrost']:.4g} {row['unit']}"]
    if "ratio" in row:
        cells += [f"{row['pytorch']:.4g} {row['unit']}", f"**{row['ratio']:.2f}**",
                  f"{row['ratio_min']:.2f}–{row['ratio_max']:.2f}"]
    return "| " + " | ".join(cells + [""] * (5 - len(cells))) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--defrost", type=Path, default=HERE.parents[1] / "target/release/defrost")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows by name or by the beginning of it, such as `train`")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=10, help="timed steps of each round")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--images", type=int, default=1_000, help="photos of the stage and data rows")
    parser.add_argument("--many", type=int, default=100_000, help="images of the row with very many")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--stage-arch", default="resnet50")
    parser.add_argument("--work", type=Path, default=HERE.parents[1] / "target/bench", help="images, weights and runs")
    parser.add_argument("--json", type=Path, help="also write every number of every round to this file")
    args = parser.parse_args()
    args.defrost = args.defrost.resolve()
    rows = catalogue(Bench(args))
    if args.list:
        return print("\n".join(rows))
    chosen = [name for name in rows if not args.only or any(name.startswith(start) for start in args.only)]
    print("| work | defrost | PyTorch | ratio | spread |\n| --- | --- | --- | --- | --- |", flush=True)
    results, failed = {}, []
    for name in chosen:
        try:
            results[name] = rows[name]()
        except RuntimeError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(markdown(results[name]), flush=True)
        if args.json:
            settings = {key: str(value) for key, value in vars(args).items()}
            args.json.write_text(json.dumps({"settings": settings, "rows": results}, indent=2) + "\n")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
