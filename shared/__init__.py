"""Helpers that several notebooks use: data, profiles, sweeps, records, checks, plots, training."""

import shared.source_hash  # noqa: F401  # first: it notes which files are there, before any is read
