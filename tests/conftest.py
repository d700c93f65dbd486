"""Settings that every test shares."""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.pop("COURSE_CLUSTER", None)  # a test's runs stay here, but those of test_cluster.py
