"""Coursework: variational autoencoder and DCGAN."""

import shared  # noqa: F401  # first: it notes which files are there, before any is read
