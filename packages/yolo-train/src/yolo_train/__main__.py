"""`python -m yolo_train` is the command yolo-train."""

from yolo_train.cli import main

main(prog_name="yolo-train")
