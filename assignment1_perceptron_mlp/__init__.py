"""Assignment 1: the perceptron and multi-layer networks, in NumPy."""
