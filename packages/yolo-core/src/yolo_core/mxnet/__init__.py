"""MXNet's half: the network, its checkpoint files and the float predictor."""
