"""Records, targets and tables: evidence is never overwritten by a quick run, nor faked."""

from __future__ import annotations

import json

import pytest

from shared import results

TARGETS = """
[[target]]
id = "a1_03.test_accuracy"
notebook = "assignment1_perceptron_mlp/03_mlp_mnist.ipynb"
figure = "test accuracy"
goal = 0.985
direction = ">="
source = "a course"
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "assignment1_perceptron_mlp"
    folder.mkdir()
    (folder / "03_mlp_mnist.ipynb").write_text("{}")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "targets.toml").write_text(TARGETS)
    for file in (tmp_path / "README.md", tmp_path / "reports" / "README.md"):
        file.write_text(f"before\n{results.START}\n{results.END}\nafter\n")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setenv("COURSE_PROFILE", "full")
    return tmp_path


def save(values, metric_id="a1_03.test_accuracy", **kwargs):
    return results.record(metric_id, values, setting="net", data="MNIST", examples=55_000, **kwargs)


def test_a_row_says_how_it_was_measured(root):
    save([0.98, 0.99], seconds=[1.0, 2.0])
    (row,) = json.loads((root / "reports/results/a1_03_mlp_mnist.json").read_text("utf-8"))
    assert (
        list(row)
        == (
            "id setting values mean std n unit seconds data examples device threads versions date"
        ).split()
    )
    assert (row["mean"], row["n"], row["seconds"]) == (0.985, 2, [1.0, 2.0])
    assert row["std"] == pytest.approx(0.00707, abs=1e-5)
    assert "cores" in row["device"]


def test_the_same_id_is_replaced_and_others_kept(root):
    save([0.5], "a1_03.other")
    save([0.98])
    save([0.99])
    rows = results.records_for(root / "assignment1_perceptron_mlp/03_mlp_mnist.ipynb", "full")
    assert [(r["id"], r["mean"]) for r in rows] == [
        ("a1_03.other", 0.5),
        ("a1_03.test_accuracy", 0.99),
    ]
    assert not list(root.rglob("*.tmp"))


def test_quick_never_touches_evidence(root, monkeypatch):
    save([0.99])
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    save([0.10])
    (evidence,) = (root / "reports" / "results").iterdir()
    assert json.loads(evidence.read_text("utf-8"))[0]["mean"] == 0.99
    assert (root / "build" / "results" / evidence.name).exists()


@pytest.mark.parametrize(
    ("metric_id", "values", "message"),
    [
        ("test_accuracy", [1.0], "metric_id is 'test_accuracy'; it must be like"),
        ("a1_04.accuracy", [1.0], "0 notebooks match assignment1_perceptron_mlp/04_"),
        ("a1_03.accuracy", [], "must be finite numbers, 1 or more"),
        ("a1_03.accuracy", [float("nan")], "must be finite numbers"),
    ],
)
def test_refuses(root, metric_id, values, message):
    with pytest.raises(ValueError, match=message):
        save(values, metric_id)
    assert not (root / "reports" / "results").exists()


def test_refuses_seconds_that_do_not_fit(root):
    with pytest.raises(ValueError, match="seconds has 1 entries"):
        save([1.0, 1.0], "a1_03.accuracy", seconds=[3.0])


@pytest.mark.parametrize(
    ("values", "code", "says"), [([0.986], 0, "ok  "), ([0.984], 1, "MISS"), (None, 1, "no record")]
)
def test_check(root, capsys, values, code, says):
    if values:
        save(values)
    assert results.main(["check"]) == code
    printed = capsys.readouterr().out
    assert says in printed and "a1_03.test_accuracy" in printed


def test_table_is_checked_and_written(root, capsys):
    save([0.986, 0.988])
    assert results.main(["table", "--check"]) == 1
    assert "README.md: the table differs" in capsys.readouterr().out
    assert results.main(["table", "--write"]) == 0
    assert results.main(["table", "--check"]) == 0
    text = (root / "README.md").read_text("utf-8")
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| ≥ 0.985 | **0.987 ± 0.0014 (2)** | a course |" in text
    assert "(assignment1_perceptron_mlp/03_mlp_mnist.ipynb)" in text
    assert "(../assignment1_perceptron_mlp/" in (root / "reports/README.md").read_text("utf-8")


def test_an_incomplete_target_is_named(root):
    (root / "reports" / "targets.toml").write_text(TARGETS.replace(">=", "=>"))
    with pytest.raises(ValueError, match=r"targets.toml, a1_03.test_accuracy.*must be >= or <="):
        results.load_targets()


def test_the_readme_figure_is_that_of_its_notebook(root):
    notebook = root / "assignment1_perceptron_mlp/03_mlp_mnist.ipynb"
    outputs = [{"data": {"text/plain": "x"}}, {"data": {"image/png": "iVBORw=="}}]
    cell = {"cell_type": "code", "metadata": {"tags": ["readme"]}, "outputs": outputs}
    notebook.write_text(json.dumps({"cells": [cell]}))
    assert results.main(["table", "--check"]) == 1
    results.main(["table", "--write"])
    assert (root / "reports/overview.png").read_bytes() == b"\x89PNG"
    assert results.main(["table", "--check"]) == 0
