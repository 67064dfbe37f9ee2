"""`yolo-mrt`, also as `python -m yolo_mrt`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_mrt.cli", "yolo-mrt")


if __name__ == "__main__":
    main()
