"""Install the collection into the running Python, leaving its numpy and torch as they are.

The set-up cell of a lone notebook runs this file in its kernel, from the clone that it made.
"""

import importlib
import site
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import distributions
from pathlib import Path

KEEP = {"numpy", "torch", "torchvision"}
ROOT = Path(__file__).resolve().parent.parent

kept = sorted({f"{found.name}=={found.version}" for found in distributions() if found.name in KEEP})
with tempfile.TemporaryDirectory() as folder:
    constraints = Path(folder) / "constraints.txt"
    constraints.write_text("\n".join(kept) + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(constraints)]
    if subprocess.run([*pip, "-r", "requirements.txt"], cwd=ROOT).returncode:
        raise RuntimeError(f"pip could not install the collection beside {', '.join(kept)}.")
site.addsitedir(sysconfig.get_path("purelib"))  # this kernel sees the new packages at once
importlib.invalidate_caches()
