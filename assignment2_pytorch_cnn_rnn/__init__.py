"""Assignment 2: PyTorch, convolutional and recurrent networks."""

import shared  # noqa: F401  # first: it notes which files are there, before any is read
