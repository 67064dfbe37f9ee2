"""The bundle: a model in the layout that nodes share, with everything a chain asks about it."""
