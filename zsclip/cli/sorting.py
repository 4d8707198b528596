"""One run of `zsclip sort`: a classifier, a target, and what is told of it."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

from zsclip import console
from zsclip.classifier import Classifier
from zsclip.cli.output_options import Output
from zsclip.cli.rows import Report, open_output, write_all
from zsclip.cli.signals import Terminated
from zsclip.cli.sort_output import SortedRows, SortedTable
from zsclip.errors import ZsclipWarning
from zsclip.inputs import Input, Skipped
from zsclip.resuming import Run
from zsclip.sorting import sort_target
from zsclip.sorting.placement import Action
from zsclip.sorting.sort_history import Earlier
from zsclip.sorting.sorter import Sorter

_MOST_SHOWN = 5


def make_sorter(
    classifier: Classifier, into: Path, action: Action, *, earlier: Earlier, dry_run: bool
) -> Sorter:
    """What puts pictures into folders of a classifier's answers.

    Raises:
        UsageError, OutputError: the target cannot take these folders.
    """
    _warn_about_one_label(classifier)
    names, other = classifier.rules.names, classifier.rules.other
    answers = names if other in (None, sort_target.OTHER) else [*names, str(other)]
    folders = sort_target.folders_of(answers)
    sort_target.check_folder(into, [*folders.values(), sort_target.OTHER, sort_target.UNREADABLE])
    renamed = [f"{label!r} is {name!r}" for label, name in folders.items() if label != name]
    if renamed:
        few, more = ", ".join(renamed[:_MOST_SHOWN]), len(renamed) - _MOST_SHOWN
        few += f", and {more:,} more" if more > 0 else ""
        _warn(f"folders that are not called like their labels: {few}")
    digest = f"{Run.of(classifier).digest}-{action}"
    return Sorter(into, folders, action, earlier=earlier, run=digest, dry_run=dry_run)


def run(
    classifier: Classifier,
    inputs: Iterator[Input],
    sorter: Sorter,
    form: str,
    skipped: Skipped,
    *,
    quiet: bool,
) -> int:
    """Sort all of it; return the exit code."""
    with open_output(Output(form)) as stream:
        if form == "table":
            writer: SortedRows | SortedTable = SortedTable(stream, classifier.score_kind)
        else:
            writer = SortedRows(stream, dry_run=sorter.dry_run)
        results = classifier.classify_inputs(sorter.waiting(inputs))
        answers = map(sorter.place, results)
        try:
            code = write_all(answers, writer, Report(skipped, quiet=quiet), doing="sorting")
        except (KeyboardInterrupt, Terminated, BrokenPipeError):
            _say_how_to_undo(sorter, quiet=quiet)
            raise
    sorter.finish()
    if not quiet:
        _say_what_was_passed(sorter)
    _say_how_to_undo(sorter, quiet=quiet)
    return code


def _warn_about_one_label(classifier: Classifier) -> None:
    rules = classifier.rules
    is_sure = classifier.score_kind == "softmax" and rules.min_cosine is None
    if len(rules.names) == 1 and is_sure and rules.other is None:
        _warn("one label only: every picture goes into its folder; add labels, or --other")


def _say_what_was_passed(sorter: Sorter) -> None:
    passed = sorter.passed
    if passed.twice:
        console.say(f"{passed.twice:,} named more than once")
    if not passed.before:
        return
    console.say(f"{passed.before:,} sorted before")
    if passed.otherwise or passed.absent:
        kinds = {
            "by other labels or options": passed.otherwise,
            "not there any more": passed.absent,
        }
        found = " and ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
        _warn(f"of these, {found}; to sort them anew, undo the runs that did so")


def _say_how_to_undo(sorter: Sorter, *, quiet: bool) -> None:
    if sorter.log is not None and sorter.log.content.done and not quiet:
        command = shlex.join(["zsclip", "sort", "--undo", str(sorter.log.path)])
        console.say(f"undo: {console.printable(command)}")


def _warn(message: str) -> None:
    warnings.warn(message, ZsclipWarning, stacklevel=3)
