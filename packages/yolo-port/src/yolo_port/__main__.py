"""`python -m yolo_port` is the command yolo-port."""

from yolo_port.cli import main

main(prog_name="yolo-port")
