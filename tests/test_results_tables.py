"""The machinery that sets records beside targets: verdicts, tables in READMEs, their figure."""

from __future__ import annotations

import json

import pytest

from shared import records
from tools import notebook_state, results

TARGETS = """
[[target]]
id = "a1_03.test_accuracy"
notebook = "assignment1_perceptron_mlp/03_mlp_mnist.ipynb"
figure = "test accuracy"
goal = 0.98
published = 0.985
direction = ">="
source = "a course"

[[target]]
id = "a1_03.seconds"
notebook = "assignment1_perceptron_mlp/03_mlp_mnist.ipynb"
figure = "seconds"
goal = 20
direction = "<="
source = "our own"
"""
ACCURACY, SECONDS = "a1_03.test_accuracy", "a1_03.seconds"


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "assignment1_perceptron_mlp"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "targets.toml").write_text(TARGETS)
    for file in (tmp_path / "README.md", tmp_path / "reports" / "README.md"):
        file.write_text(f"before\n{results.START}\nold\n{results.END}\nafter ±\n", "utf-8")
    for module in (records, results):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(results, "find_notebooks", lambda: notebook_state.find_notebooks(tmp_path))
    return tmp_path


def measured(metric_id=ACCURACY, mean=0.987, **changes):
    row = {
        "id": metric_id,
        "mean": mean,
        "std": 0.00141,
        "n": 2,
        "values": [mean + 0.001, mean - 0.001],
    }
    return row | {"unit": "fraction", "device": "a laptop", "threads": 1} | changes


def store(root, *rows):
    file = root / "reports" / "results" / "a1_03_mlp_mnist.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(rows), "utf-8")


def lines_of(root, name="README.md"):
    assert results.main(["table", "--write"]) == 0
    return (root / name).read_text("utf-8").splitlines()


@pytest.mark.parametrize(
    ("mean", "goal", "published"),
    [
        (0.985, "≥ 0.98 reached", "0.985 reached"),
        (0.984, "≥ 0.98 reached", "0.985 missed"),
        (0.979, "≥ 0.98 missed", "0.985 missed"),
    ],
)
def test_each_figure_stands_with_goal_and_published(root, mean, goal, published):
    store(root, measured(mean=mean))
    cells = [cell.strip() for cell in lines_of(root)[4].split("|")]
    assert cells[2:7] == ["test accuracy", f"{mean} ± 0.0014 (n = 2)", goal, published, "a course"]


def test_the_mean_is_judged_and_not_the_best_seed(root, capsys):
    store(root, measured(mean=0.975, values=[0.96, 0.99]), measured(SECONDS, 3))
    assert results.main(["check"]) == 1
    assert "MISS a1_03.test_accuracy" in capsys.readouterr().out


def test_smaller_is_better_where_the_target_says_so(root, capsys):
    store(root, measured(), measured(SECONDS, 20, n=1))
    assert results.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert "ok   a1_03.seconds" in printed and "20 (n = 1) · goal ≤ 20 reached\n" in printed
    assert "· goal ≥ 0.98 reached · published 0.985 reached\n" in printed
    store(root, measured(), measured(SECONDS, 21))
    assert results.main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "MISS a1_03.seconds" in printed and "1 of 2 targets reached" in printed


def test_a_stated_reason_excuses_a_miss_but_not_a_missing_record(root, capsys):
    (root / "reports" / "targets.toml").write_text(TARGETS + 'missed = "one core"\n')
    store(root, measured(), measured(SECONDS, 21))
    assert results.main(["check"]) == 0
    assert "≤ 20 missed: one core" in capsys.readouterr().out
    assert "| ≤ 20 missed: one core |" in "\n".join(lines_of(root))
    store(root, measured(), measured(SECONDS, 19))
    assert results.main(["check"]) == 0
    assert "one core" not in capsys.readouterr().out
    store(root, measured())
    assert results.main(["check"]) == 1


def test_without_a_record_nothing_is_reached(root, capsys):
    assert results.main(["check"]) == 1
    assert capsys.readouterr().out.count("no record") == 2
    lines = lines_of(root)
    assert lines[4].endswith("| test accuracy | no record | ≥ 0.98 | 0.985 | a course |")
    assert lines[-3:] == [lines[5], results.END, "after ±"]


def test_tables_are_checked_and_written(root, capsys):
    store(root, measured(), measured("a1_03.no_target"))
    assert results.main(["table", "--check"]) == 1
    printed = capsys.readouterr().out
    assert "README.md differs" in printed and "reports/README.md differs" in printed
    assert results.main(["table", "--write"]) == 0
    assert results.main(["table", "--check"]) == 0
    text = (root / "README.md").read_text("utf-8")
    assert text.startswith(f"before\n{results.START}\n| notebook |")
    assert text.endswith(f"{results.END}\nafter ±\n") and "old" not in text
    assert "| [03_mlp_mnist](assignment1_perceptron_mlp/03_mlp_mnist.ipynb) |" in text
    assert "(../assignment1_perceptron_mlp/" in (root / "reports/README.md").read_text("utf-8")
    assert "no_target" not in text
    (root / "reports" / "README.md").write_text("lost", "utf-8")
    with pytest.raises(ValueError, match=r"reports.README\.md needs the lines <!-- results:start"):
        results.main(["table", "--check"])


def test_one_place_is_named_once_and_several_beside_each_figure(root):
    store(root, measured(), measured(SECONDS, 3))
    assert lines_of(root)[-3] == "Measured in the full profile on: a laptop, threads: 1."
    assert "<sup>" not in "".join(lines_of(root))
    store(root, measured(threads=2), measured(SECONDS, 3))
    lines = lines_of(root)
    assert "(n = 2) <sup>b</sup> |" in lines[4] and "(n = 2) <sup>a</sup> |" in lines[5]
    assert lines[-3] == (
        "Measured in the full profile on: <sup>a</sup> a laptop, threads: 1; "
        "<sup>b</sup> a laptop, threads: 2."
    )


def test_the_readme_figure_is_that_of_its_notebook(root, capsys):
    def cell(tags, *pictures):
        outputs = [{"output_type": "display_data", "metadata": {}, "data": d} for d in pictures]
        kind = {"cell_type": "code", "source": "", "execution_count": None}
        return kind | {"metadata": {"tags": tags}, "outputs": outputs}

    wanted = cell(["readme"], {"text/plain": "x"}, {"image/png": "iVBORw=="})
    cells = [cell(["report"], {"image/png": "AAAA"}), wanted]
    text = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4})
    (root / "assignment1_perceptron_mlp" / "03_mlp_mnist.ipynb").write_text(text)
    lines_of(root)
    assert (root / "reports/overview.png").read_bytes() == b"\x89PNG"
    assert results.main(["table", "--check"]) == 0
    (root / "reports/overview.png").write_bytes(b"old")
    assert results.main(["table", "--check"]) == 1
    assert "reports/overview.png differs" in capsys.readouterr().out


def test_a_command_is_needed(root, capsys):
    for arguments in ([], ["table"], ["table", "--check", "--write"]):
        with pytest.raises(SystemExit):
            results.main(arguments)
