"""The command line: python -m shared.data list | fetch [NAME...] | verify [NAME...]."""

import sys

from shared.data.catalogue import DATA_SETS, files_there
from shared.data.description import DataError
from shared.data.download import check, fetch
from shared.environment import data_root

COMMANDS = ("list", "fetch", "verify")


def main(arguments: list[str]) -> int:
    """Run one command on the data sets named, or on all, and return the exit status."""
    command, *names = arguments or ["list"]
    unknown = [name for name in names if name not in DATA_SETS]
    if command not in COMMANDS or unknown:
        what = f"data set {unknown[0]!r}" if unknown else f"command {command!r}"
        print(f"there is no {what}; use list, fetch or verify, and {', '.join(DATA_SETS)}")
        return 2
    print(f"data folder: {data_root()}")
    status = 0
    for name in names or DATA_SETS:
        try:
            state, is_bad = _run(command, name, is_named=name in names)
        except DataError as error:
            state, is_bad = str(error), True
        status = max(status, int(is_bad))
        print(f"{name:8} {DATA_SETS[name].title:17} {state}")
    return status


def _run(command: str, name: str, is_named: bool) -> tuple[str, bool]:
    """Return the state of a data set after a command, and whether the command failed."""
    data_set, root = DATA_SETS[name], data_root()
    if command == "fetch":
        fetched = fetch(data_set, root)
        return f"{len(fetched)} files fetched and verified" if fetched else "already there", False
    there = files_there(name)
    if not any(there):
        return "not there", is_named
    if command == "verify":
        check(data_set, root)
        return f"{len(there)} files, every MD5 as expected", False
    return f"{sum(there)} of {len(there)} files there", False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
