"""Photo-like images by seed: the data of the comparison."""

import shutil
from pathlib import Path

import numpy
from PIL import Image, ImageDraw

CLASSES = ("green", "loggerhead")
VALIDATION_SHARE = 0.2


def photo(generator, width, height):
    """Smooth gradients, a dozen shapes and the noise of a sensor: such files are of a photo's size."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.float32)
    channels = []
    for _ in range(3):
        a, b, phase = generator.uniform(-1, 1, 3)
        wave = numpy.sin(3 * (a * x / width + b * y / height) + 3 * phase)
        channels.append(128 + 80 * wave)
    image = Image.fromarray(numpy.stack(channels, -1).clip(0, 255).astype(numpy.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = generator.integers(0, width), generator.integers(0, height)
        box = (left, top, left + generator.integers(1, width // 3 + 2), top + generator.integers(1, height // 3 + 2))
        color = tuple(int(value) for value in generator.integers(0, 256, 3))
        (draw.ellipse if generator.random() < 0.5 else draw.rectangle)(box, fill=color)
    noise = generator.normal(0, 6, (height, width, 3)).astype(numpy.float32)
    return Image.fromarray((numpy.asarray(image) + noise).clip(0, 255).astype(numpy.uint8))


def tiny(generator, width, height):
    """Noise: all that a folder of very many images needs is that no two are the same."""
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=numpy.uint8))


def folder(work, count, size, make=photo, seed=0):
    """A folder of `count` JPEGs below `work`, in `train` and `validation` with a folder per class; made once."""
    width, height = size
    path = Path(work) / f"images-{count}-{width}x{height}-seed{seed}"
    if path.exists():
        return path
    partial = path.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    held_out = max(len(CLASSES), round(count * VALIDATION_SHARE))
    for index in range(count):
        part = "validation" if index < held_out else "train"
        target = partial / part / CLASSES[index % len(CLASSES)]
        target.mkdir(parents=True, exist_ok=True)
        generator = numpy.random.default_rng([seed, index])
        make(generator, width, height).save(target / f"{index:06}.jpg", quality=90)
    partial.rename(path)
    return path
