"""`python -m yolo_cvm` is the command yolo-cvm."""

from yolo_cvm.cli import main

main(prog_name="yolo-cvm")
