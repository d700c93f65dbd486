"""Records and targets: evidence is never overwritten by a quick run, nor faked, nor half judged."""

from __future__ import annotations

import datetime
import json
import multiprocessing

import numpy as np
import pytest

from shared import records
from shared.data import LabelledData
from shared.records import judge, load_targets, record

TARGET = """
[[target]]
id = "a1_03.test_accuracy"
notebook = "assignment1_perceptron_mlp/03_mlp_mnist.ipynb"
figure = "test accuracy"
goal = 0.985
direction = ">="
published = 0.99
source = "a course"
"""
NOTEBOOK = "assignment1_perceptron_mlp/03_mlp_mnist.ipynb"


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name in (NOTEBOOK, "assignment1_perceptron_mlp/04_autodiff.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "targets.toml").write_text(TARGET)
    monkeypatch.setattr(records, "ROOT", tmp_path)
    monkeypatch.setenv("COURSE_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("COURSE_PROFILE", "full")
    return tmp_path


def rows_of(*values, setting="net", **more):
    return [
        {"setting": setting, "seed": seed, "seconds": 9.0, "accuracy": value, **more}
        for seed, value in enumerate(values)
    ]


def save(rows, metric_id="a1_03.test_accuracy", metric="accuracy", **options):
    return record(metric_id, rows, metric, **{"data": "MNIST", "examples": 55_000, **options})


def test_a_row_says_how_it_was_measured(root):
    made = {"date": "2020-02-02", "device": "an old machine", "threads": 7}
    save(rows_of(0.98, 1.0, made=made))
    (row,) = records.staged_records(root / NOTEBOOK, "full")
    keys = "id setting values mean std n unit seeds seconds data examples device threads versions"
    assert list(row) == [*keys.split(), "date"]
    assert (row["mean"], row["n"], row["seconds"]) == (0.99, 2, [9.0, 9.0])
    assert row["values"] == [0.98, 1.0] and row["seeds"] == [0, 1] and row["setting"] == "net"
    assert row["std"] == pytest.approx(0.02 / 2**0.5)
    # a run that was found again keeps its own date, device and threads
    assert (row["date"], row["device"], row["threads"]) == tuple(made.values())
    assert row["unit"] == "fraction" and "NumPy" in row["versions"]


def test_without_runs_of_a_sweep_it_was_made_here_and_now(root):
    row = save([{"accuracy": 1.0}], setting="by hand")
    assert row["date"] == datetime.date.today().isoformat()
    assert "cores" in row["device"] and row["threads"] >= 1
    assert row["seconds"] is None and row["seeds"] == [None] and row["std"] == 0


def test_runs_of_several_days_and_machines_are_all_named(root):
    rows = rows_of(0.99, 0.99, 0.99)
    for row, threads in zip(rows, (2, 1, 2), strict=True):
        row["made"] = {"date": f"2026-01-0{threads}", "device": "d", "threads": threads}
    row = save(rows)
    assert (row["threads"], row["date"], row["device"]) == ("1, 2", "2026-01-01, 2026-01-02", "d")
    assert row["std"] == 0 and row["n"] == 3  # three equal values leave no rounding behind


def test_training_time_is_taken_before_the_time_of_the_run(root):
    assert save(rows_of(0.99, train_seconds=1.23456))["seconds"] == [1.235]
    assert save([{"accuracy": 0.99}], setting="s")["seconds"] is None


def test_data_bring_their_name_and_number(root):
    images = np.zeros((4, 2, 2))
    data = LabelledData(images, np.zeros(4), images[:2], np.zeros(2), ("0",), "MNIST", False)
    row = record("a1_03.test_accuracy", rows_of(0.99), "accuracy", data=data)
    assert (row["data"], row["examples"]) == ("MNIST", 4)
    row = record("a1_03.test_accuracy", rows_of(0.99), "accuracy", data=data, examples=3)
    assert row["examples"] == 3
    texts = LabelledData(("a", "b"), np.zeros(2), ("c",), np.zeros(1), ("0",), "IMDB", False)
    assert save(rows_of(0.99), data=texts, examples=None)["examples"] == 2


def test_the_mean_is_judged_and_not_the_best_seed(root, capsys):
    save(rows_of(0.990, 0.981))  # mean 0.9855
    assert "goal ≥ 0.985 reached · published 0.99 missed" in capsys.readouterr().out
    with pytest.raises(AssertionError, match=r"a1_03.test_accuracy is 0.9845; its goal is ≥ 0.985"):
        save(rows_of(0.989, 0.980))
    save(rows_of(0.99, 0.99))
    assert "reached · published 0.99 reached" in capsys.readouterr().out


def test_a_goal_downwards(root):
    text = TARGET.replace(">=", "<=").replace("0.985", "2").replace("0.99", "1.5")
    (root / "reports" / "targets.toml").write_text(text)
    (target,) = load_targets()
    assert judge(target, {"mean": 2.0}) == (True, False)
    assert judge(target, {"mean": 1.5}) == (True, True)
    assert judge(target, {"mean": 2.1}) == (False, False)
    del target["published"]
    assert judge(target, {"mean": 2.0}) == (True, None)
    with pytest.raises(AssertionError, match="its goal is ≤ 2"):
        save(rows_of(2.1))


def test_the_goal_is_asked_for_and_not_the_published_figure(root, capsys):
    (root / "reports" / "targets.toml").write_text(TARGET.replace("0.99\n", "0.5\n"))
    with pytest.raises(AssertionError, match=r"its goal is ≥ 0\.985"):
        save(rows_of(0.9))
    assert "goal ≥ 0.985 missed · published 0.5 reached" in capsys.readouterr().out


def test_only_the_target_of_that_name_is_compared(root, capsys):
    save(rows_of(0.5), "a1_03.test_accuracy_of_one")
    assert "goal" not in capsys.readouterr().out


def test_unit_and_setting_can_be_said_in_words(root, capsys):
    assert save(rows_of(0.99), setting="a net")["setting"] == "a net"
    assert save(rows_of(0.99), unit="nats")["unit"] == "nats"
    (root / "reports" / "targets.toml").write_text(TARGET + 'unit = "percent"\n')
    assert save(rows_of(0.99))["unit"] == "percent"
    assert save(rows_of(0.99), unit="nats")["unit"] == "nats"
    capsys.readouterr()
    save(rows_of(0.99, 1.0))
    assert ": 0.995 ± 0.0071 percent (n = 2)" in capsys.readouterr().out


def test_a_known_miss_is_printed_and_not_raised(root, capsys):
    (root / "reports" / "targets.toml").write_text(TARGET + 'missed = "too little time"\n')
    save(rows_of(0.5))
    assert "goal ≥ 0.985 missed" in capsys.readouterr().out


def test_a_missed_goal_is_still_on_record(root):
    with pytest.raises(AssertionError):
        save(rows_of(0.5))
    assert [row["mean"] for row in records.staged_records(root / NOTEBOOK, "full")] == [0.5]


def test_quick_is_not_compared_and_touches_no_evidence(root, monkeypatch, capsys):
    save(rows_of(0.99))
    monkeypatch.setenv("COURSE_PROFILE", "quick")
    capsys.readouterr()
    save(rows_of(0.10))
    assert capsys.readouterr().out == "recorded a1_03.test_accuracy: 0.1 fraction (n = 1)\n"
    assert records.staged_records(root / NOTEBOOK, "full")[0]["mean"] == 0.99
    assert records.staged_records(root / NOTEBOOK, "quick")[0]["mean"] == 0.10
    assert not (root / "reports" / "results").exists()


def test_staged_records_are_replaced_and_cleared_by_notebook_and_profile(root):
    save(rows_of(0.5), "a1_03.other")
    save(rows_of(0.99))
    save(rows_of(0.995))
    save(rows_of(0.7), "a1_04.accuracy")
    found = [(row["id"], row["mean"]) for row in records.staged_records(root / NOTEBOOK, "full")]
    assert found == [("a1_03.other", 0.5), ("a1_03.test_accuracy", 0.995)]
    records.clear_staged(root / NOTEBOOK, "quick")
    assert len(records.staged_records(root / NOTEBOOK, "full")) == 2
    records.clear_staged(root / NOTEBOOK, "full")
    assert records.staged_records(root / NOTEBOOK, "full") == []
    other = root / "assignment1_perceptron_mlp/04_autodiff.ipynb"
    assert [row["id"] for row in records.staged_records(other, "full")] == ["a1_04.accuracy"]


def test_evidence_lies_in_reports(root):
    notebook = root / NOTEBOOK
    file = root / "reports" / "results" / "a1_03_mlp_mnist.json"
    assert records.evidence_file(notebook) == file
    assert records.evidence(notebook) == []
    file.parent.mkdir()
    file.write_text('[{"id": "é"}]', "utf-8")
    assert records.evidence(notebook) == [{"id": "é"}]
    other = root / "assignment2_pytorch_cnn_rnn" / "03_mlp_mnist.ipynb"
    assert records.evidence_file(other) == file.with_name("a2_03_mlp_mnist.json")


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (rows_of(1.0), {"metric_id": "test_accuracy"}, "it must be like a1_03.test_accuracy"),
        (rows_of(1.0), {"metric_id": "a1_03.test/accuracy"}, "it must be like a1_03.test_accuracy"),
        (rows_of(1.0), {"metric_id": "a1_05.x"}, "0 notebooks match assignment1_perceptron_mlp/05"),
        ([], {"setting": "net"}, r"is \[\]; it must be finite, 1 value or more"),
        (rows_of(1.0, float("nan")), {}, r"is \[1.0, nan\]; it must be finite"),
        (rows_of(float("inf")), {}, "must be finite"),
        ([*rows_of(1.0), {"setting": "net"}], {}, r"is \[1.0, nan\]; it must be finite"),
        (rows_of(1.0), {"metric": "loss"}, "loss of a1_03.test_accuracy is"),
        (rows_of(1.0) + rows_of(1.0, setting="other"), {}, "rows are of 2 settings"),
        ([{"accuracy": 1.0}], {}, "setting of a1_03.test_accuracy is None"),
        (rows_of(1.0), {"examples": None}, "examples of a1_03.test_accuracy is None"),
    ],
)
def test_refuses(root, rows, options, message):
    with pytest.raises(ValueError, match=message):
        save(rows, **options)
    assert not (root / "build" / "results").exists()


def test_two_notebooks_of_one_number_are_refused(root):
    (root / NOTEBOOK).with_name("03_other.ipynb").write_text("{}")
    with pytest.raises(ValueError, match="2 notebooks match assignment1_perceptron_mlp/03"):
        save(rows_of(0.99))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (">=", "=>", "a1_03.test_accuracy: missing .*or the direction is not >= or <="),
        ("goal = 0.985\n", "", r"missing \['goal'\]"),
        ("source", "sauce", r"missing \['source'\], unknown \['sauce'\]"),
        ("published", "publisht", r"unknown \['publisht'\]"),
    ],
)
def test_an_incomplete_target_is_named(root, old, new, message):
    (root / "reports" / "targets.toml").write_text(TARGET.replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_targets()


def test_two_targets_of_one_name_are_refused(root):
    (root / "reports" / "targets.toml").write_text(TARGET + TARGET)
    with pytest.raises(ValueError, match=r"two rows for a1_03\.test_accuracy"):
        load_targets()


def test_the_projects_own_targets_are_complete():
    for target in load_targets():
        assert records.notebook_of(target["id"]) == records.ROOT / target["notebook"]
        assert judge(target, {"mean": target["goal"]})[0]


def save_many(start):
    for number in range(start, start + 25):
        save(rows_of(0.99, 0.99), f"a1_03.metric_{number % 30}")


def test_many_that_record_at_once_lose_nothing(root):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=save_many, args=(start,)) for start in (0, 5, 10, 0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    ids = [row["id"] for row in records.staged_records(root / NOTEBOOK, "full")]
    assert len(ids) == 30 and ids == sorted(ids)
    assert not list(root.rglob("*.part"))
    assert json.dumps(records.staged_records(root / NOTEBOOK, "full"))
