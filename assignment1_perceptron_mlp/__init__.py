"""Assignment 1: the perceptron and multi-layer networks, in NumPy."""

import shared  # noqa: F401  # first: it notes which files are there, before any is read
