"""Assignment 3: LSTM, Transformer and GAN."""

import shared  # noqa: F401  # first: it notes which files are there, before any is read
