"""Sliders beside a figure in a live notebook; the plain figure everywhere else."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable


def is_headless() -> bool:
    """Return whether nobody can move a slider: COURSE_HEADLESS is set, as `make` sets it."""
    return os.environ.get("COURSE_HEADLESS", "") not in ("", "0")


def explore(draw: Callable[..., object], **controls) -> None:
    """Call draw with its defaults; in a live notebook, again whenever a slider is moved.

    Args:
        draw: makes one figure from its arguments; every one of them has a default.
        controls: for each argument to move, what `ipywidgets.interact` understands: (low, high),
            (low, high, step), a list of choices, True or False for a check box, or a widget.

    Raises: ValueError naming a control that draw does not have, or an argument without default.
    """
    parameters = inspect.signature(draw).parameters
    for name in controls:
        if name not in parameters:
            raise ValueError(f"controls: {draw.__name__} has no argument {name!r}: {[*parameters]}")
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty:
            raise ValueError(f"draw: the argument {name!r} of {draw.__name__} needs a default")
    if is_headless():
        draw()
        return
    import ipywidgets  # here: slow to import, and of no use without somebody to move it

    widgets = {}
    for name, control in controls.items():
        default = parameters[name].default
        widgets[name] = ipywidgets.interactive.widget_from_abbrev(control, default)
        if widgets[name] is not control:  # made here: a widget of the caller's stays as it is
            widgets[name].value = default
            widgets[name].continuous_update = False  # a drawing takes a moment: when let go
    ipywidgets.interact(draw, **widgets)
