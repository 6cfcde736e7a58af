"""Trains two stages with `run.tensorboard`, and compares what TensorBoard reads with `history.csv`.

    python tests/interop/tensorboard_reads.py target/release/defrost

Needs: tensorboard==2.*, numpy==2.*, pillow>=11.
"""

import csv
import json
import pathlib
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from export_onnx import PIPELINE, Tool, photos

MORE = """
[stage.more]
kind = "train"
from = "fit@last"
train = ["@head"]
epochs = 3
batch_size = 3
optimizer = { kind = "sgd", lr = 1e-3 }
[run]
tensorboard = true
"""


def main():
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        photos(work / "photos", 32)
        pipeline = work / "seen.toml"
        data = 'format = "image_folder"\nroot = "photos"\nsplit = { validation = 0.3 }'
        text = PIPELINE.format(
            name="seen", data=data, side=32, arch="resnet18", head='{ kind = "linear" }', more=MORE
        )
        pipeline.write_text(text)
        run = pathlib.Path(json.loads(Tool(sys.argv[1], work)("run", pipeline, "--json"))["run_dir"])
        count = 0
        for stage in ("fit", "more"):
            seen = EventAccumulator(str(run / "tensorboard" / stage)).Reload()
            rows = list(csv.DictReader((run / "stages" / stage / "history.csv").open()))
            for part, metric in (("train", "loss"), ("validation", "loss"), ("validation", "accuracy")):
                found = [(event.step, event.value) for event in seen.Scalars(f"{metric}/{part}")]
                expected = [(int(row["epoch"]), float(row[f"{part}_{metric}"])) for row in rows]
                same = len(found) == len(expected) and all(
                    a[0] == b[0] and abs(a[1] - b[1]) <= 1e-6 * max(1, abs(b[1])) for a, b in zip(found, expected)
                )
                if not same:
                    raise SystemExit(f"{stage} {metric}/{part}: {found}, but history.csv has {expected}")
                count += len(found)
    print(f"TensorBoard reads {count} numbers as history.csv has them")
    print("1 passed, 0 failed")


main()
