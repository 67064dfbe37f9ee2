"""`yolo-cvm`, also as `python -m yolo_cvm`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_cvm.cli", "yolo-cvm")


if __name__ == "__main__":
    main()
