"""Benchmarks say what they measured: rounds, ratios, aims, failures, the page of figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import aims  # noqa: E402
import measuring  # noqa: E402
import run  # noqa: E402
from measuring import Measured  # noqa: E402
from report import Section, markdown, number  # noqa: E402


def test_a_ratio_is_the_median_of_the_ratios_within_a_round() -> None:
    seconds = {"a": [1.0, 10.0, 6.0], "b": [1.0, 5.0, 2.0]}
    measured = {name: [Measured(s, 2 * s) for s in runs] for name, runs in seconds.items()}

    found = measuring.ratios(measured, [("a", "b")])

    assert found == {"a / b": {"wall": 2.0, "CPU": 2.0}}


def test_work_is_done_in_turn_and_the_first_round_is_not_counted() -> None:
    done = []

    def work(name: str, number: int) -> Measured:
        done.append((name, number))
        return Measured(float(number), 0.0)

    works = {name: lambda number, name=name: work(name, number) for name in "ab"}
    measured = measuring.in_turn(works, 2)

    assert done == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert [m.wall_s for m in measured["a"]] == [1.0, 2.0]


def test_the_peak_of_a_process_counts_its_memory() -> None:
    program = "block = b'1' * 99_000_000; print(len(block))"

    once = measuring.process([sys.executable, "-c", program], {})

    assert once.peak_mb > 99 and once.answer == "99000000\n"


def test_a_process_that_fails_is_an_error_with_its_last_line() -> None:
    program = "import sys; print('note', file=sys.stderr); raise SystemExit('boom')"

    with pytest.raises(SystemExit, match="exit code 1: boom"):
        measuring.process([sys.executable, "-c", program], {})


@pytest.mark.parametrize("theirs", [[0.25, 0.76], [0.25, float("nan")]])
def test_different_answers_stop_a_benchmark(theirs: list[float]) -> None:
    with pytest.raises(SystemExit, match="different answers: scores"):
        measuring.check_close([0.25, 0.75], theirs, tolerance=1e-4, what="scores")


@pytest.mark.parametrize(
    ("aim", "verdict"),
    [
        (aims.Aim("fast", "s", "a / b", at_least=2.5), "| fast | ≥ 2.5 | 2.60 | yes |"),
        (aims.Aim("fast", "s", "a / b", at_least=2.7), "| fast | ≥ 2.7 | 2.60 | **no** |"),
        (aims.Aim("small", "s", "a", "peak MB", at_most=9), "| small | ≤ 9 | 8.00 | yes |"),
        (aims.Aim("small", "s", "a", "peak MB", at_most=7), "| small | ≤ 7 | 8.00 | **no** |"),
        (aims.Aim("other", "s", "c", at_most=1), "| other | ≤ 1 |  | not measured |"),
    ],
)
def test_an_aim_is_reached_or_not_or_not_measured(aim: aims.Aim, verdict: str) -> None:
    sections = {"s": {"ratios": {"a / b": {"wall": 2.6}}, "figures": {"a": {"peak MB": 8.0}}}}

    assert aims.markdown(sections, [aim]).splitlines()[-1] == verdict


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.01234, "0.0123"), (1.234, "1.23"), (98.76, "98.8"), (1234.5, "1234"), (0.0, "0")],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_table_has_a_column_for_every_figure() -> None:
    section = Section("Speed", {"a": {"s": 1.0}, "b": {"s": 2.0, "dB": 50.0}}, notes=("quick",))

    assert markdown(section) == (
        "### Speed\n\n- quick\n\n|  | s | dB |\n|---|---|---|\n| a | 1.00 |  |\n| b | 2.00 | 50.0 |"
    )


@pytest.fixture
def two_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A subject that works and one that does not."""
    section = {"title": "Good", "figures": {"a": {"s": 1.0}}, "ratios": {}, "notes": []}
    (tmp_path / "good.py").write_text(f"print('table')\nprint({json.dumps(section)!r})\n")
    (tmp_path / "bad.py").write_text("raise SystemExit('different answers')\n")
    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "prepare", lambda folder: None)
    return tmp_path


def test_a_subject_that_fails_is_named_and_the_others_go_on(two_subjects: Path) -> None:
    given = argparse.Namespace(folder=two_subjects, quick=True)

    ran = run.measure(["bad", "good"], given)

    assert ran.failures == {"bad": "different answers"}
    assert "**bad failed**: different answers" in ran.markdown()
    assert json.loads(ran.json())["subjects"]["good"]["figures"] == {"a": {"s": 1.0}}


def test_a_run_is_appended_to_the_log_failures_included(
    two_subjects: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "LOG", two_subjects / "log.md")
    (two_subjects / "log.md").write_text("# Runs\n")

    run.write_log(run.measure(["bad", "good"], argparse.Namespace(folder=two_subjects, quick=True)))

    log = (two_subjects / "log.md").read_text()
    assert log.startswith("# Runs\n") and "**bad failed**" in log and "#### Good" in log


def test_the_tables_of_the_page_are_replaced_between_their_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{run.BEGIN}\nold\n{run.END}\nafter\n")
    monkeypatch.setattr(run, "DOCS", page)
    monkeypatch.setattr(run.Run, "markdown", lambda self: "new")

    run.write_docs(run.Run({}, {}, {}))

    assert page.read_text() == f"before\n{run.BEGIN}\n\nnew\n\n{run.END}\nafter\n"


def test_the_page_of_figures_has_the_marks() -> None:
    page = run.DOCS.read_text(encoding="utf-8")

    assert page.count(run.BEGIN) == page.count(run.END) == 1
