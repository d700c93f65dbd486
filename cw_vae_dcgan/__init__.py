"""Coursework: variational autoencoder and DCGAN."""
