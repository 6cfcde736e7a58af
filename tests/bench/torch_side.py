"""One measurement of PyTorch in a process of its own; prints one JSON document.

It is what a careful user would write: no gradient where none is wanted, the memory format that is asked for, and as
many threads as the other side has. Dropout and stochastic depth are off, as they are on the other side.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(arch, classes, channels_last=False):
    if arch == "vit_s_16":  # which torchvision lacks
        model = torchvision.models.VisionTransformer(224, 16, 12, 6, 384, 1536, num_classes=classes)
    else:
        model = torchvision.models.get_model(arch, weights=None, num_classes=classes)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def training(model):
    """Training mode, but for what drops at random."""
    model.train()
    for module in model.modules():
        if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
            module.eval()
    return model


def parted(model):
    """A frozen backbone that ends in features, and the linear head that it had."""
    name, head = list(model.named_children())[-1]
    setattr(model, name, nn.Identity())
    return model.eval().requires_grad_(False), training(head)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-4, momentum=0.9)


def descend(optimizer, logits, targets):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(logits, targets)
    loss.backward()
    optimizer.step()
    # What a loop prints; it also keeps both sides from running ahead of themselves.
    return loss.item()


def step(args):
    torch.manual_seed(0)
    model = build(args.arch, args.classes, args.channels_last)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size)
    if args.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(args.batch) % args.classes
    if args.mode == "train":
        optimizer = sgd(training(model).parameters())

        def once():
            descend(optimizer, model(images), targets)
    elif args.mode == "frozen":
        backbone, head = parted(model)
        optimizer = sgd(head.parameters())

        def once():
            with torch.no_grad():
                features = backbone(images)
            descend(optimizer, head(features), targets)
    else:
        model.eval()

        def once():
            with torch.inference_mode():
                model(images)

    seconds = timed(once, args.warmup, args.steps)
    return {"step_ms": 1e3 * statistics.median(seconds), "peak_rss_mb": peak_rss_mb()}


def timed(once, warmup, steps):
    seconds = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - start)
    return seconds[warmup:]


def data(args):
    """Images a second of one worker: what `DataLoader(num_workers=1)` would run, without the way between processes."""
    augmented = transforms.Compose([
        transforms.RandomResizedCrop(args.image_size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])
    dataset = torchvision.datasets.ImageFolder(args.images, augmented)
    order = torch.randperm(len(dataset)).tolist()
    position = 0

    def once():
        nonlocal position
        places = [order[(position + place) % len(order)] for place in range(args.batch)]
        position += args.batch
        torch.utils.data.default_collate([dataset[place] for place in places])

    seconds = timed(once, args.warmup, args.steps)
    return {"images_per_s": args.batch / statistics.median(seconds)}


def stage(args):
    """A whole stage with a frozen backbone, from weights on disk to weights on disk. Imports do not count."""
    start = time.perf_counter()
    plain = transforms.Compose([
        transforms.Resize(round(args.image_size / 0.875)),
        transforms.CenterCrop(args.image_size),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])
    parts = {part: torchvision.datasets.ImageFolder(args.images / part, plain) for part in ("train", "validation")}
    model = build(args.arch, len(parts["train"].classes), args.channels_last)
    model.load_state_dict(torch.load(args.weights, weights_only=True))
    backbone, head = parted(model)
    optimizer = sgd(head.parameters())

    @torch.no_grad()
    def through(images):
        if args.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return backbone(images)

    def loader(dataset, shuffle):
        workers = 0 if isinstance(dataset, TensorDataset) else args.threads
        return DataLoader(dataset, args.batch, shuffle=shuffle, num_workers=workers, persistent_workers=workers > 0)

    if args.cache:
        def kept(dataset):
            features, targets = zip(*((through(images), targets) for images, targets in loader(dataset, False)))
            return TensorDataset(torch.cat(features), torch.cat(targets))

        parts = {part: kept(dataset) for part, dataset in parts.items()}
        through = nn.Identity()
    train, validation = loader(parts["train"], True), loader(parts["validation"], False)
    for _ in range(args.epochs):
        for inputs, targets in train:
            descend(optimizer, head(through(inputs)), targets)
        with torch.no_grad():
            right = sum((head(through(inputs)).argmax(1) == targets).sum().item() for inputs, targets in validation)
    torch.save({**backbone.state_dict(), **head.state_dict()}, args.weights.with_suffix(".out.pth"))
    return {"seconds": time.perf_counter() - start, "accuracy": right / len(parts["validation"])}


def weights(args):
    """Random weights whose normalisations fit them, so that nothing overflows in a deep network."""
    torch.manual_seed(0)
    model = training(build(args.arch, args.classes))
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(8, 3, 64, 64))
    torch.save(model.state_dict(), args.weights)
    return {"weights": str(args.weights)}


def peak_rss_mb():
    """Linux's count of the most pages ever resident, in 10⁶ bytes: interpreter and libraries included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["step", "data", "stage", "weights"])
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--mode", choices=["train", "frozen", "infer"], default="train")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--cache", action="store_true", help="compute the backbone's features once")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(json.dumps({"step": step, "data": data, "stage": stage, "weights": weights}[args.what](args)))


if __name__ == "__main__":
    main()
