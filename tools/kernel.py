"""A kernel that runs chosen cells of a notebook, and goes on from what it has run already."""

from __future__ import annotations

import inspect
import json
import os
import time
from pathlib import Path

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_notebook

from tools.failure import failure
from tools.needed_cells import names_of_cell


class Stopped(Exception):
    """Code did not come to its end: it took too long, or took the kernel with it."""


class Failed(Exception):
    """A cell raised an error. cell: its id; name: the error's; the message: one line about it."""

    def __init__(self, cell: str, name: str, message: str):
        super().__init__(message)
        self.cell, self.name = cell, name


class Kernel:
    """`with Kernel(folder) as kernel:` runs cells in that folder, in the quick profile.

    The kernel starts with the first cell. explains: whether errors are put into words.
    """

    explains = True

    def __init__(self, folder: Path):
        self.folder, self.running, self.ran = folder, None, []  # ran: the sources, in order

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *error) -> None:
        self.stop()

    def start(self) -> None:
        self.client = NotebookClient(
            new_notebook(),
            resources={"metadata": {"path": str(self.folder)}},
            record_timing=False,
            shutdown_kernel="immediate",
            extra_arguments=["--log-level=CRITICAL"],
        )
        environment = {**os.environ, "COURSE_PROFILE": "quick", "TQDM_DISABLE": "1"}
        environment |= {"MPLBACKEND": "Agg", "COURSE_HEADLESS": "1"}  # nobody looks at figures
        running = self.client.setup_kernel(env=environment)
        running.__enter__()
        self.running = running
        self.execute(f"{inspect.getsource(failure)}\n_failure = failure\ndel failure", 60)

    def stop(self) -> None:
        """End the kernel; the next cell starts a fresh one."""
        running, self.running, self.ran = self.running, None, []
        if running is not None:
            running.__exit__(None, None, None)

    def execute(self, source: str, seconds: float) -> str:
        """Run code and return what it printed.

        Raises: CellExecutionError; Stopped, after which the kernel is gone.
        """
        if self.running is None:
            self.start()
        cell = new_code_cell(source)
        self.client.nb.cells[:] = [cell]
        self.client.timeout = max(1, round(seconds))
        try:
            self.client.execute_cell(cell, 0)
        except (CellTimeoutError, DeadKernelError) as error:
            self.stop()
            slow = isinstance(error, CellTimeoutError)
            why = "it did not end in time; a loop without an end?" if slow else "it ended Python"
            raise Stopped(why) from None
        return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")

    def cells(self, cells: dict[str, str], seconds: float) -> str:
        """Run {id: source} in order and return what the last one printed.

        What this kernel has run before, from the first cell on, is not run again, unless a cell
        that came after it has changed what it made.
        Raises: Failed; Stopped.
        """
        if self.running is None:
            self.start()
        end, sources = time.monotonic() + seconds, list(cells.values())
        same = 0
        while sources[same:-1] and sources[same : same + 1] == self.ran[same : same + 1]:
            same += 1
        lost = set().union(*(names_of_cell(source).binds for source in self.ran[same:]))
        stale = (n for n in range(same) if names_of_cell(sources[n]).binds & lost)
        same = next(stale, same)
        self.ran, printed = sources[:same], ""
        for cell, source in list(cells.items())[same:]:
            self.ran.append(source)
            try:
                printed = self.execute(source, end - time.monotonic())
            except CellExecutionError as error:
                asked = "print(__import__('json').dumps(_failure()))"
                why = json.loads(self.execute(asked, 60)) if self.explains else ""
                raise Failed(cell, error.ename, why) from None
        return printed
