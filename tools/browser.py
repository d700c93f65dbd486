"""The browser that prints reports and tests pages, where there is one."""

import os
import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def chromium() -> list[str] | None:
    """Return the command that starts Chromium, or a relative of it, unseen; None without one."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        return None
    alone = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run"]
    return [program, "--headless", *root, *alone, *quiet]
