"""Exports one network of each family, and compares onnxruntime's outputs with defrost's own predictions.

    python tests/interop/export_onnx.py target/release/defrost

Needs: numpy==2.*, pillow>=11, onnx==1.*, onnxruntime==1.*. Networks have random weights and a briefly trained head.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from PIL import Image

SIDES = {"dinov2_vits14": 56, "vit_s_16": 64}
LINEAR = ["resnet18", "resnet50", "mobilenet_v2", "efficientnet_b0", "efficientnet_lite0", "convnext_tiny", "vit_s_16",
          "dinov2_vits14", "yolo11n", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_v2_s", "regnet_y_400mf",
          "swin_t"]
HEADS = [("resnet18", '{ kind = "mlp", hidden = [16] }'), ("resnet18", '{ kind = "embedding", dimension = 8 }')]
# float32 on both sides, in another order of additions.
PROBABILITY = 5e-6
EMBEDDING = 1e-5
# The 40 blocks of EfficientNetV2-S with random weights amplify roundings.
AMPLIFIED = {"efficientnet_v2_s": 20}
PIXELS = 1e-2

PIPELINE = """name = "{name}"
seed = 3
[data.photos]
{data}
image_size = {side}
[model.net]
arch = "{arch}"
head = {head}
[stage.random]
kind = "init_weights"
[stage.fit]
kind = "train"
from = "random"
train = ["@head"]
epochs = 1
batch_size = 3
optimizer = {{ kind = "sgd", lr = 1e-4 }}
{more}
"""


def photos(folder, side):
    """Smooth noise in two classes."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            noise = Image.fromarray(rng.integers(0, 255, (9, 9, 3), dtype=np.uint8))
            noise.resize((side, side), Image.BICUBIC).save(folder / name / f"{number}.png")
    return sorted(folder.glob("*/*.png"))


class Tool:
    def __init__(self, defrost, work):
        self.defrost, self.work = str(pathlib.Path(defrost).resolve()), work

    def __call__(self, *arguments):
        arguments = [self.defrost, *map(str, arguments), "--runs-dir", str(self.work / "runs")]
        done = subprocess.run(arguments, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)}\n{done.stderr}")
        return done.stdout

    def exported(self, pipeline, files):
        """The outputs of the exported file for these images, and the document of `predict`."""
        path = pipeline.with_suffix(".onnx")
        self("run", pipeline)
        self("export", pipeline, "--out", path)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        pixels = [np.asarray(Image.open(file).convert("RGB"), np.float32).transpose(2, 0, 1) / 255 for file in files]
        names = [output.name for output in session.get_outputs()]
        outputs = dict(zip(names, session.run(None, {"image": np.stack(pixels)})))
        confidence = ["--confidence", "0.0001"] if "boxes" in names else []
        return outputs, json.loads(self("predict", pipeline, "--json", *confidence, *files))["predictions"]


def classifier(tool, arch, head, number):
    side = SIDES.get(arch, 64)
    name = f"{arch}-{number}".replace("_", "-")
    folder = tool.work / name
    files = photos(folder / "photos", side)
    pipeline = folder / f"{name}.toml"
    data = f'format = "image_folder"\nroot = "photos"\nresize = {side}\nsplit = {{ validation = 0.3 }}'
    pipeline.write_text(PIPELINE.format(name=name, data=data, side=side, arch=arch, head=head, more=""))
    outputs, predictions = tool.exported(pipeline, files)
    ours = np.array([list(prediction["probabilities"].values()) for prediction in predictions])
    apart = np.abs(outputs["probabilities"] - ours).max()
    embedded = json.loads(tool("embed", pipeline, "--json", "--device", "cpu", *files))["embeddings"]
    ours = np.array([image["embedding"] for image in embedded])
    embeddings = np.abs(outputs["embedding"] - ours).max() / np.abs(ours).max()
    print(f"{arch:20} {head:42} probabilities apart by {apart:.1e}, embeddings by {embeddings:.1e} of the largest")
    factor = AMPLIFIED.get(arch, 1)
    return apart <= factor * PROBABILITY and embeddings <= factor * EMBEDDING


def compared(tool):
    """A model whose embeddings are compared."""
    side, folder = 64, tool.work / "compared"
    files = photos(folder / "photos", side)
    pipeline = folder / "compared.toml"
    data = f'format = "image_folder"\nroot = "photos"\nresize = {side}\nsplit = {{ validation = 0.3 }}'
    head = '{ kind = "embedding", dimension = 8, classifier = false }'
    more = 'loss = { kind = "triplet" }\nsampler = { kind = "p_k", classes = 2, images = 2 }'
    text = PIPELINE.format(name="compared", data=data, side=side, arch="resnet18", head=head, more=more)
    pipeline.write_text(text.replace("batch_size = 3", "batch_size = 4"))
    tool("run", pipeline)
    path = pipeline.with_suffix(".onnx")
    tool("export", pipeline, "--out", path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pixels = [np.asarray(Image.open(file).convert("RGB"), np.float32).transpose(2, 0, 1) / 255 for file in files]
    assert [output.name for output in session.get_outputs()] == ["embedding"]
    theirs = session.run(None, {"image": np.stack(pixels)})[0]
    embedded = json.loads(tool("embed", pipeline, "--json", "--device", "cpu", *files))["embeddings"]
    ours = np.array([image["embedding"] for image in embedded])
    apart = np.abs(theirs - ours).max() / np.abs(ours).max()
    print(f"{'resnet18':20} {head:42} embeddings apart by {apart:.1e} of the largest")
    return apart <= EMBEDDING


def detector(tool):
    side, folder = 96, tool.work / "detector"
    files = photos(folder / "images", side)
    for file in files:
        label = pathlib.Path(str(file).replace("/images/", "/labels/")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("0 0.5 0.5 0.4 0.3\n1 0.25 0.3 0.2 0.2\n")
    (folder / "data.yaml").write_text("path: .\ntrain: images/a\nval: images/b\nnames: [car, tram]\n")
    pipeline = folder / "detector.toml"
    data, head = 'format = "yolo"\nfile = "data.yaml"', '{ kind = "detect" }'
    more = 'loss = { kind = "detection" }'
    pipeline.write_text(PIPELINE.format(name="detector", data=data, side=side, arch="yolo11n", head=head, more=more))
    outputs, predictions = tool.exported(pipeline, files)
    worst, count = 0.0, 0
    for boxes, scores, prediction in zip(outputs["boxes"], outputs["scores"], predictions):
        for found in prediction["boxes"]:
            # Boxes that reach beyond the image are cut at its edges.
            apart = np.abs(np.clip(boxes, 0, side) - np.array(found["box"])).max(1)
            apart = apart + np.abs(scores[:, found["class"]] - found["score"])
            worst, count = max(worst, apart.min()), count + 1
    print(f"{'yolo11n':20} {head:42} {count} boxes apart by {worst:.1e} pixels at most")
    return count > 0 and worst <= PIXELS


def main():
    with tempfile.TemporaryDirectory() as work:
        tool = Tool(sys.argv[1], pathlib.Path(work))
        cases = [(arch, '{ kind = "linear" }') for arch in LINEAR] + HEADS
        right = [classifier(tool, arch, head, number) for number, (arch, head) in enumerate(cases)]
        right += [detector(tool), compared(tool)]
    if not all(right):
        raise SystemExit("onnxruntime computes something else")
    print(f"{len(right)} passed, 0 failed")


if __name__ == "__main__":
    main()
