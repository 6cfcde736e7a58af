"""One measurement of the package `ultralytics` in a process of its own; prints one JSON document.

The package is under AGPL-3.0. It is only run, through its public names: its networks, its loss on a batch, and its
suppression of boxes.
"""

import argparse
import json
import os
import statistics
from pathlib import Path

# The package looks for fonts, updates and other packages on the network.
os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}

import numpy
import torch
from safetensors.torch import load_file, save_file
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.nms import non_max_suppression

import boxed_images
from torch_side import peak_rss_mb, timed

IOU = 0.7
MOST = 300


def network(arch, classes, weights=None):
    model = DetectionModel(f"{arch}.yaml", ch=3, nc=classes, verbose=False)
    model.args = get_cfg()
    if weights:
        model.load_state_dict(load_file(weights))
    return model


def batch_of(images, rows):
    rows = torch.as_tensor(numpy.asarray(rows), dtype=torch.float32)
    return {"img": images, "batch_idx": rows[:, 0], "cls": rows[:, 1:2], "bboxes": rows[:, 2:]}


def read(folder, part):
    files, images, rows = boxed_images.read(folder, part)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
    return files, batch_of(pixels, rows)


def terms(items):
    """The three gained terms: box, class, distances."""
    if isinstance(items, dict):
        items = [items[name] for name in ("box_loss", "cls_loss", "dfl_loss")]
    return [float(item) for item in items]


def sgd(model, lr):
    """The groups of the other side: no decay of norms and biases."""
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "dfl" not in name]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)


def descend(model, optimizer, batch):
    optimizer.zero_grad()
    loss, items = model.loss(batch)
    loss.sum().backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    return terms(items), float(norm)


def weights(args):
    """Random weights; the same after a short training, which find boxes; and those with noise in their classes."""
    torch.manual_seed(0)
    model = network(args.arch, len(boxed_images.CLASSES)).train()
    args.out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), args.out / f"{args.arch}-random.safetensors")
    _, batch = read(args.images, "train")
    optimizer = torch.optim.AdamW(model.parameters(), 0.002)
    # The published momentum of running statistics, 0.03, is too slow for so few steps.
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.3
    for _ in range(args.steps):
        found, _ = descend(model, optimizer, batch)
    save_file(model.state_dict(), args.out / f"{args.arch}-trained.safetensors")
    # Many places now have several classes that are likely enough for a prediction.
    for branch in model.model[-1].cv3:
        scores = branch[-1]
        torch.nn.init.constant_(scores.bias, -1.2)
        scores.weight.data = 0.5 * scores.weight.data + 0.05 * torch.randn_like(scores.weight)
    save_file(model.state_dict(), args.out / f"{args.arch}-unsure.safetensors")
    return {"terms": found}


def outputs(args):
    """Decoded outputs, boxes after suppression with the settings of an evaluation and of a prediction, and the loss."""
    model = network(args.arch, len(boxed_images.CLASSES), args.weights).eval()
    files, batch = read(args.images, "validation")
    with torch.no_grad():
        decoded, maps = model(batch["img"])
        _, items = model.init_criterion()(maps, batch)
    numpy.save(args.out, decoded.numpy())
    kept = {}
    for name, confidence, many in (("evaluation", 0.001, True), ("prediction", 0.25, False)):
        found = non_max_suppression(decoded.clone(), confidence, IOU, multi_label=many, max_det=MOST)
        kept[name] = [image[:, :6].tolist() for image in found]
    return {"files": [file.name for file in files], "kept": kept, "terms": terms(items)}


def steps(args):
    """Training steps on one batch: the terms of each, and the state after the first and the last."""
    model = network(args.arch, len(boxed_images.CLASSES), args.weights).train()
    _, batch = read(args.images, "train")
    optimizer = sgd(model, args.lr)
    found = [descend(model, optimizer, batch) for _ in range(args.steps)]
    save_file(model.state_dict(), args.out)
    return {"terms": [terms for terms, _ in found], "norms": [norm for _, norm in found]}


def bench(args):
    """The time of a training step on synthetic images with seven boxes each, as on the other side."""
    torch.manual_seed(0)
    model = network(args.arch, args.classes).train()
    images = torch.rand(args.batch, 3, args.image_size, args.image_size)
    if args.channels_last:
        model, images = model.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
    rows = [
        [image, number % args.classes, 0.1 * number + 0.15, 0.05 * number + 0.2, 0.3, 0.4]
        for image in range(args.batch)
        for number in range(7)
    ]
    batch, optimizer = batch_of(images, rows), torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def once():
        optimizer.zero_grad()
        loss, items = model.loss(batch)
        loss.sum().backward()
        optimizer.step()
        terms(items)

    seconds = timed(once, args.warmup, args.steps)
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"step_ms": 1e3 * statistics.median(seconds), "peak_rss_mb": peak_rss_mb(), "trainable": trainable}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["weights", "outputs", "steps", "bench"])
    parser.add_argument("--arch", default="yolo11n")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=320)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--channels-last", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps({"weights": weights, "outputs": outputs, "steps": steps, "bench": bench}[args.what](args)))


if __name__ == "__main__":
    main()
