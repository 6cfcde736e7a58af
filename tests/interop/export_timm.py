"""Exports one network of each family for timm, and compares timm's own transform and network with defrost's predictions.

    python tests/interop/export_timm.py target/release/defrost

Needs: timm==1.*, torch>=2, numpy==2.*, pillow>=11. Networks have random weights and a briefly trained head.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import timm
import torch
from PIL import Image

from export_onnx import PIPELINE, PROBABILITY, Tool

ARCHS = ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_b3", "efficientnet_lite0",
         "convnext_tiny", "convnext_small", "regnet_y_400mf", "regnet_y_8gf", "vit_s_16", "swin_t"]
# Networks with padding and eps of another library than torchvision.
VARIANTS = [("efficientnet_b0", "tensorflow"), ("efficientnet_v2_s", "timm"), ("efficientnet_v2_s", "tensorflow"),
            ("mobilenet_v3_small", "timm"), ("mobilenet_v3_large", "timm"), ("mobilenet_v3_large", "tensorflow")]
# The 40 blocks of EfficientNetV2-S with random weights amplify roundings.
AMPLIFIED = {"efficientnet_v2_s": 20}
# timm's Swin is the same network for whole windows alone.
SIDES = {"swin_t": 224}


def photos(folder):
    """Photos of other sizes than the network's, so that resizing and cropping count."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            noise = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
            noise.resize((150 - 10 * number, 120), Image.BICUBIC).save(folder / name / f"{number}.png")
    return sorted(folder.glob("*/*.png"))


def agrees(tool, arch, variant=None):
    name = f"{arch}-{variant or 'usual'}".replace("_", "-")
    folder = tool.work / name
    files = photos(folder / "photos")
    pipeline = folder / f"{name}.toml"
    side = SIDES.get(arch, 64)
    data = f'format = "image_folder"\nroot = "photos"\nresize = {side * 5 // 4}\nsplit = {{ validation = 0.3 }}'
    head = '{ kind = "linear" }'
    named = f'{arch}"\nvariant = "{variant}' if variant else arch
    pipeline.write_text(PIPELINE.format(name=name, data=data, side=side, arch=named, head=head, more=""))
    tool("run", pipeline)
    tool("export", pipeline, "--format", "timm", "--out", folder / "timm")
    predictions = json.loads(tool("predict", pipeline, "--json", *files))["predictions"]
    ours = np.array([list(prediction["probabilities"].values()) for prediction in predictions])
    model = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        theirs = model(torch.stack([transform(Image.open(file).convert("RGB")) for file in files])).softmax(-1).numpy()
    apart = np.abs(theirs - ours).max()
    print(f"{arch:20} {variant or '':10} probabilities apart by {apart:.1e}")
    return apart <= AMPLIFIED.get(arch, 1) * PROBABILITY


def main():
    with tempfile.TemporaryDirectory() as work:
        tool = Tool(sys.argv[1], pathlib.Path(work))
        right = [agrees(tool, arch) for arch in ARCHS] + [agrees(tool, *case) for case in VARIANTS]
    if not all(right):
        raise SystemExit("timm computes something else")
    print(f"{len(right)} passed, 0 failed")


if __name__ == "__main__":
    main()
