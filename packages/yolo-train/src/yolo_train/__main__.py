"""`yolo-train`, also as `python -m yolo_train`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_train.cli", "yolo-train")


if __name__ == "__main__":
    main()
