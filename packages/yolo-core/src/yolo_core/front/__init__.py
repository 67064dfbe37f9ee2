"""The command `yolo`: every wish under one name, whatever packages are installed."""
