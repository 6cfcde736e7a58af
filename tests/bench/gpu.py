"""Steps of defrost and of PyTorch on the same NVIDIA GPU, in turns: one table, and one JSON document with --out.

    python tests/bench/gpu.py --defrost target/cuda/x86_64-unknown-linux-gnu/release/defrost

PyTorch runs channels-last, eager with cudnn.benchmark and, with --compiled, through torch.compile as well. What counts is
the ratio of the medians of paired rounds; above 1, defrost is the slower one. Precision is that of training steps;
inference is float32 on both sides.
"""

import argparse
import json
import statistics
import subprocess
import time

import torch
import torchvision
from torch import nn

ARCHS = ["resnet50", "efficientnet_b0", "mobilenet_v2"]


def step_of(arch, mode, batch, size, precision, compiled):
    torch.backends.cudnn.benchmark = True
    tf32 = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.manual_seed(0)
    model = torchvision.models.get_model(arch, weights=None, num_classes=1000)
    model = model.cuda().to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    images = torch.randn(batch, 3, size, size, device="cuda").contiguous(memory_format=torch.channels_last)
    targets = torch.arange(batch, device="cuda") % 1000
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    forward = torch.compile(model) if compiled else model

    def train():
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
            loss = nn.functional.cross_entropy(forward(images), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        with torch.inference_mode():
            return forward(images).cpu()

    (model.train if mode == "train" else model.eval)()
    return train if mode == "train" else infer


def torch_ms(step, warmup, steps):
    for _ in range(warmup):
        step()
    torch.cuda.synchronize()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds)


def defrost_ms(args, arch, mode, batch, precision):
    command = [args.defrost, "bench", "--device", "cuda:0", "--json", "--arch", arch, "--mode", mode, "--batch", batch,
               "--image-size", args.image_size, "--warmup", args.warmup, "--steps", args.steps]
    if mode == "train":
        command += ["--precision", precision]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)["step_ms"]["median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defrost", required=True)
    parser.add_argument("--arch", nargs="+", default=ARCHS)
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--precision", nargs="+", default=["f32", "tf32", "bf16"])
    parser.add_argument("--mode", nargs="+", default=["train", "infer"])
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--out")
    args = parser.parse_args()

    print(torch.cuda.get_device_name(), "PyTorch", torch.__version__, "cuDNN", torch.backends.cudnn.version(), flush=True)
    rows = []
    for arch in args.arch:
        for mode in args.mode:
            for batch in args.batch:
                for precision in args.precision if mode == "train" else ["f32"]:
                    row = {"arch": arch, "mode": mode, "batch": batch, "precision": precision}
                    try:
                        ours, theirs = [], []
                        for _ in range(args.rounds):
                            ours.append(defrost_ms(args, arch, mode, batch, precision))
                            step = step_of(arch, mode, batch, args.image_size, precision, False)
                            theirs.append(torch_ms(step, args.warmup, args.steps))
                            del step
                            torch.cuda.empty_cache()
                        row |= {"defrost_ms": statistics.median(ours), "eager_ms": statistics.median(theirs),
                                "ratio": statistics.median(a / b for a, b in zip(ours, theirs))}
                        if args.compiled:
                            step = step_of(arch, mode, batch, args.image_size, precision, True)
                            row["compiled_ms"] = torch_ms(step, args.warmup, args.steps)
                            row["compiled_ratio"] = row["defrost_ms"] / row["compiled_ms"]
                    except (RuntimeError, torch.cuda.OutOfMemoryError) as error:
                        row["error"] = str(error)[-300:]
                    rows.append(row)
                    print("  ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{v}" for k, v in row.items()), flush=True)
    if args.out:
        with open(args.out, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
