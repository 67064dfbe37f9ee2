"""One epoch on real images from the COCO checkpoint: does it keep what the network knew?

    python finetune_coco.py --weights weights/yolov5n --out runs/real [--shared ../shared]

Makes a YOLO dataset of links to the 500 pictures (400 to train, 100 to validate; labels from the
ground truth there, crowds left out), scores the checkpoint on the 100, trains one epoch with the
recipe `finetune`, and prints both scores. The checkpoint must not be fused.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import yaml

from yolo_core.mxnet.checkpoint import read_checkpoint
from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import build
from yolo_core.yolo.coco import COCO_NAMES
from yolo_core.yolo.dataset import read_data_yaml
from yolo_core.yolo.samples import check_samples
from yolo_train import trainer
from yolo_train.hyp import Hyp
from yolo_train.loss import scaled_gains
from yolo_train.options import FitOptions
from yolo_train.validate import Validator

TRAIN_IMAGES = 400


def make_dataset(shared: Path, out: Path) -> Path:
    """A data.yaml over links to the pictures in `shared`."""
    folder = shared / "data" / "coco" / "val"
    truth: dict[str, Any] = json.loads((folder / "instances.json").read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}
    boxes: dict[int, list[str]] = {image["id"]: [] for image in truth["images"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
    for item in truth["annotations"]:
        if item.get("iscrowd"):
            continue
        width, height = sizes[item["image_id"]]
        x, y, w, h = item["bbox"]
        label = COCO_NAMES.index(names[item["category_id"]])
        row = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
        boxes[item["image_id"]].append(" ".join([str(label), *(f"{v:.6f}" for v in row)]))
    for number, image in enumerate(sorted(truth["images"], key=lambda image: image["id"])):
        split = "train" if number < TRAIN_IMAGES else "val"
        source = (folder / "images" / image["file_name"]).resolve()
        link = out / "images" / split / source.name
        label = out / "labels" / split / f"{source.stem}.txt"
        for path in (link, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            os.symlink(source, link)
        label.write_text("\n".join(boxes[image["id"]]))
    config = {"path": ".", "train": "images/train", "val": "images/val", "names": list(COCO_NAMES)}
    (out / "data.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return out / "data.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--shared", type=Path, default=Path(os.environ.get("YOLO_SHARED", "../shared"))
    )
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--hyp", default="finetune")
    arguments = parser.parse_args()
    data = make_dataset(arguments.shared, arguments.out / "data")
    mx = mxnet()
    checkpoint = read_checkpoint(arguments.weights)
    samples, _ = check_samples(read_data_yaml(data).images("val"), len(COCO_NAMES), "val")
    gains = scaled_gains(Hyp(), len(COCO_NAMES), arguments.imgsz)
    validator = Validator(
        samples, checkpoint.architecture, arguments.imgsz, 16, mx.cpu(), Hyp(), gains
    )
    net = build(checkpoint.architecture, checkpoint.parameters, fused=False)
    net.hybridize(static_alloc=True)
    before = validator.run(net, "before").scores
    options = FitOptions(
        data=str(data), weights=arguments.weights, epochs=1, batch_size=16, nominal_batch=16,
        imgsz=arguments.imgsz, hyp=arguments.hyp, autoanchor=False, plots=False, freeze=10,
        freeze_bn=True, project=str(arguments.out),
    )  # fmt: skip
    folder = trainer.fit(options)
    assert folder is not None
    after = folder.rows[-1]
    print(f"before: mAP@0.5 {before.map50:.4f} mAP@0.5:0.95 {before.map:.4f}")
    print(
        f"after:  mAP@0.5 {after['metrics/mAP_0.5']:.4f} "
        f"mAP@0.5:0.95 {after['metrics/mAP_0.5:0.95']:.4f}"
    )


if __name__ == "__main__":
    main()
