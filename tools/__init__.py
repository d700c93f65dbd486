"""The commands behind `make`; run from the repository's root: python -m tools.run_notebooks."""
