"""`yolo-core`, also as `python -m yolo_core`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_core.cli", "yolo-core")


if __name__ == "__main__":
    main()
