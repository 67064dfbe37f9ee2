"""From a checkpoint to the float graph that is quantized."""
