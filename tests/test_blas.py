"""Tests of the request for wide registers: only where they are, and only before NumPy is there."""

import os
import subprocess
import sys

import pytest

from shared import blas

NEW_AMD = "vendor_id : AuthenticAMD\nflags\t: fpu sse2 avx2 " + " ".join(blas.NEEDED) + "\n"


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Return a function: text of /proc/cpuinfo → (whether it was asked, OPENBLAS_CORETYPE)."""
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.delitem(sys.modules, "numpy", raising=False)

    def ask(text):
        (tmp_path / "cpuinfo").write_text(text)
        return blas.use_wide_registers(tmp_path / "cpuinfo"), os.environ.get("OPENBLAS_CORETYPE")

    return ask


def test_a_processor_that_has_them_is_asked_for_them(asked):
    assert asked(NEW_AMD) == (True, "SkylakeX")


@pytest.mark.parametrize(
    "text",
    [
        NEW_AMD.replace("AuthenticAMD", "GenuineIntel"),
        NEW_AMD.replace("avx512vl", ""),
        NEW_AMD.replace("flags", "Features"),
        "",
    ],
    ids=["Intel", "too old", "ARM", "empty"],
)
def test_others_are_left_alone(asked, text):
    assert asked(text) == (False, None)


def test_nothing_changes_without_the_file_or_after_numpy_or_against_a_choice(
    asked, monkeypatch, tmp_path
):
    assert not blas.use_wide_registers(tmp_path / "none")
    monkeypatch.setitem(sys.modules, "numpy", sys)
    assert asked(NEW_AMD) == (False, None)
    monkeypatch.delitem(sys.modules, "numpy")
    os.environ["OPENBLAS_CORETYPE"] = "Haswell"
    assert asked(NEW_AMD) == (False, "Haswell")


def test_numpy_still_multiplies_right_afterwards():
    code = (
        "from shared.blas import use_wide_registers; use_wide_registers(); import numpy as np;"
        "a = np.arange(12.0).reshape(3, 4); assert (a @ a.T == np.einsum('ik,jk', a, a)).all()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
