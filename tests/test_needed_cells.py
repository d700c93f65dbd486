"""Which earlier cells a cell needs: a small page per way to set, change or read a name."""

from __future__ import annotations

import pytest

from tools.needed_cells import needed


@pytest.mark.parametrize(
    ("page", "wanted"),
    [
        # set, set anew, changed
        (["x = 1", "x = 2", "y = 3", "x"], [1]),
        (["x = 1", "x += 1", "x"], [0, 1]),
        (["x = 1", "x += 1"], [0]),
        (["x: int = 1", "x"], [0]),
        (["(a, *b), c = 1, 2", "b"], [0]),
        (["x = y = 1", "y = 2", "x + y"], [0, 1]),
        (["a = [0]", "i = 0", "a[i] = 1", "a"], [0, 1, 2]),
        (["a = [[2, 1]]", "a[0].sort()", "a"], [0, 1]),
        (["a = [2, 1]", "b = sorted(a)", "a"], [0]),
        (["net = make()", "net.layer.size = 2", "net"], [0, 1]),
        (["a = [2, 1]", "shuffle(a)", "a"], [0, 1]),
        (["a = [2, 1]", "print(a)\nplot_line(a)", "a"], [0]),
        (["a = [2, 1]", "printed(a)", "a"], [0, 1]),
        (["a = [2, 1]", "a.size\na[0]", "a"], [0]),
        (["x = 1\ny = x", "x = 2", "y"], [0]),
        (["x = 1", "y = x\nx = 2", "x"], [0, 1]),
        (["x = 1", "x = 2\ny = x", "x"], [1]),
        (["x = 1", "%time x", "%matplotlib inline\nx = 3", "x"], [2]),
        (["x = 1", "x = (", "x"], [0]),
        # imports
        (["np = 1", "import numpy as np", "np"], [1]),
        (["import os.path", "os"], [0]),
        (["import plt", "plt.show()", "plt"], [0]),
        (["from a import b as c", "c = c + 1", "c"], [0, 1]),
        # branches and loops
        (["y = 0", "c = 1", "if c:\n    y = 1", "y"], [0, 1, 2]),
        (["y = 0", "c = 1", "if c:\n    y = 1\nelse:\n    y = 2", "y"], [1, 2]),
        (["a = 0", "b = 0", "if True:\n    y = a\nelse:\n    y = b", "y"], [0, 1, 2]),
        (["n = 9", "m = 3", "for n in range(m):\n    y = n", "y"], [1, 2]),
        (["z = 1", "for n in []:\n    pass\nelse:\n    w = z", "w"], [0, 1]),
        (["n = 3", "y = 0", "while n:\n    y += 1", "y"], [0, 1, 2]),
        (["z = 1", "while False:\n    pass\nelse:\n    w = z", "w"], [0, 1]),
        (["p = 'a'", "file = 0", "with open(p) as file:\n    text = file.read()", "text"], [0, 2]),
        (["x = 1", "z = [x for x in range(3)]", "z"], [1]),
        (["n = 3", "z = {k: v * n for k, v in a}", "z"], [0, 1]),
        # functions: what they read when they are called, what they change
        (["k = 2", "x = 1", "def f(x):\n    y = k * x\n    return y", "y = 0", "f(1)"], [0, 2]),
        (["def f():\n    return k", "k = 2", "f()"], [0, 1]),
        (["k = 2", "def f():\n    return k\nn = 1", "f()"], [0, 1]),
        (["def f():\n    return k", "def g():\n    return f()", "k = 1", "g()"], [0, 1, 2]),
        (["def f():\n    return k", "def f():\n    return 1", "k = 1", "f()"], [1]),
        (["g = 1", "def f():\n    def g():\n        return 2\n    return g()", "f()"], [1]),
        (["k = 2", "f = lambda x: k * x", "x = 0", "f(1)"], [0, 1]),
        (["k = 2", "def f(x=k):\n    return x\n\n\nk = 3", "f()"], [0, 1]),
        (["k = 2", "def f(*, x=k):\n    return x\n\n\nk = 3", "f()"], [0, 1]),
        (["d = cache", "@d\ndef f():\n    return 1\n\n\nd = 0", "f()"], [0, 1]),
        (["k = 2", "class A:\n    size = k", "A"], [0, 1]),
        (["k = 2\ndef f():\n    return k", "k = 3", "f()"], [0]),
        (["t = {}", "def note(k):\n    t[k] = 1", "note('a')", "other = t", "t"], [0, 1, 2]),
        (["t = {}", "def note(k):\n    t = {}\n    t[k] = 1", "note('a')", "t"], [0]),
        # the names of Python itself
        (["sum = 1", "len([])", "sum"], [0]),
        (["len([])", "x"], []),
    ],
)
def test_a_cell_needs_what_may_have_made_its_names(page, wanted):
    assert needed(page, len(page) - 1) == wanted
