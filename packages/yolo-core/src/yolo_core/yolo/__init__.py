"""The detector as data: architecture, pictures in, boxes out. No framework is needed."""
