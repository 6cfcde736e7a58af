"""Exports networks for PyTorch, loads the state dicts as weights alone, and compares every value with the checkpoint, and
torchvision's transform and network with defrost's predictions.

    python tests/interop/export_torch.py target/release/defrost

Needs: torch>=2, safetensors>=0.5, numpy==2.*, pillow>=11; torchvision for the probabilities. Networks have random weights
and a briefly trained head.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from export_onnx import PIPELINE, PROBABILITY, Tool

try:
    import torchvision
except ImportError:
    torchvision = None

LINEAR = ["resnet18", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "regnet_y_400mf", "vit_b_16"]
OTHERS = [("swin_t", 224, '{ kind = "mlp", hidden = [16] }', ""), ("efficientnet_lite0", 64, '{ kind = "linear" }', ""),
          ("resnet18", 64, '{ kind = "embedding", dimension = 8, classifier = false }',
           'loss = { kind = "triplet" }\nsampler = { kind = "p_k", classes = 2, images = 2 }')]


def photos(folder):
    """Photos of other sizes than the network's, so that resizing and cropping count."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            noise = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
            noise.resize((150 - 10 * number, 120), Image.BICUBIC).save(folder / name / f"{number}.png")
    return sorted(folder.glob("*/*.png"))


def exported(tool, arch, side, head, more):
    """The pipeline file, the images, the state dict and the document next to it."""
    name = f"{arch}-{len(list(tool.work.iterdir()))}".replace("_", "-")
    folder = tool.work / name
    files = photos(folder / "photos")
    pipeline = folder / f"{name}.toml"
    data = f'format = "image_folder"\nroot = "photos"\nresize = {side * 5 // 4}\nsplit = {{ validation = 0.3 }}'
    text = PIPELINE.format(name=name, data=data, side=side, arch=arch, head=head, more=more)
    pipeline.write_text(text.replace("batch_size = 3", "batch_size = 4") if "sampler" in more else text)
    run = pathlib.Path(json.loads(tool("run", pipeline, "--json"))["run_dir"])
    tool("export", pipeline, "--format", "torch", "--out", folder / "torch")
    state = torch.load(folder / "torch/model.pth", weights_only=True)
    document = json.loads((folder / "torch/preprocessing.json").read_text())
    builds = f"torchvision.models.{arch}(" in (folder / "torch/README.md").read_text()
    if torchvision is not None:
        assert builds == (hasattr(torchvision.models, arch) and '"linear"' in head), f"{arch}: README"
    checkpoint = safetensors.torch.load_file(run / document["checkpoint"])
    assert state.keys() == checkpoint.keys(), f"{state.keys() ^ checkpoint.keys()}"
    for tensor, values in checkpoint.items():
        same = state[tensor].dtype == values.dtype and torch.equal(state[tensor], values)
        assert same and state[tensor].is_contiguous(), f"{arch}: {tensor}"
    print(f"{arch:20} {head:60} {len(state)} tensors are those of the checkpoint")
    return pipeline, files, state, document


def agrees(tool, arch):
    pipeline, files, state, document = exported(tool, arch, 64, '{ kind = "linear" }', "")
    if torchvision is None:
        return True
    size = {"image_size": 64} if arch.startswith("vit") else {}
    model = getattr(torchvision.models, arch)(num_classes=len(document["classes"]), **size).eval()
    model.load_state_dict(state)
    transforms = torchvision.transforms
    transform = transforms.Compose([
        transforms.Resize(document["resize"]), transforms.CenterCrop(document["image_size"]), transforms.ToTensor(),
        transforms.Normalize(document["mean"], document["std"]),
    ])
    with torch.inference_mode():
        theirs = model(torch.stack([transform(Image.open(file).convert("RGB")) for file in files])).softmax(-1).numpy()
    predictions = json.loads(tool("predict", pipeline, "--json", *files))["predictions"]
    ours = np.array([list(prediction["probabilities"].values()) for prediction in predictions])
    apart = np.abs(theirs - ours).max()
    print(f"{arch:20} probabilities apart by {apart:.1e}")
    return apart <= PROBABILITY


def main():
    with tempfile.TemporaryDirectory() as work:
        tool = Tool(sys.argv[1], pathlib.Path(work))
        for case in OTHERS:
            exported(tool, *case)
        right = [agrees(tool, arch) for arch in LINEAR]
    if not all(right):
        raise SystemExit("torchvision computes something else")
    print(f"{len(right) + len(OTHERS)} passed, 0 failed")


if __name__ == "__main__":
    main()
