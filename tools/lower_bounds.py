"""Print the lowest versions that requirements-dev.txt allows, as constraints for pip.

`make test-lower` installs and tests exactly these, so that no bound is a guess.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def lowest(file: Path) -> list[str]:
    """Return the lines of a requirements file with `x>=1.2` as `x==1.2`, those it includes first.

    Raises: ValueError for a line without a lower bound; `-e .` has none.
    """
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement.startswith("-r "):
            found += lowest(file.parent / requirement[3:].strip())
        elif requirement and not requirement.startswith("-e "):
            exact, bounds = re.subn(r">=\s*([\w.]+)(,[^;]*)?", r"==\1", requirement, count=1)
            if not bounds:
                raise ValueError(f"{file.name}: {requirement!r} has no lower bound")
            found.append(exact)
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest(ROOT / "requirements-dev.txt")) + "\n")
