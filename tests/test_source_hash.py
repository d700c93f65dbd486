"""Which changes of a file count, and which of our modules a process says that it runs."""

from __future__ import annotations

import importlib
import os
import sys
from itertools import combinations
from types import ModuleType

import pytest

from shared import source_hash
from shared.source_hash import code_hash, imported_hashes


@pytest.mark.parametrize("head", ["def f():", "async def f():", "class A:"])
def test_docstrings_do_not_count_wherever_they_stand(head):
    plain = f"{head}\n    x = 1\n"
    for text in ('"""What."""', '"""Other words."""', '""""""'):
        assert code_hash(f"{head}\n    {text}\n    x = 1\n") == code_hash(plain)
        assert code_hash(f"{text}\n{plain}") == code_hash(plain)
    assert code_hash(f"{head}\n    x = 1\n    'last'\n") != code_hash(plain)


def test_values_that_look_alike_differ():
    values = "0 False 0.0 '' b'' None () [] {} 1 True 1.0 '1' b'1' 'None' 'False' ...".split()
    for one, other in combinations(values, 2):
        assert code_hash(f"x = {one}") != code_hash(f"x = {other}"), (one, other)


def test_the_end_of_a_long_file_counts():
    lines = "".join(f"x_{i} = {i}\n" for i in range(2_000))
    assert code_hash(lines + "y = 1") != code_hash(lines + "y = 2")
    assert code_hash("a = 1\nb = 2") != code_hash("b = 2\na = 1")


def test_files_are_utf_8(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes("x = 'é'".encode())
    assert source_hash.source_hash(path) == code_hash("x = 'é'")


@pytest.fixture
def beside(monkeypatch, tmp_path):
    """A notebook's folder: write(name) adds a module to it, start() looks as a new kernel would."""

    class Folder:
        path = tmp_path / "beside"

        def write(self, name, source="A = 1\n"):
            file = self.path / f"{name}.py"
            file.write_text(source, encoding="utf-8")
            return file

        def start(self):
            now = {path: source_hash._version(path) for path in source_hash._ours()}
            monkeypatch.setattr(source_hash, "_at_start", now)
            monkeypatch.setattr(source_hash, "_folders", {path.parent for path in now})

        def load(self, name):
            monkeypatch.delitem(sys.modules, name, raising=False)
            importlib.invalidate_caches()
            importlib.import_module(name)

    Folder.path.mkdir()
    monkeypatch.chdir(Folder.path)
    monkeypatch.syspath_prepend(str(Folder.path))
    source_hash._resolved.cache_clear()
    before = set(sys.modules)
    yield Folder()
    source_hash._resolved.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("beside_"):
            del sys.modules[name]


def test_modules_of_every_package_are_found_by_name(beside):
    import assignment1_perceptron_mlp.numpy_layers
    import shared.data.loaders

    file = beside.write("beside_a", "A = 1  # one\n")
    beside.start()
    assert "beside_a" not in imported_hashes()
    beside.load("beside_a")
    hashes = imported_hashes()
    assert list(hashes) == sorted(hashes)
    assert hashes["beside_a"] == source_hash.source_hash(file) == code_hash("A = 1")
    for module in (assignment1_perceptron_mlp.numpy_layers, shared, shared.data.loaders):
        assert hashes[module.__name__] == source_hash.source_hash(module.__file__)
    assert "pytest" not in hashes and __name__ not in hashes


def test_a_module_behind_a_link_is_found(beside, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "beside_b.py").write_text("B = 1\n")
    try:
        (beside.path / "beside_b.py").symlink_to(tmp_path / "elsewhere" / "beside_b.py")
    except OSError:
        pytest.skip("this system lets users make no links")
    beside.start()
    beside.load("beside_b")
    assert imported_hashes()["beside_b"] == code_hash("B = 1")


def test_a_module_that_was_not_there_at_the_start(beside):
    beside.start()  # no Python file lies beside the notebook yet
    beside.write("beside_c")
    assert imported_hashes() is not None
    beside.load("beside_c")
    assert imported_hashes() is None


def rewrite_alike(file):
    file.write_text("A = 2\n")


def rewrite_at_the_same_moment(file):
    then = file.stat().st_mtime_ns
    file.write_text("A = 11\n")
    os.utime(file, ns=(then, then))


@pytest.mark.parametrize("change", [rewrite_alike, rewrite_at_the_same_moment, os.unlink])
def test_a_module_that_changed_since_the_start(beside, change):
    file = beside.write("beside_d")
    os.utime(file, ns=(10**18, 10**18))
    beside.start()
    beside.load("beside_d")
    assert imported_hashes()["beside_d"] == code_hash("A = 1")
    change(file)
    assert imported_hashes() is None


def test_the_notebook_itself_is_no_module(beside, monkeypatch):
    file = beside.write("beside_e")
    beside.start()
    script = ModuleType("__main__")
    script.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert "__main__" not in imported_hashes()
