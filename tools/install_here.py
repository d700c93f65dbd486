"""Install the collection into this Python, leaving its numpy and torch as they are."""

import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

KEEP = {"numpy", "torch", "torchvision"}


def main() -> int:
    kept = sorted({f"{d.name}=={d.version}" for d in distributions() if d.name in KEEP})
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("\n".join(kept) + "\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "-c", str(constraints)]
        root = Path(__file__).resolve().parent.parent
        code = subprocess.run([*pip, "-r", "requirements.txt"], cwd=root).returncode
    if code:
        print(f"pip could not install the collection beside {', '.join(kept)}.", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
