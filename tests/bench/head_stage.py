"""The pipeline of a stage that trains a head on frozen layers, which defrost's side of the benchmarks runs."""

import json

PIPELINE = """\
name = "{name}"
[data.images]
format     = "image_folder"
root       = {root}
image_size = {image_size}
split      = {{ folders = {{ train = "train", validation = "validation" }} }}
[model.net]
arch = "{arch}"
[stage.start]
{start}
[stage.frozen]
kind       = "train"
from       = "start"
train      = ["@head"]
epochs     = {epochs}
batch_size = {batch}
optimizer  = {{ kind = "sgd", lr = 1e-4, momentum = 0.9 }}
"""


def pipeline(folder, **settings):
    """Its text, on the images of a folder; the settings are name, start, arch, image_size, epochs and batch."""
    return PIPELINE.format(root=json.dumps(str(folder)), **settings)
