"""`yolo-port`, also as `python -m yolo_port`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_port.cli", "yolo-port")


if __name__ == "__main__":
    main()
