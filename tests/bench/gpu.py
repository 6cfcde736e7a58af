"""defrost and PyTorch in turns on the same NVIDIA GPU: steps, and a stage whose head trains on features that are kept.

    python tests/bench/gpu.py --defrost target/cuda/x86_64-unknown-linux-gnu/release/defrost --seconds 500 --out gpu.json

First every row against eager PyTorch (channels-last, cudnn.benchmark), then the stage, then every row against torch.compile;
--against has one of them alone. A ratio is the median over rounds, in each of which both sides ran; above 1, defrost is the
slower one. Both read the clock when the GPU is done. Precision is that of training steps; defrost's inference is float32
whatever steps are trained in, and computes 32 images at a time, so PyTorch's is float32 there, too.

What one side cannot compute, for want of memory or otherwise, is said in its row. When --seconds are over, rows that were not
reached are left out. `--device cpu --batch 2 --image-size 64 --steps 2 --warmup 1` shows that all of it runs.
"""

import argparse
import datetime
import json
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

import gpu_torch
import head_stage
import images

ARCHS = ["resnet50", "efficientnet_b0", "mobilenet_v2"]
# What NVIDIA states for dense products: TFLOP/s in f32, tf32 and bf16, and TB/s of memory. H100 and H200: "H100 Tensor Core GPU"
# and "H200 Tensor Core GPU" datasheets, whose tensor core numbers are with sparsity, twice these; A100: "A100 Tensor Core GPU".
PEAKS = {
    "H200": (67, 494.7, 989.4, 4.8),
    "H100 80GB HBM3": (67, 494.7, 989.4, 3.35),
    "H100 NVL": (60, 417.5, 835.5, 3.9),
    "H100 PCIe": (51, 378, 756, 2.0),
    "A100-SXM4-80GB": (19.5, 156, 312, 2.039),
    "A100 80GB PCIe": (19.5, 156, 312, 1.935),
    "A100-SXM4-40GB": (19.5, 156, 312, 1.555),
    "A100-PCIE-40GB": (19.5, 156, 312, 1.555),
}


class Failed(Exception):
    """One side could not compute a row; why, in a line."""


class TimeIsUp(Exception):
    """No time is left to begin anything."""


class Bench:
    def __init__(self, args):
        self.args = args
        self.device = torch.device(args.device)
        self.end = time.monotonic() + args.seconds
        self.about = gpu_torch.describe(self.device)
        self.peak = next((peak for name, peak in PEAKS.items() if name in self.about["device"]), None)
        self.rows = []

    def defrost(self, *command):
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeIsUp
        command = [self.args.defrost, *command, "--device", self.args.device, "--json"]
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            raise TimeIsUp from None
        if done.returncode:
            said = done.stderr.strip() or f"exit code {done.returncode}"
            raise Failed(said.splitlines()[0].removeprefix("error: ")[:200])
        return json.loads(done.stdout)

    def theirs(self, compute):
        """What `compute` hands back, or why PyTorch could not."""
        if time.monotonic() > self.end:
            raise TimeIsUp
        try:
            return compute()
        except Exception as error:  # of CUDA, the compiler, the memory: whatever it is, it is this row's alone
            reason = f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0][:200]}"
        raise Failed(reason)

    def step_row(self, shape, against):
        """Steps of both sides in turns; the row so far, if a side fails or time is up."""
        args = self.args
        row = {**shape, "against": against}
        command = ["bench", "--arch", shape["arch"], "--mode", shape["mode"], "--batch", shape["batch"], "--image-size",
                   args.image_size, "--warmup", args.warmup, "--steps", args.steps]
        if shape["mode"] == "train":
            command += ["--precision", shape["precision"]]
        measured, step = {"defrost": [], "pytorch": []}, None
        try:
            for _ in range(args.rounds):
                if "defrost" not in row.get("failed", {}):
                    try:
                        document = self.defrost(*command)
                        measured["defrost"].append(document["step_ms"]["median"])
                        network = document["network"]
                        row |= {"flop": 2 * network["multiply_adds"], "bytes": network["bytes"]}
                    except Failed as error:
                        row.setdefault("failed", {})["defrost"] = str(error)
                if "pytorch" not in row.get("failed", {}):
                    try:
                        step = step or self.theirs(lambda: gpu_torch.Step(
                            self.device, shape["arch"], shape["mode"], shape["batch"], args.image_size,
                            shape["precision"], against == "compiled"))
                        measured["pytorch"].append(self.theirs(lambda: step.milliseconds(args.warmup, args.steps)))
                    except Failed as error:
                        row.setdefault("failed", {})["pytorch"] = str(error)
                        step = None
                if len(row.get("failed", {})) == 2:
                    break
        except TimeIsUp:
            # A round that has both sides is a result.
            if not (measured["defrost"] and measured["pytorch"]):
                raise
        finally:
            step = None
            gpu_torch.free()
        pairs = list(zip(measured["defrost"], measured["pytorch"]))
        row["rounds_ms"] = measured
        for side, times in measured.items():
            if times:
                row[f"{side}_ms"] = statistics.median(times)
        if pairs:
            row["ratio"] = statistics.median(ours / other for ours, other in pairs)
        return row | self.shares(row)

    def shares(self, row):
        """Of what the GPU could do: FLOP/s of products, bytes/s of activations; both sides owe the same work."""
        shares = {}
        for side in ("defrost", "pytorch"):
            milliseconds = row.get(f"{side}_ms")
            if milliseconds is None or "flop" not in row:
                continue
            flops, bytes_ = row["flop"] / milliseconds / 1e9, row["bytes"] / milliseconds / 1e9
            shares |= {f"{side}_tflops": flops, f"{side}_tbytes_per_s": bytes_}
            if self.peak:
                of = self.peak[("f32", "tf32", "bf16").index(row["precision"])]
                shares |= {f"{side}_share_of_flops": flops / of, f"{side}_share_of_bytes": bytes_ / self.peak[3]}
        return shares

    def stage_row(self):
        """A whole stage, in turns: features extracted once, then epochs of a head on them."""
        args, measured = self.args, {"defrost": [], "pytorch": []}
        shape = {"arch": args.stage_arch, "batch": args.stage_batch, "images": args.images, "epochs": args.epochs}
        row = {**shape, "mode": "stage", "precision": "f32", "against": "features kept by hand"}
        with tempfile.TemporaryDirectory() as work:
            folder = images.folder(work, args.images, (320, 240))
            workers = len(os.sched_getaffinity(0))
            for _ in range(args.rounds):
                try:
                    measured["defrost"].append(self.run(Path(work), folder))
                    measured["pytorch"].append(self.theirs(lambda: gpu_torch.stage(
                        self.device, args.stage_arch, folder, args.stage_batch, args.image_size, args.epochs, workers)))
                except Failed as error:
                    row["failed"] = {"a side": str(error)}
                    break
                except TimeIsUp:
                    break
                finally:
                    gpu_torch.free()
        pairs = list(zip(measured["defrost"], measured["pytorch"]))
        if not pairs and "failed" not in row:
            raise TimeIsUp
        row["rounds"] = measured
        for what in ("extract_s", "epochs_per_s", "seconds"):
            for side, rounds in measured.items():
                if rounds:
                    row[f"{side}_{what}"] = statistics.median(result[what] for result in rounds)
        if pairs:
            row |= {f"{what}_ratio": statistics.median(ours[what] / other[what] for ours, other in pairs)
                    for what in ("extract_s", "seconds")}
            row["epoch_ratio"] = statistics.median(other["epochs_per_s"] / ours["epochs_per_s"] for ours, other in pairs)
        return row

    def run(self, work, folder):
        """The stage in a fresh runs folder. When its features were there, and each epoch over, its events say."""
        args, runs = self.args, work / "runs"
        shutil.rmtree(runs, ignore_errors=True)
        pipeline = work / "stage.toml"
        pipeline.write_text(head_stage.pipeline(
            folder, name="stage", start='kind = "init_weights"', arch=args.stage_arch, image_size=args.image_size,
            epochs=args.epochs, batch=args.stage_batch))
        document = self.defrost("run", pipeline, "--runs-dir", runs)
        events = [json.loads(line) for line in (Path(document["run_dir"]) / "events.jsonl").read_text().splitlines()]
        events = [event for event in events if event.get("stage") == "frozen"]

        def last(kind):
            times = [event["time"] for event in events if event["event"] == kind]
            return datetime.datetime.fromisoformat(times[-1]).timestamp() if times else math.nan

        start, extracted, done = last("stage_started"), last("features"), last("epoch_finished")
        seconds = next(stage["seconds"] for stage in document["stages"] if stage["name"] == "frozen")
        return {"extract_s": extracted - start, "epochs_per_s": args.epochs / max(done - extracted, 1e-3),
                "seconds": seconds}

    def shapes(self):
        args = self.args
        return [{"arch": arch, "mode": mode, "batch": batch, "precision": precision}
                for batch in args.batch for arch in args.arch for mode in args.mode
                for precision in (args.precision if mode == "train" else ["f32"])]

    def all(self):
        args = self.args
        print(json.dumps(self.about), flush=True)
        print("peak: " + (f"{self.peak[:3]} TFLOP/s in f32, tf32, bf16, {self.peak[3]} TB/s" if self.peak else "not known"))
        tasks = []
        for against in args.against:
            if against == "stage":
                tasks.append(self.stage_row)
            else:
                tasks += [lambda shape=shape, against=against: self.step_row(shape, against) for shape in self.shapes()]
        for number, task in enumerate(tasks):
            try:
                self.rows.append(task())
            except TimeIsUp:
                print(f"time is up: {len(tasks) - number} of {len(tasks)} rows left out", flush=True)
                break
            print(line(self.rows[-1]), flush=True)
            self.save(summary(self.rows))
        means = summary(self.rows)
        for name, mean in means.items():
            print(f"{name:40} {mean:.3f}")

    def save(self, means):
        """After every row: what is stopped from outside keeps what it has."""
        if self.args.out:
            settings = {key: str(value) for key, value in vars(self.args).items()}
            document = {"about": self.about, "settings": settings, "summary": means, "rows": self.rows}
            Path(self.args.out).write_text(json.dumps(document, indent=1) + "\n")


def line(row):
    """A row for people."""
    shape = f"{row['arch']:16} {row['mode']:6} batch {row['batch']:4} {row['precision']:5} against {row['against']:22}"
    if row["mode"] == "stage":
        cells = [f"{side} {row[f'{side}_extract_s']:.2f} s to extract, {row[f'{side}_epochs_per_s']:.1f} epochs/s"
                 for side in ("defrost", "pytorch") if f"{side}_seconds" in row]
        if "seconds_ratio" in row:
            cells.append(f"ratio {row['extract_s_ratio']:.2f}, {row['epoch_ratio']:.2f}, whole {row['seconds_ratio']:.2f}")
    else:
        cells = [f"{side} {row[f'{side}_ms']:.2f} ms" for side in ("defrost", "pytorch") if f"{side}_ms" in row]
        cells += [f"ratio {row['ratio']:.3f}"] if "ratio" in row else []
        cells += [f"{row['defrost_tflops']:.2f} TFLOP/s, {row['defrost_tbytes_per_s']:.3f} TB/s"] if "defrost_tflops" in row else []
        if "defrost_share_of_flops" in row:
            cells.append(f"{row['defrost_share_of_flops']:.0%} and {row['defrost_share_of_bytes']:.0%} of peak")
    cells += [f"{side} failed: {reason}" for side, reason in row.get("failed", {}).items()]
    return shape + "  " + "; ".join(cells)


def summary(rows):
    """The geometric mean of the ratios of each mode and precision, against each of PyTorch's ways."""
    groups = {}
    for row in rows:
        if "ratio" in row:
            groups.setdefault(f"{row['mode']} {row['precision']} against {row['against']}", []).append(row["ratio"])
    return {name: statistics.geometric_mean(ratios) for name, ratios in groups.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defrost", required=True)
    parser.add_argument("--device", default="cuda:0", help="of both sides: cuda:0, or cpu to try the script")
    parser.add_argument("--against", nargs="+", choices=["eager", "stage", "compiled"], default=["eager", "stage", "compiled"])
    parser.add_argument("--arch", nargs="+", default=ARCHS)
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--precision", nargs="+", choices=["f32", "tf32", "bf16"], help="all; on a CPU f32")
    parser.add_argument("--mode", nargs="+", choices=["train", "infer"], default=["train", "infer"])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--stage-arch", default="resnet50")
    parser.add_argument("--stage-batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=2000, help="of the stage's folder, a fifth of them for validation")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3600, help="nothing is begun after so many")
    parser.add_argument("--out", help="a JSON document of all rows, written after each of them")
    args = parser.parse_args()
    args.precision = args.precision or (["f32"] if args.device == "cpu" else ["f32", "tf32", "bf16"])
    Bench(args).all()


if __name__ == "__main__":
    main()
