"""Makes the folders of images that docs/results.md speaks of, from published packages.

    python -m pip install numpy==2.4.6 pillow==13.0.0
    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    python -m pip download --no-deps elpv-dataset==1.0.0.post1
    apt-get install dataset-fashion-mnist
    python tests/results/images.py DOWNLOADS IMAGES

DOWNLOADS is the folder with the two archives and the wheel. IMAGES is made anew, the same on every machine, byte for byte:

    fashion/train, fashion/test    28×28 photos of ten kinds of clothing, 200 and 100 of each
    clothing/CLASS                 the first 100 photos of each kind of clothing
    solar/CLASS                    every third of 2,624 photos of solar cells, by how likely the cell is broken
    people/CLASS                   drawings of people by what they do: nine occupations, to be trained on
    strangers/CLASS                the other seven, never trained on
    emotion/happy, emotion/sad     faces of both drawing styles
    drawings/google, …/twitter     all emoji by category, in two drawing styles
"""

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy
from PIL import Image

ARCHIVES = {
    "google": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "twitter": "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
}
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHING = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]

# The object that makes a person a farmer, a cook and so on.
PEOPLE = {
    "farmer": "1F33E", "cook": "1F373", "student": "1F393", "singer": "1F3A4", "artist": "1F3A8",
    "mechanic": "1F527", "scientist": "1F52C", "pilot": "2708-FE0F", "firefighter": "1F692",
}
STRANGERS = {
    "teacher": "1F3EB", "factory-worker": "1F3ED", "technologist": "1F4BB", "office-worker": "1F4BC",
    "astronaut": "1F680", "health-worker": "2695-FE0F", "judge": "2696-FE0F",
}
GENDERS = {"1F468": "man", "1F469": "woman", "1F9D1": "person"}

HAPPY = "face-smiling face-affection"
SAD = "face-concerned"
NOT_SAD = "astonished hushed open_mouth flushed yawning_face"


def main(downloads: Path, images: Path) -> None:
    shutil.rmtree(images, ignore_errors=True)
    for part, file, count in (("train", "train", 200), ("test", "t10k", 100)):
        fashion(images / "fashion" / part, file, count)
    fashion(images / "clothing", "train", 100)
    solar(images / "solar", downloads / "elpv_dataset-1.0.0.post1-py3-none-any.whl")
    for style, sha256 in ARCHIVES.items():
        content = (downloads / f"emoji-datasource-{style}-16.0.0.tgz").read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            sys.exit(f"emoji-datasource-{style}: not the archive this script was written for")
        archive = tarfile.open(fileobj=io.BytesIO(content))
        files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()
                 and ("/64/" in member.name or member.name.endswith("emoji.json"))}
        drawings(files, style, images)
    for folder in sorted(images.glob("*/*")):
        print(f"{folder.relative_to(images)}: {len(list(folder.rglob('*.png')))}")


def fashion(folder: Path, file: str, count: int) -> None:
    """The first `count` photos of each kind."""
    read = lambda kind, skip: numpy.frombuffer(gzip.open(FASHION / f"{file}-{kind}.gz").read()[skip:], numpy.uint8)
    pixels, labels = read("images-idx3-ubyte", 16).reshape(-1, 28, 28), read("labels-idx1-ubyte", 8)
    for label, name in enumerate(CLOTHING):
        (folder / name).mkdir(parents=True)
        for index in numpy.flatnonzero(labels == label)[:count]:
            Image.fromarray(pixels[index]).save(folder / name / f"{index:05}.png")


def solar(folder: Path, wheel: Path) -> None:
    """Buerhop-Lopez et al., A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery (2018)."""
    states = ["intact", "slight", "likely", "broken"]
    with zipfile.ZipFile(wheel) as archive:
        labels = archive.read("elpv_dataset/data/labels.csv").decode().splitlines()
        for line in labels[::3]:
            file, probability, _ = line.split()
            path = folder / states[round(3 * float(probability))] / Path(file).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(f"elpv_dataset/data/{file}"))


def drawings(files: dict[str, bytes], style: str, images: Path) -> None:
    for entry in json.loads(files["package/emoji.json"]):
        if not entry[f"has_img_{style}"]:
            continue
        name, subcategory = entry["short_name"], entry["subcategory"].replace(" ", "")
        variants = [("plain", entry)] + sorted(entry.get("skin_variations", {}).items())
        gender, _, thing = entry["unified"].partition("-200D-")
        for folder, things in (("people", PEOPLE), ("strangers", STRANGERS)):
            for label in (label for label, code in things.items() if code == thing and gender in GENDERS):
                for skin, variant in variants:
                    # One person of one style and skin is one template: `gender-skin` names it.
                    save(files, style, variant, images / folder / label / f"{style}__{GENDERS[gender]}-{skin}.png")
        if subcategory in HAPPY.split():
            save(files, style, entry, images / "emotion" / "happy" / f"{name}__{style}.png")
        if subcategory in SAD.split() and name not in NOT_SAD.split():
            save(files, style, entry, images / "emotion" / "sad" / f"{name}__{style}.png")
        category = entry["category"].lower().replace(" & ", "-")
        if category != "component":
            save(files, style, entry, images / "drawings" / style / category / f"{name}.png")


def save(files: dict[str, bytes], style: str, entry: dict, path: Path) -> None:
    """On white, so that no reader has to decide what transparent means."""
    content = files.get(f"package/img/{style}/64/{entry['image']}")
    if content is None:
        return
    drawing = Image.open(io.BytesIO(content)).convert("RGBA")
    paper = Image.new("RGBA", drawing.size, "white")
    paper.alpha_composite(drawing)
    path.parent.mkdir(parents=True, exist_ok=True)
    paper.convert("RGB").save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
