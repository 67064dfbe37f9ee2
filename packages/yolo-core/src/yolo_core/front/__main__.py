"""`yolo`, also as `python -m yolo_core.front`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_core.front.cli", "yolo")


if __name__ == "__main__":
    main()
