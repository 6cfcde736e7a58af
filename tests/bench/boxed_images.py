"""Pictures of coloured rectangles with their boxes in YOLO's format, and the pipeline that defrost runs on them.

Pictures have exactly the size of the network's input, so both sides see the same numbers without resizing or padding.
"""

import json
from pathlib import Path

import numpy
from PIL import Image

CLASSES = ("red", "green", "blue", "yellow", "violet")
COLOURS = ((220, 40, 30), (40, 190, 60), (40, 60, 220), (220, 210, 40), (160, 50, 200))

PIPELINE = """\
name = "{name}"

[data.rectangles]
format     = "yolo"
root       = {root}
classes    = {classes}
image_size = {image_size}
split      = {{ folders = {{ train = "images/train", validation = "images/validation" }} }}

[model.net]
arch = "{arch}"
head = {{ kind = "detect" }}

[stage.start]
kind = "load_weights"
file = {weights}

[stage.check]
kind  = "evaluate"
from  = "start"
split = "validation"

[stage.steps]
kind       = "train"
from       = "start"
epochs     = {epochs}
batch_size = {batch}
optimizer  = {{ kind = "sgd", lr = {lr}, momentum = 0.9, nesterov = true, weight_decay = 5e-4, no_decay = ["@norm", "@bias"] }}
clip_norm  = 10
loss       = {{ kind = "detection" }}
"""


def pipeline(folder, weights, **settings):
    """Its text; the settings are name, arch, image_size, epochs, batch and lr."""
    paths = {"root": json.dumps(str(folder)), "weights": json.dumps(str(weights))}
    return PIPELINE.format(classes=json.dumps(CLASSES), **paths, **settings)


def picture(generator, side):
    """A picture, and rows (class, left, top, right, bottom) in pixels."""
    pixels = generator.integers(90, 150, 3) + generator.normal(0, 8, (side, side, 3))
    rows = []
    for _ in range(int(generator.integers(1, 6))):
        label = int(generator.integers(len(CLASSES)))
        width, height = (int(value) for value in generator.integers(side // 12, side // 2, 2))
        left, top = int(generator.integers(side - width)), int(generator.integers(side - height))
        pixels[top : top + height, left : left + width] = COLOURS[label] + generator.normal(0, 8, (height, width, 3))
        rows.append((label, left, top, left + width, top + height))
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8)), rows


def folder(work, count, side, seed=0):
    """The same pictures for training and for validation, and one without an object."""
    path = Path(work) / f"rectangles-{count}-{side}-seed{seed}"
    for part in ("train", "validation"):
        images, labels = path / "images" / part, path / "labels" / part
        for directory in (images, labels):
            directory.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, rows = picture(numpy.random.default_rng([seed, number]), side)
            if number == count - 1:
                image, rows = Image.new("RGB", (side, side), (120, 120, 120 + (part == "train"))), []
            elif part == "train":
                # One grey level apart in one corner: an image in two splits is an error.
                pixels = numpy.asarray(image).copy()
                pixels[0, 0, 0] ^= 1
                image = Image.fromarray(pixels)
            image.save(images / f"{number}.png")
            lines = [
                f"{label} {(l + r) / 2 / side!r} {(t + b) / 2 / side!r} {(r - l) / side!r} {(b - t) / side!r}\n"
                for label, l, t, r, b in rows
            ]
            (labels / f"{number}.txt").write_text("".join(lines))
    return path


def read(folder, part):
    """Images [N, H, W, 3] as 8 bits, and rows (image, class, x, y, width, height) in fractions."""
    files = sorted((Path(folder) / "images" / part).glob("*.png"))
    rows = []
    for number, file in enumerate(files):
        text = (Path(folder) / "labels" / part / f"{file.stem}.txt").read_text()
        rows += [[number, *map(float, line.split())] for line in text.splitlines()]
    images = numpy.stack([numpy.asarray(Image.open(file).convert("RGB")) for file in files])
    return files, images, numpy.array(rows).reshape(-1, 6)
