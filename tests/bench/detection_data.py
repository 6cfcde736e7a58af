"""Real data for object detection, from PyPI packages: tree crowns from the air, and cell nuclei in 16 bits.

    pip download --no-deps deepforest==2.1.0 stardist==0.9.2
    python detection_data.py crowns --package deepforest-2.1.0-*.whl --out data/crowns
    python detection_data.py nuclei --package stardist-0.9.2-*.whl --out data/nuclei

`crowns` cuts photos of the National Ecological Observatory Network into tiles (VOC): one of Yellowstone for training, with
574 boxes; another of the same forest for validation, with 279; and two of other forests for the test, with 98. `nuclei` cuts one 512 x 512 photo of 16 bits into overlapping tiles
(YOLO), with a box around each object of its mask. Both packages are open: MIT and BSD-3.

Needs: numpy==2.4.*, pillow==12.*, tifffile, imagecodecs.
"""

import argparse
import io
import pathlib
import xml.etree.ElementTree as xml
import zipfile

import numpy as np
from PIL import Image


def starts(length, tile, overlap):
    step = tile - overlap
    last = max(length - tile, 0)
    return sorted({*range(0, last, step), last})


def crowns(package, out, tile=400, overlap=80):
    """VOC: JPEGImages (PNG files), Annotations, and the lists of ImageSets."""
    folder = "deepforest/data/"
    splits = {
        "train": ["2019_YELL_2_528000_4978000_image_crop2"],
        "val": ["2019_YELL_2_541000_4977000_image_crop"],
        "test": ["OSBS_029", "SOAP_061"],
    }
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (out / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(package) as archive:
        for split, names in splits.items():
            listed = []
            for name in names:
                image = Image.open(io.BytesIO(archive.read(f"{folder}{name}.png"))).convert("RGB")
                tree = xml.fromstring(archive.read(f"{folder}{name}.xml"))
                boxes = [
                    tuple(float(item.find(f"bndbox/{side}").text) for side in ("xmin", "ymin", "xmax", "ymax"))
                    for item in tree.findall("object")
                ]
                for top in starts(image.height, tile, overlap):
                    for left in starts(image.width, tile, overlap):
                        stem = f"{name}_{left}_{top}"
                        kept = []
                        for box in boxes:
                            cut = [min(max(v - o, 0), tile) for v, o in zip(box, (left, top, left, top))]
                            area = (cut[2] - cut[0]) * (cut[3] - cut[1])
                            if area > 0.3 * (box[2] - box[0]) * (box[3] - box[1]):
                                kept.append(cut)
                        image.crop((left, top, left + tile, top + tile)).save(out / "JPEGImages" / f"{stem}.png")
                        root = xml.Element("annotation")
                        xml.SubElement(root, "filename").text = f"{stem}.png"
                        size = xml.SubElement(root, "size")
                        for side, value in (("width", tile), ("height", tile), ("depth", 3)):
                            xml.SubElement(size, side).text = str(value)
                        for cut in kept:
                            item = xml.SubElement(root, "object")
                            xml.SubElement(item, "name").text = "crown"
                            xml.SubElement(item, "difficult").text = "0"
                            bounds = xml.SubElement(item, "bndbox")
                            for side, value in zip(("xmin", "ymin", "xmax", "ymax"), cut):
                                xml.SubElement(bounds, side).text = f"{value:g}"
                        xml.indent(root)
                        xml.ElementTree(root).write(out / "Annotations" / f"{stem}.xml")
                        listed.append(stem)
            (out / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(listed) + "\n")
            print(f"{split}: {len(listed)} tiles")


def nuclei(package, out, tile=192, overlap=64):
    """YOLO: images/{train,val}, labels/{train,val}, data.yaml. The right third of the photo is for validation."""
    import tifffile

    with zipfile.ZipFile(package) as archive:
        read = lambda name: tifffile.imread(io.BytesIO(archive.read(f"stardist/data/images/{name}.tif")))
        image, mask = read("img2d"), read("mask2d")
    boxes = []
    for index in np.unique(mask[mask > 0]):
        rows, columns = np.nonzero(mask == index)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    for split, (first, end) in (("train", (0, 352)), ("val", (352, 512))):
        width = min(tile, end - first)
        for kind in ("images", "labels"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
        count = 0
        for top in starts(image.shape[0], width, overlap):
            for left in (first + x for x in starts(end - first, width, overlap)):
                rows = []
                for box in boxes:
                    cut = [min(max(int(v) - o, 0), width) for v, o in zip(box, (left, top, left, top))]
                    area = (cut[2] - cut[0]) * (cut[3] - cut[1])
                    if area > 0.3 * (box[2] - box[0]) * (box[3] - box[1]):
                        x, y = (cut[0] + cut[2]) / 2 / width, (cut[1] + cut[3]) / 2 / width
                        rows.append(f"0 {x:.6f} {y:.6f} {(cut[2] - cut[0]) / width:.6f} {(cut[3] - cut[1]) / width:.6f}\n")
                stem = f"{left}_{top}"
                tifffile.imwrite(out / "images" / split / f"{stem}.tif", image[top : top + width, left : left + width])
                (out / "labels" / split / f"{stem}.txt").write_text("".join(rows))
                count += 1
        print(f"{split}: {count} tiles")
    print(f"{len(boxes)} objects, values {image.min()} to {image.max()}")
    (out / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [nucleus]\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["crowns", "nuclei"])
    parser.add_argument("--package", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    {"crowns": crowns, "nuclei": nuclei}[options.what](options.package, options.out)


main()
