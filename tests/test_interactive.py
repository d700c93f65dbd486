"""Sliders: live they move the figure, headless the figure alone is drawn."""

import ipywidgets
import nbformat
import pytest
from nbclient import NotebookClient

from shared.interactive import explore, is_headless


@pytest.fixture
def draw():
    def draw(rate=0.1, seed=3, wide=False):
        calls.append((rate, seed, wide))

    calls = draw.calls = []
    return draw


@pytest.fixture
def shown(monkeypatch):
    """A live notebook in which we keep what would be shown."""
    monkeypatch.delenv("COURSE_HEADLESS", raising=False)
    shown = []
    monkeypatch.setattr(ipywidgets, "interact", lambda draw, **widgets: shown.append(widgets))
    return shown


@pytest.mark.parametrize("value, expected", [("1", True), ("0", False), ("", False)])
def test_headless_is_said_by_the_environment(monkeypatch, value, expected):
    monkeypatch.setenv("COURSE_HEADLESS", value)
    assert is_headless() is expected


def test_headless_draws_once_with_the_defaults(monkeypatch, draw, shown):
    monkeypatch.setenv("COURSE_HEADLESS", "1")
    assert explore(draw, rate=(0.0, 1.0, 0.1)) is None
    assert draw.calls == [(0.1, 3, False)] and not shown


def test_live_sliders_start_at_the_defaults_and_wait_for_the_mouse(draw, shown):
    explore(draw, rate=(0.0, 1.0, 0.05), seed=[1, 3, 5], wide=True)
    (widgets,) = shown
    rate, seed, wide = widgets.values()
    assert (rate.min, rate.max, rate.step, rate.value) == (0.0, 1.0, 0.05, 0.1)
    assert rate.continuous_update is False
    assert seed.options == (1, 3, 5) and seed.value == 3
    assert wide.value is False
    assert not draw.calls  # drawn by ipywidgets.interact, here replaced


def test_live_a_moved_slider_draws_again(monkeypatch, draw):
    monkeypatch.delenv("COURSE_HEADLESS", raising=False)
    slider = ipywidgets.FloatSlider(0.1, min=0, max=1)
    explore(draw, rate=slider)
    slider.value = 0.5
    assert draw.calls == [(0.1, 3, False), (0.5, 3, False)]


def test_a_control_without_argument_is_refused_by_name(draw):
    with pytest.raises(ValueError, match=r"draw has no argument 'width'.*rate"):
        explore(draw, width=(1, 2))
    assert not draw.calls


def test_an_argument_without_default_is_refused_by_name():
    def picture(width, height=1):
        raise AssertionError("must not be drawn")

    with pytest.raises(ValueError, match="'width' of picture needs a default"):
        explore(picture, height=(1, 2))


@pytest.mark.parametrize("headless", [True, False])
def test_in_a_kernel_it_never_waits_and_headless_it_stores_no_widget(monkeypatch, headless):
    monkeypatch.setenv("COURSE_HEADLESS", "1" if headless else "")
    source = (
        "from shared.interactive import explore\nexplore(lambda a=1: print('a is', a), a=(0, 9))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=60).execute()
    outputs = notebook.cells[0].outputs
    if headless:
        assert [output.output_type for output in outputs] == ["stream"]
        assert outputs[0].text == "a is 1\n" and "widgets" not in notebook.metadata
    else:
        assert "application/vnd.jupyter.widget-view+json" in outputs[0].data
