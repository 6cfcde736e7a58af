"""Trains adapters, exports them for PEFT, and compares PEFT's model with defrost's predictions.

    python tests/interop/export_peft.py target/release/defrost

Needs: peft==0.21.*, timm==1.*, torch>=2, numpy==2.*, pillow>=11. The base is defrost's export for timm of the stage from which
the adapters started.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import peft
import timm
import torch
from PIL import Image

from export_onnx import PIPELINE, PROBABILITY, Tool
from export_timm import photos

NETWORKS = {
    "vit_s_16": '["*.self_attention", "*.mlp.0"]',
    "convnext_tiny": '["*.block"]',
}
ADAPTED = """
[stage.adapted]
kind = "train"
from = "fit@last"
train = ["@head"]
adapter = {{ match = {match}, rank = 3, alpha = 5 }}
epochs = 3
batch_size = 2
optimizer = {{ kind = "adamw", lr = 1e-2 }}
"""


def agrees(tool, arch, match):
    name = arch.replace("_", "-")
    folder = tool.work / name
    files = photos(folder / "photos")
    pipeline = folder / f"{name}.toml"
    data = 'format = "image_folder"\nroot = "photos"\nresize = 80\nsplit = { validation = 0.3 }'
    more = ADAPTED.format(match=match)
    pipeline.write_text(
        PIPELINE.format(name=name, data=data, side=64, arch=arch, head='{ kind = "linear" }', more=more)
    )
    tool("run", pipeline)
    tool("export", pipeline, "--stage", "fit@last", "--format", "timm", "--out", folder / "base")
    tool("export", pipeline, "--stage", "adapted@last", "--format", "peft", "--out", folder / "adapter")

    def predicted(stage):
        document = json.loads(tool("predict", pipeline, "--stage", stage, "--json", *files))
        return np.array([list(prediction["probabilities"].values()) for prediction in document["predictions"]])

    base = timm.create_model(f"local-dir:{folder / 'base'}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(base))
    images = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    with torch.inference_mode():
        before = base(images).softmax(-1).numpy()
        model = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
        adapted = model(images).softmax(-1).numpy()
        merged = model.merge_and_unload()(images).softmax(-1).numpy()
    ours = predicted("adapted@last")
    apart = [np.abs(theirs - ours).max() for theirs in (adapted, merged)]
    learnt = np.abs(adapted - before).max()
    print(f"{arch:20} probabilities apart by {apart[0]:.1e}, merged by {apart[1]:.1e}; training moved them by {learnt:.1e}")
    return max(apart) <= PROBABILITY and np.abs(before - predicted("fit@last")).max() <= PROBABILITY < learnt


def main():
    with tempfile.TemporaryDirectory() as work:
        tool = Tool(sys.argv[1], pathlib.Path(work))
        right = [agrees(tool, arch, match) for arch, match in NETWORKS.items()]
    if not all(right):
        sys.exit("PEFT and defrost differ")


if __name__ == "__main__":
    main()
