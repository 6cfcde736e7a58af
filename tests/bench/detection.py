"""defrost and the package `ultralytics` in turns on one machine: do they agree, and how fast are they?

README.md says what each row is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file

import boxed_images
from compare import markdown, row

HERE = Path(__file__).parent
ARCHS = ("yolo11n", "yolo11s")
SIZES = (320, 640)


class Bench:
    """Both sides, each measurement in a process of its own."""

    def __init__(self, args):
        self.args = args
        self.work = args.work.resolve()
        self.work.mkdir(parents=True, exist_ok=True)

    def call(self, command, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def ours(self, *command):
        return json.loads(self.call([self.args.defrost, *command, "--json"], self.args.threads))

    def theirs(self, *command, threads=None):
        threads = threads or self.args.threads
        out = self.call([sys.executable, HERE / "detection_torch.py", *command, "--threads", threads], threads)
        # The package prints notes of its own first.
        return json.loads(out.splitlines()[-1])

    def images(self):
        return boxed_images.folder(self.work, self.args.batch, self.args.agreement_size)

    def weights(self, kind):
        """`random`; `trained`, the same network after a short training; or `unsure`, that one with noise in its classes."""
        arch = self.args.agreement_arch
        file = self.work / f"{arch}-{kind}.safetensors"
        if not file.exists():
            self.theirs("weights", "--arch", arch, "--images", self.images(), "--out", self.work, "--steps", 60, threads=1)
        return file

    def run(self, kind, stage, epochs=1):
        """The folder of a stage, run from these weights."""
        args = self.args
        file = self.work / f"{args.agreement_arch}-{kind}-{epochs}.toml"
        file.write_text(boxed_images.pipeline(
            self.images(), self.weights(kind), name=file.stem, arch=args.agreement_arch,
            image_size=args.agreement_size, epochs=epochs, batch=args.batch, lr=args.lr))
        runs = self.work / "runs"
        done = self.ours("run", file, "--runs-dir", runs, "--until", stage)
        return file, Path(done["run_dir"]) / "stages" / stage

    def outputs_rows(self, kind):
        """The boxes that are kept, the decoded outputs that they are, and the loss in evaluation."""
        args, decoded = self.args, self.work / "decoded.npy"
        theirs = self.theirs("outputs", "--arch", args.agreement_arch, "--images", self.images(), "--weights",
                             self.weights(kind), "--out", decoded, threads=1)
        file, stage = self.run(kind, "check")
        decoded, metrics = numpy.load(decoded), json.loads((stage / "metrics.json").read_text())
        evaluation = evaluation_boxes(stage, theirs["files"])
        predicted = self.ours("predict", file, *(self.images() / "images/validation" / name for name in theirs["files"]),
                              "--runs-dir", self.work / "runs", "--stage", "start")
        yield f"{kind} weights: decoded outputs, in pixels", decoded_error(evaluation, decoded, args.agreement_size)
        yield from boxes_rows(f"{kind} weights: boxes of an evaluation", evaluation, theirs["kept"]["evaluation"])
        yield from boxes_rows(f"{kind} weights: boxes of a prediction", predicted_boxes(predicted), theirs["kept"]["prediction"])
        yield f"{kind} weights: loss in evaluation", relative(losses(metrics), theirs["terms"])
        yield f"{kind} weights: AP50-95, from pycocotools", abs(metrics["ap50_95"] - coco_ap(stage, self.images()))

    def step_rows(self, kind):
        """Training steps: terms of the loss, and the change of every tensor.

        From random weights only one: after five, the package differs by half of the change from itself with weights that
        are one part in 10⁷ apart.
        """
        args, after = self.args, self.work / f"{kind}-after.safetensors"
        start = load_file(self.weights(kind))
        for epochs in (1,) if kind == "random" else (1, args.agreement_steps):
            theirs = self.theirs("steps", "--arch", args.agreement_arch, "--images", self.images(), "--weights",
                                 self.weights(kind), "--out", after, "--steps", epochs, "--lr", args.lr, threads=1)
            _, stage = self.run(kind, "steps", epochs)
            history = [line.split(",") for line in (stage / "history.csv").read_text().splitlines()]
            columns = [history[0].index(f"train_{name}") for name in ("box_loss", "class_loss", "dfl_loss")]
            found = [[float(line[column]) for column in columns] for line in history[1:]]
            yield f"{kind} weights: loss of {plural(epochs, 'step')}", relative(found, theirs["terms"])
            changes = change_errors(start, load_file(stage / "last.safetensors"), load_file(after))
            yield f"{kind} weights: change of all weights after {plural(epochs, 'step')}", changes["weights"]
            yield f"{kind} weights: running statistics after {plural(epochs, 'step')}", changes["statistics"]

    def step_bench(self, arch, size):
        args = self.args
        shape = ("--arch", arch, "--batch", args.batch, "--image-size", size, "--classes", 80,
                 "--steps", args.steps, "--warmup", args.warmup)
        sides = {
            "defrost": lambda: self.ours("bench", *shape, "--mode", "train", "--threads", args.threads),
            "PyTorch": lambda: self.theirs("bench", *shape),
            "PyTorch channels_last": lambda: self.theirs("bench", *shape, "--channels-last"),
        }
        results = {name: [] for name in sides}
        names = list(sides)
        for number in range(args.rounds):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                results[name].append(sides[name]())
        counts = {results["defrost"][0]["network"]["trainable"], results["PyTorch"][0]["trainable"]}
        if len(counts) > 1:
            raise RuntimeError(f"{arch}: the two sides train {sorted(counts)} parameters")
        times = {name: [result["step_ms"] for result in rounds] for name, rounds in results.items()}
        times["defrost"] = [step["median"] for step in times["defrost"]]
        memory = {name: [result["peak_rss_mb"] for result in rounds] for name, rounds in results.items()}
        work = f"{arch} at {size}, batch {args.batch}"
        yield row(f"training step: {work}", "ms", times)
        yield row(f"peak memory: {work}", "MB", memory)


def losses(metrics):
    return [metrics[name] for name in ("box_loss", "class_loss", "dfl_loss")]


def relative(found, expected):
    """The largest difference, as a fraction of the largest expected value."""
    found, expected = numpy.asarray(found, float), numpy.asarray(expected, float)
    return float(numpy.abs(found - expected).max() / numpy.abs(expected).max())


def plural(count, word):
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def evaluation_boxes(stage, files):
    """Rows (left, top, right, bottom, score, class) of each file."""
    ids = {image["id"]: Path(image["file_name"]).name
           for image in json.loads((stage / "predictions_coco_ids.json").read_text())["images"]}
    kept = {name: [] for name in files}
    for found in json.loads((stage / "predictions_coco.json").read_text()):
        x, y, width, height = found["bbox"]
        kept[ids[found["image_id"]]].append([x, y, x + width, y + height, found["score"], found["category_id"] - 1])
    return [kept[name] for name in files]


def predicted_boxes(document):
    return [[[*box["box"], box["score"], box["class"]] for box in image["boxes"]] for image in document["predictions"]]


def decoded_error(kept, decoded, size):
    """The largest distance in pixels of a kept box from the decoded output of its class and score that is nearest."""
    worst = 0.0
    for rows, outputs in zip(kept, decoded):
        x, y, width, height = outputs[:4]
        boxes = numpy.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1).clip(0, size)
        for *corners, score, label in rows:
            same = numpy.abs(outputs[4 + int(label)] - score) < 1e-4 * score + 1e-6
            apart = numpy.abs(boxes - corners).max(-1)[same]
            worst = max(worst, float(apart.min()) if len(apart) else numpy.inf)
    return worst


def boxes_rows(name, ours, theirs):
    """Boxes that only one side has, and the largest distances of the others in pixels and in score."""
    only, pixels, scores, count = 0, 0.0, 0.0, 0
    for mine, other in zip(ours, theirs):
        mine, other = numpy.array(mine).reshape(-1, 6), numpy.array(other).reshape(-1, 6)
        other[:, :4] = other[:, :4].clip(0, None)
        left = list(range(len(other)))
        count += len(other)
        for found in mine:
            near = [place for place in left if other[place, 5] == found[5]
                    and abs(other[place, 4] - found[4]) < 1e-4 * found[4] + 1e-6
                    and numpy.abs(other[place, :2] - found[:2]).max() < 0.05]
            if not near:
                only += 1
                continue
            best = min(near, key=lambda place: numpy.abs(other[place, :4] - found[:4]).max())
            left.remove(best)
            pixels = max(pixels, float(numpy.abs(other[best, :2] - found[:2]).max()))
            scores = max(scores, float(abs(other[best, 4] - found[4])))
        only += len(left)
    yield f"{name}: of {count}, on one side only", only
    yield f"{name}: corners, in pixels", pixels
    yield f"{name}: scores", scores


def change_errors(start, found, expected):
    """The norm of the difference of all changes, as a fraction of the norm of the package's changes."""
    sums = {"weights": [0.0, 0.0], "statistics": [0.0, 0.0]}
    for name, before in start.items():
        if name.endswith("num_batches_tracked"):
            if found[name] != expected[name]:
                raise RuntimeError(f"{name}: {found[name]} and {expected[name]}")
            continue
        kind = "statistics" if ".running_" in name else "weights"
        change = expected[name].astype(float) - before
        error = found[name].astype(float) - expected[name]
        sums[kind][0] += float((error**2).sum())
        sums[kind][1] += float((change**2).sum())
    return {kind: (error / change) ** 0.5 for kind, (error, change) in sums.items()}


def coco_ap(stage, folder):
    """AP50-95 of pycocotools."""
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    index = json.loads((stage / "predictions_coco_ids.json").read_text())
    ids = {Path(image["file_name"]).name: image["id"] for image in index["images"]}
    files, images, rows = boxed_images.read(folder, "validation")
    side, annotations = images.shape[1], []
    for number, label, *box in rows.tolist():
        x, y, width, height = (value * side for value in box)
        annotations.append({"id": len(annotations) + 1, "image_id": ids[files[int(number)].name], "iscrowd": 0,
                            "category_id": int(label) + 1, "area": width * height,
                            "bbox": [x - width / 2, y - height / 2, width, height]})
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = {**index, "annotations": annotations}
        truth.createIndex()
        scored = COCOeval(truth, truth.loadRes(str(stage / "predictions_coco.json")), "bbox")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return float(scored.stats[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--defrost", type=Path, default=HERE.parents[1] / "target/release/defrost")
    parser.add_argument("--only", nargs="+", choices=["outputs", "step", "bench"], default=["outputs", "step", "bench"])
    parser.add_argument("--agreement-arch", default="yolo11n")
    parser.add_argument("--agreement-size", type=int, default=160)
    parser.add_argument("--agreement-steps", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--archs", nargs="+", default=ARCHS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each round")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--work", type=Path, default=HERE.parents[1] / "target/bench-detection", help="images, weights and runs")
    parser.add_argument("--json", type=Path, help="also write every number of every round to this file")
    args = parser.parse_args()
    args.defrost = args.defrost.resolve()
    bench, document = Bench(args), {"agreement": {}, "rows": []}
    if {"outputs", "step"} & set(args.only):
        print("| compared | difference |\n| --- | --- |", flush=True)
        rows = [bench.outputs_rows(kind) for kind in ("trained", "unsure")] if "outputs" in args.only else []
        rows += [bench.step_rows(kind) for kind in ("random", "trained")] if "step" in args.only else []
        for name, difference in (pair for pairs in rows for pair in pairs):
            document["agreement"][name] = difference
            print(f"| {name} | {difference:.3g} |", flush=True)
    if "bench" in args.only:
        print("\n| work | defrost | PyTorch | ratio | spread |\n| --- | --- | --- | --- | --- |", flush=True)
        for arch in args.archs:
            for size in args.sizes:
                for measured in bench.step_bench(arch, size):
                    document["rows"].append(measured)
                    print(markdown(measured), flush=True)
    if args.json:
        args.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
