"""From integer convolutions to a CVM model folder."""
