"""Cuts the objects out of the training images of a YOLO data set: a folder of 64-pixel images for each class.

    python tests/results/cut_objects.py WORK/things WORK/objects

Needs: pillow, pyyaml.
"""

import pathlib
import sys

import yaml
from PIL import Image

# The square around an object, relative to its longer side; smaller ones are left out.
MARGIN = 1.15
LEAST = 16


def main():
    root, out = map(pathlib.Path, sys.argv[1:3])
    names = yaml.safe_load((root / "data.yaml").read_text())["names"]
    for label in sorted((root / "labels/train").glob("*.txt")):
        image = Image.open(next((root / "images/train").glob(f"{label.stem}.*"))).convert("RGB")
        for number, row in enumerate(label.read_text().splitlines()):
            name, x, y, width, height = row.split()
            x, width = float(x) * image.width, float(width) * image.width
            y, height = float(y) * image.height, float(height) * image.height
            side = max(width, height) * MARGIN
            corners = [int(x - side / 2), int(y - side / 2), int(x + side / 2), int(y + side / 2)]
            if corners[2] - corners[0] < LEAST:
                continue
            folder = out / names[int(float(name))]
            folder.mkdir(parents=True, exist_ok=True)
            image.crop(corners).resize((64, 64)).save(folder / f"{label.stem}_{number}.png")


main()
