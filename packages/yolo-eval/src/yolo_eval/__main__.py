"""`yolo-eval`, also as `python -m yolo_eval`."""

from yolo_core.starting import start


def main() -> None:
    """Start the command."""
    start("yolo_eval.cli", "yolo-eval")


if __name__ == "__main__":
    main()
