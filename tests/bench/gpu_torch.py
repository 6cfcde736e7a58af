"""PyTorch's side of gpu.py: steps and a stage as a careful user would write them, channels-last, on CUDA or on the CPU."""

import gc
import statistics
import time

import torch
import torchvision
from torch import nn
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def describe(device):
    """What computes, in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None}


def settle(device, precision):
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    torch.manual_seed(0)


def free():
    """Gives back what no tensor holds any more, so that the other side finds the GPU empty."""
    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Step:
    """One step again and again: SGD with momentum under cross-entropy, or inference; nothing is dropped at random."""

    def __init__(self, device, arch, mode, batch, size, precision, compiled):
        settle(device, precision)
        self.device, self.mode, self.half = device, mode, precision == "bf16"
        model = torchvision.models.get_model(arch, weights=None, num_classes=1000)
        for module in model.modules():
            if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
                module.p = 0.0
        model = model.to(device, memory_format=torch.channels_last).train(mode == "train")
        images = torch.randn(batch, 3, size, size, device=device)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.targets = torch.arange(batch, device=device) % 1000
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        self.model = torch.compile(model) if compiled else model

    def once(self):
        if self.mode == "infer":
            with torch.inference_mode():
                return self.model(self.images).cpu()
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            loss = nn.functional.cross_entropy(self.model(self.images), self.targets)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def milliseconds(self, warmup, steps):
        """The median; the clock is read when the device is done."""
        for _ in range(warmup):
            self.once()
        seconds = []
        for _ in range(steps):
            wait(self.device)
            start = time.perf_counter()
            self.once()
            wait(self.device)
            seconds.append(time.perf_counter() - start)
        return 1e3 * statistics.median(seconds)


def stage(device, arch, images, batch, size, epochs, workers):
    """A head trained on the features of a frozen backbone, which are computed once and stay on the device."""
    settle(device, "f32")
    start = time.perf_counter()
    plain = transforms.Compose([
        transforms.Resize(round(size / 0.875)), transforms.CenterCrop(size), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])
    parts = {part: torchvision.datasets.ImageFolder(images / part, plain) for part in ("train", "validation")}
    model = torchvision.models.get_model(arch, weights=None, num_classes=len(parts["train"].classes))
    name, head = list(model.named_children())[-1]
    setattr(model, name, nn.Identity())
    model, head = model.eval().to(device, memory_format=torch.channels_last), head.to(device)
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-4, momentum=0.9)

    @torch.inference_mode()
    def kept(dataset):
        loader = torch.utils.data.DataLoader(dataset, batch, num_workers=workers, pin_memory=device.type == "cuda")
        rows = [(model(x.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)),
                 y.to(device, non_blocking=True)) for x, y in loader]
        return [torch.cat(column) for column in zip(*rows)]

    # Out of inference mode, so that a gradient may be taken behind them.
    parts = {part: [column.clone() for column in kept(dataset)] for part, dataset in parts.items()}
    wait(device)
    extracted = time.perf_counter()
    features, targets = parts["train"]
    for _ in range(epochs):
        for chosen in torch.randperm(len(targets), device=device).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(head(features[chosen]), targets[chosen]).backward()
            optimizer.step()
        with torch.no_grad():
            held_out, truth = parts["validation"]
            (head(held_out).argmax(1) == truth).float().mean().item()
    wait(device)
    done = time.perf_counter()
    return {"extract_s": extracted - start, "epochs_per_s": epochs / (done - extracted), "seconds": done - start}
