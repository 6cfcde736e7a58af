"""Recomputes the numbers of a comparison of detectors from its run directories, with pycocotools and numpy.

    defrost compare shadow-ablation.toml --baseline freeze_0 --out comparison
    python tests/results/check_comparison.py comparison/compare.json

Average precisions are pycocotools' of `ground_truth_coco.json` and `predictions_coco.json`. F1, the precision at a recall and
the area below the curve come from the same matches, without a line of defrost. Means, deviations and intervals follow from
these. Needs: numpy==2.*, pycocotools==2.*, scipy==1.*.
"""

import contextlib
import csv
import io
import json
import pathlib
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import stats

# pycocotools adds in another order.
TOLERANCE = 1e-9


def evaluated(stage):
    """pycocotools' evaluation of a stage."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(stage / "ground_truth_coco.json"))
        found = truth.loadRes(str(stage / "predictions_coco.json"))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return truth, evaluation


def mean(values):
    values = values[values > -1]
    return values.mean() if values.size else None


def curves(evaluation, category, area=0):
    """Scores, precision and recall of all detections of a class by falling score, at IoU 0.5."""
    images = [entry for entry in evaluation.evalImgs if entry and entry["category_id"] == category]
    images = [entry for entry in images if entry["aRng"] == evaluation.params.areaRng[area]]
    # The shortest decimal of a float32 is not its value.
    scores = np.concatenate([entry["dtScores"] for entry in images]).astype(np.float32).astype(np.float64)
    matched = np.concatenate([entry["dtMatches"][0] for entry in images])
    ignored = np.concatenate([entry["dtIgnore"][0] for entry in images])
    objects = sum(int((np.asarray(entry["gtIgnore"]) == 0).sum()) for entry in images)
    order = np.argsort(-scores, kind="mergesort")
    order = order[ignored[order] == 0]
    hits = np.cumsum(matched[order] != 0)
    return scores[order], hits / np.arange(1, len(order) + 1), hits / max(objects, 1)


def by_confidence(scores, precision, recall, points):
    """Precision and recall at each confidence: interpolated between the scores, where equal scores pass together."""
    last = np.append(scores[1:] != scores[:-1], True)
    scores, precision, recall = scores[last], precision[last], recall[last]
    p = np.interp(-points, -scores, precision, left=1.0, right=precision[-1])
    r = np.interp(-points, -scores, recall, left=0.0, right=recall[-1])
    return p, r


def smooth(curve, width=101):
    half = width // 2
    return np.convolve(np.pad(curve, half, mode="edge"), np.ones(width) / width, mode="valid")


def numbers(stage):
    truth, evaluation = evaluated(stage)
    precision = evaluation.eval["precision"]
    names = {category["id"]: category["name"] for category in truth.loadCats(truth.getCatIds())}
    found = {
        "ap50_95": mean(precision[:, :, :, 0, -1]),
        "ap50": mean(precision[0, :, :, 0, -1]),
        "ap_small": mean(precision[:, :, :, 1, -1]),
    }
    points = np.linspace(0, 1, 1000)
    best, at_recall, areas = [], [], []
    for place, (category, name) in enumerate(names.items()):
        found[f"ap50/{name}"] = mean(precision[0, :, place, 0, -1])
        found[f"ap50_95/{name}"] = mean(precision[:, :, place, 0, -1])
        scores, p, r = curves(evaluation, category)
        envelope = np.maximum.accumulate(p[::-1])[::-1]
        reached = np.searchsorted(r, points)
        curve = np.where(reached < len(r), np.append(envelope, 0)[np.minimum(reached, len(r))], 0)
        at_recall.append(curve[np.argmax(points >= 0.6)])
        areas.append(np.trapezoid(curve, points))
        p, r = by_confidence(scores, p, r, points)
        f1 = 2 * p * r / (p + r + 1e-16)
        smoothed = smooth(f1)
        best.append(f1[smoothed.argmax()] if smoothed.max() > 0 else 0.0)
        found[f"best_f1/{name}"] = best[-1]
    found["best_f1"], found["precision_at_recall_0.6"] = np.mean(best), np.mean(at_recall)
    found["pr_area"] = np.mean(areas)
    return found


def learned(run, stages):
    """The first epoch at or above 0.9 of the last one's score, over the train stages in a row."""
    curve = []
    for stage in stages:
        rows = csv.DictReader((run / "stages" / stage / "history.csv").open())
        curve += [float(row["validation_ap50_95"]) for row in rows]
    return next((epoch for epoch, value in enumerate(curve, 1) if value >= 0.9 * curve[-1] > 0), None)


def main():
    document = json.load(open(sys.argv[1]))
    stage, worst, count = document["evaluation"], 0.0, 0

    def check(what, ours, theirs):
        nonlocal worst, count
        if (ours is None) != (theirs is None):
            raise SystemExit(f"{what}: {ours}, but {theirs} recomputed")
        if ours is None:
            return
        apart = abs(ours - theirs)
        worst, count = max(worst, apart), count + 1
        if apart > TOLERANCE:
            raise SystemExit(f"{what}: {ours}, but {theirs} recomputed")

    groups = {}
    for group in document["groups"]:
        runs = {}
        for run in group["runs"]:
            folder = pathlib.Path(run["run_dir"])
            found = {f"{stage}/{name}": value for name, value in numbers(folder / "stages" / stage).items()}
            kinds = {entry["name"]: entry["kind"] for entry in json.load((folder / "plan.json").open())["stages"]}
            found["epochs_to_90"] = learned(folder, [name for name, kind in kinds.items() if kind == "train"])
            for name, value in found.items():
                check(f"{group['label']} seed {run['seed']} {name}", run["metrics"].get(name), value)
            runs[run["seed"]] = found
        groups[group["label"]] = runs
    baseline = groups.get(document.get("baseline"))
    for group in document["groups"]:
        runs = groups[group["label"]]
        for name in next(iter(runs.values())):
            values = [found[name] for found in runs.values() if found[name] is not None]
            if not values:
                continue
            measured = group["metrics"][name]
            check(f"{group['label']} {name}", measured["mean"], np.mean(values))
            if len(values) > 1:
                check(f"{group['label']} {name} sd", measured["sd"], np.std(values, ddof=1))
            if baseline is None or runs is baseline:
                continue
            pairs = [
                (runs[seed][name], baseline[seed][name]) for seed in runs if seed in baseline
            ]
            pairs = np.array([a - b for a, b in pairs if a is not None and b is not None])
            if len(pairs) == 0:
                continue
            difference = group["differences"][name]
            check(f"{group['label']} {name} difference", difference["mean"], pairs.mean())
            if len(pairs) > 1 and pairs.std() > 0:
                low, high = stats.t.interval(0.95, len(pairs) - 1, pairs.mean(), stats.sem(pairs))
                spread = max(abs(low - difference["interval"][0]), abs(high - difference["interval"][1]))
                # Quantiles have four decimals.
                if spread > 1e-4 * max(1, high - low):
                    raise SystemExit(f"{group['label']} {name}: {difference['interval']}, but {low}, {high} recomputed")
    print(f"{count} numbers agree to {worst:.1e}")
    print("1 passed, 0 failed")


main()
