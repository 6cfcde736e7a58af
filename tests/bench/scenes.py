"""Scenes of emoji for object detection: images, YOLO labels and a data.yaml.

    npm pack emoji-datasource-twitter@16.0.0 && tar xf emoji-datasource-twitter-16.0.0.tgz
    python scenes.py --emoji package --classes road --train 160 --val 200 --out scenes/road
    python scenes.py --emoji package --classes things --train 2000 --val 200 --out scenes/things

Each scene has a smooth random background, emoji with 8 to 38 % of the side, warm direct light times a smooth shading, a
bluish ambient light, and a soft polygon of shadow: x = reflectance * (shading * direct + ambient), as in Maxwell, Friedhoff
and Smith (CVPR 2008). `--log` also writes the same scenes as 16-bit log-chromaticity TIFF (Finlayson, Drew and Lu, IJCV
2009) with the same labels, as a data set of its own. `masks` has the shadows: white where more than half of the direct
light is missing.

Needs: numpy==2.4.*, pillow==12.*, tifffile (only with --log).
"""

import argparse
import json
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

ROAD = {
    "car": ["car", "red_car", "blue_car", "oncoming_automobile", "taxi", "oncoming_taxi", "racing_car"],
    "cyclist": ["bicyclist", "mountain_bicyclist", "woman-biking", "man-biking"],
    "pedestrian": ["walking", "runner", "man-walking", "woman-walking", "standing_person"],
    "tram": ["tram", "train", "monorail", "metro", "light_rail"],
    "truck": ["truck", "articulated_lorry", "fire_engine", "minibus", "pickup_truck"],
}
THINGS = {
    "cat": ["cat", "cat2"], "dog": ["dog", "dog2", "poodle"], "bird": ["bird", "penguin", "duck", "owl"],
    "fish": ["fish", "tropical_fish", "blowfish", "shark"], "horse": ["horse", "racehorse", "zebra_face"],
    "tree": ["evergreen_tree", "deciduous_tree", "palm_tree"], "flower": ["rose", "tulip", "sunflower", "blossom"],
    "fruit": ["apple", "pear", "tangerine", "lemon", "banana"], "cake": ["cake", "birthday", "cupcake"],
    "burger": ["hamburger", "sandwich", "hotdog"], "sun": ["sunny", "sun_with_face"], "cloud": ["cloud", "rain_cloud"],
    "hammer": ["hammer", "axe", "pick"], "key": ["key", "old_key"], "clock": ["alarm_clock", "watch", "clock3"],
    "ball": ["soccer", "basketball", "football", "tennis"], "hat": ["tophat", "womans_hat", "billed_cap"],
    "shoe": ["mans_shoe", "athletic_shoe", "high_heel"], "guitar": ["guitar", "violin", "banjo"],
    "plane": ["airplane", "helicopter", "rocket"],
}


def glyphs(folder, classes):
    """The RGBA pictures of each class; variants of skin tone included."""
    entries = json.loads((folder / "emoji.json").read_text())
    images = next(iter(sorted((folder / "img").glob("*/64"))))
    by_name = {}
    for entry in entries:
        files = [entry["image"]] + [variant["image"] for variant in entry.get("skin_variations", {}).values()]
        by_name[entry["short_name"]] = [images / name for name in files if (images / name).exists()]
    found = {}
    for name, members in classes.items():
        paths = sorted({path for member in members for path in by_name.get(member, [])})
        if not paths:
            raise SystemExit(f"no emoji of class {name}")
        found[name] = [Image.open(path).convert("RGBA") for path in paths]
    return found


def smooth(rng, side, cells, channels):
    noise = rng.random((cells, cells, channels)).astype(np.float32)
    layers = [Image.fromarray(noise[..., k], "F").resize((side, side), Image.BICUBIC) for k in range(channels)]
    return np.stack([np.asarray(layer) for layer in layers], -1)


def linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def encoded(x):
    x = np.clip(x, 0, 1)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)


def scene(rng, side, pictures, names):
    """Linear light [side, side, 3], rows (class, left, top, right, bottom) in pixels, and where the shadow is."""
    paper = np.clip(0.25 + 0.6 * smooth(rng, side, 5, 3) + rng.normal(0, 0.015, (side, side, 3)), 0.02, 0.98)
    canvas = Image.fromarray((encoded(paper) * 255).astype(np.uint8), "RGB")
    rows, taken = [], []
    for _ in range(int(rng.integers(1, 7))):
        size = int(side * rng.uniform(0.08, 0.38))
        label = int(rng.integers(len(names)))
        choices = pictures[names[label]]
        glyph = choices[int(rng.integers(len(choices)))].resize((size, size), Image.LANCZOS)
        left, top = (int(rng.integers(side - size + 1)) for _ in range(2))
        if any(left < r and l < left + size and top < b and t < top + size for l, t, r, b in taken):
            continue
        solid = np.argwhere(np.asarray(glyph)[..., 3] > 40)
        if len(solid) == 0:
            continue
        (y0, x0), (y1, x1) = solid.min(0), solid.max(0) + 1
        canvas.paste(glyph, (left, top), glyph)
        taken.append((left, top, left + size, top + size))
        rows.append((label, left + x0, top + y0, left + x1, top + y1))
    reflectance = linear(np.asarray(canvas).astype(np.float64) / 255)
    shading = 0.55 + 0.45 * smooth(rng, side, 3, 1)
    shadow = Image.new("L", (side, side), 255)
    corners = [tuple(int(v) for v in rng.integers(-side // 4, side + side // 4, 2)) for _ in range(4)]
    ImageDraw.Draw(shadow).polygon(corners, fill=int(255 * rng.uniform(0.0, 0.35)))
    shadow = np.asarray(shadow.filter(ImageFilter.GaussianBlur(side / 60))).astype(np.float64)[..., None] / 255
    direct, ambient = np.array([0.95, 0.85, 0.7]), np.array([0.12, 0.15, 0.22])
    return reflectance * (shading * shadow * direct + ambient), rows, shadow[..., 0] < 0.5


def log_chromaticity(x):
    """16 bits: c_k = ln x_k - mean ln x, stored as 65535 * clip((c + 2) / 4, 0, 1)."""
    logs = np.log(np.maximum(x, 1 / 1024))
    c = logs - logs.mean(-1, keepdims=True)
    return np.round(65535 * np.clip((c + 2) / 4, 0, 1)).astype(np.uint16)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emoji", type=pathlib.Path, required=True, help="the unpacked emoji-datasource package")
    parser.add_argument("--classes", choices=["road", "things"], default="road")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--train", type=int, default=160)
    parser.add_argument("--val", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=pathlib.Path, metavar="DIR", help="also write 16-bit log-chromaticity TIFF there")
    options = parser.parse_args()
    classes = ROAD if options.classes == "road" else THINGS
    names = list(classes)
    pictures = glyphs(options.emoji, classes)
    outputs = [options.out] + ([options.log] if options.log else [])
    for split, count in (("train", options.train), ("val", options.val)):
        for folder in (out / kind / split for out in outputs for kind in ("images", "labels", "masks")):
            folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([options.seed, split == "val", number])
            light, rows, shaded = scene(rng, options.side, pictures, names)
            stem = f"{number:05d}"
            picture = Image.fromarray(np.round(encoded(light) * 255).astype(np.uint8), "RGB")
            picture.save(options.out / "images" / split / f"{stem}.png")
            if options.log:
                import tifffile

                tifffile.imwrite(options.log / "images" / split / f"{stem}.tif", log_chromaticity(light))
            side = options.side
            lines = [
                f"{label} {(l + r) / 2 / side:.6f} {(t + b) / 2 / side:.6f} {(r - l) / side:.6f} {(b - t) / side:.6f}\n"
                for label, l, t, r, b in rows
            ]
            mask = Image.fromarray(np.where(shaded, 255, 0).astype(np.uint8), "L")
            for out in outputs:
                (out / "labels" / split / f"{stem}.txt").write_text("".join(lines))
                mask.save(out / "masks" / split / f"{stem}.png")
    listed = "\n".join(f"  {index}: {name}" for index, name in enumerate(names))
    for out in outputs:
        (out / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{listed}\n")


main()
