"""The `symbol` and `params` files: bytes to a declared program and back, strictly."""
