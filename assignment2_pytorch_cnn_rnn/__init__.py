"""Assignment 2: PyTorch, convolutional and recurrent networks."""
