"""`python -m yolo_eval` is the command yolo-eval."""

from yolo_eval.cli import main

main(prog_name="yolo-eval")
