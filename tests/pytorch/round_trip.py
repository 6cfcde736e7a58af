"""There and back, for every architecture: a model of torchvision or timm saves its weights, defrost loads them, trains the
head for one epoch, and what it saved is loaded by the same library with `strict=True`.

    cargo build && python tests/pytorch/round_trip.py [--binary target/debug/defrost] [ARCH ...]

torch 2.15.0, torchvision 0.29.2, timm 1.0.31, safetensors 0.8, pillow. A row of the table says for each file that frozen
tensors came back bit for bit, and how far the class probabilities of `defrost predict` are from PyTorch's softmax on the
same images, in float64: the greatest difference of their logarithms (logits but for a constant), as a share of the
greatest logarithm. Beside it, what PyTorch's own float32 differs by.

Weights are random, with running statistics of real batches: no package carries published ones of these networks. What
begins as a constant (biases, norms, the scales of ConvNeXt's blocks, a head of zeros) is moved, so that each of them counts.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import nn

torch.set_num_threads(1)
CLASSES = [f"class{index}" for index in range(10)]
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
SIZE = 64
# timm makes Swin for images of one size.
SIZES = {"swin_tiny_patch4_window7_224": 224}

PIPELINE = """name = "trip"
[data.images]
format = "image_folder"
root = "images"
image_size = {size}
resize = {size}
normalize = "imagenet"
split = {{ validation = 0, test = 0 }}
[model.net]
arch = "{arch}"
[stage.pretrained]
kind = "load_weights"
file = "{file}"
[stage.head]
kind = "train"
from = "pretrained"
train = ["@head"]
epochs = 1
batch_size = 10
optimizer = {{ kind = "sgd", lr = 1e-3 }}
"""


def from_torchvision(name):
    size = {"image_size": SIZE} if name.startswith("vit") else {}
    return lambda: getattr(torchvision.models, name)(num_classes=len(CLASSES), **size)


def from_timm(name):
    import timm

    size = {"img_size": SIZE} if name.startswith("vit") else {}
    return lambda: timm.create_model(name, num_classes=len(CLASSES), **size)


TRIPS = [("torchvision", name, name) for name in [
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "mobilenet_v2",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3", "efficientnet_b4",
    "convnext_tiny", "convnext_small", "convnext_base", "vit_b_16", "swin_t",
    "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_v2_s",
    "regnet_y_400mf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf", "regnet_y_8gf", "regnet_y_16gf",
]] + [("timm", timm, arch) for timm, arch in [
    ("resnet18", "resnet18"), ("resnet50", "resnet50"), ("mobilenetv2_100", "mobilenet_v2"),
    ("efficientnet_b0", "efficientnet_b0"), ("efficientnet_b1", "efficientnet_b1"),
    ("efficientnet_b2", "efficientnet_b2"), ("efficientnet_b3", "efficientnet_b3"),
    ("tf_efficientnet_lite0", "efficientnet_lite0"), ("convnext_tiny", "convnext_tiny"),
    ("efficientnet_b4", "efficientnet_b4"), ("convnext_small", "convnext_small"), ("convnext_base", "convnext_base"),
    ("regnety_004", "regnet_y_400mf"), ("regnety_080_tv", "regnet_y_8gf"), ("swin_tiny_patch4_window7_224", "swin_t"),
    ("vit_small_patch16_224", "vit_s_16"), ("vit_base_patch16_224", "vit_b_16"),
]]


def images(folder, size):
    """One image for each class, as a file and as PyTorch sees it."""
    random = np.random.default_rng(7)
    tensors, files = [], []
    for name in CLASSES:
        pixels = random.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((size, size), Image.BILINEAR)
        file = folder / "images" / name / "0.png"
        file.parent.mkdir(parents=True)
        picture.save(file)
        files.append(file)
        tensors.append((torch.tensor(np.array(picture)) / 255 - MEAN) / STD)
    return files, torch.stack(tensors).permute(0, 3, 1, 2)


def settled(build, batch):
    """Random weights, running statistics of the batch, and a head whose classes differ."""
    torch.manual_seed(3)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.min() == parameter.max():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.train()(batch)
    return model.eval()


def run(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def trip(binary, library, name, arch, kind):
    build = (from_timm if library == "timm" else from_torchvision)(name)
    size = SIZES.get(name, SIZE)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "runs").mkdir()
        files, batch = images(folder, size)
        model = settled(build, batch)
        source = folder / f"weights.{kind}"
        if kind == "pth":
            torch.save({"epoch": 3, "state_dict": nn.DataParallel(model).state_dict()}, source)
        else:
            safetensors.torch.save_file(model.state_dict(), source)
        pipeline = folder / "pipeline.toml"
        pipeline.write_text(PIPELINE.format(arch=arch, file=source.name, size=size))
        run_dir = pathlib.Path(run(binary, "run", pipeline, "--json")["run_dir"])
        found = run(binary, "predict", run_dir, *files, "--json")["predictions"]
        state = safetensors.torch.load_file(run_dir / "stages/head/last.safetensors")

        before = model.state_dict()
        frozen = sum(torch.equal(tensor, before[name]) for name, tensor in state.items())
        back = build().eval()
        back.load_state_dict(state, strict=True)
        with torch.no_grad():
            single = back(batch).double().log_softmax(1)
            expected = back.double()(batch.double()).log_softmax(1)
        found = torch.tensor([[row["probabilities"][name] for name in CLASSES] for row in found]).double().log()
        differs = lambda other: float((other - expected).abs().max() / expected.abs().max())
        return frozen, len(state), differs(found), differs(single)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", nargs="*", help="all if none is given")
    parser.add_argument("--binary", default="target/debug/defrost")
    arguments = parser.parse_args()
    print("| library | model | file | tensors unmoved | defrost | PyTorch float32 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for library, name, arch in TRIPS:
        if arguments.archs and arch not in arguments.archs:
            continue
        for kind in ["safetensors", "pth"]:
            frozen, count, ours, theirs = trip(arguments.binary, library, name, arch, kind)
            print(f"| {library} | {name} | {kind} | {frozen} of {count} | {ours:.1e} | {theirs:.1e} |", flush=True)
            assert frozen == count - 2, "only the head's weight and bias train"
            assert ours <= 4 * theirs + 1e-6
