"""`python -m yolo_mrt` is the command yolo-mrt."""

from yolo_mrt.cli import main

main(prog_name="yolo-mrt")
