"""One module per target format; each encodes a checkpoint and leaves a whole file or none."""
