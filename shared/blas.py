"""A setting for NumPy's matrix products on new processors, to be made before NumPy is imported."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

NEEDED = {f"avx512{part}" for part in ("f", "cd", "bw", "dq", "vl")}  # by the kernels asked for


def use_wide_registers(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Ask OpenBLAS, which multiplies for NumPy, for 512-bit registers; return whether it was asked.

    OpenBLAS chooses its code by the processor's model. An AMD model that is newer than the library
    gets code for 256 bits, at half the speed. Call this before NumPy is imported; later, elsewhere
    than on Linux, or where OPENBLAS_CORETYPE is set already, it does nothing.
    """
    if "numpy" in sys.modules or "OPENBLAS_CORETYPE" in os.environ or not cpuinfo.exists():
        return False
    text = cpuinfo.read_text("utf-8")
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    if "AuthenticAMD" not in text or not flags or not NEEDED <= set(flags[1].split()):
        return False
    os.environ["OPENBLAS_CORETYPE"] = "SkylakeX"  # the first with those instructions
    return True
