"""`python -m yolo_core` is the command yolo-core."""

from yolo_core.cli import main

main(prog_name="yolo-core")
