"""Thousands of damaged pictures: each is a picture or a failure with a code, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
import soak

from zsclip import images
from zsclip.errors import PICTURE_ERROR_CODES
from zsclip.formats import FORMATS

LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"
COUNT = 100_000 if LONG else 3_000
SCRIPT = Path(mutants.__file__)


@pytest.mark.accepts("A23")
def test_every_mutant_is_a_picture_or_a_failure_with_a_code(tried):
    """In a process of its own, which a signal would end."""
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--count", str(COUNT)], capture_output=True, text=True
    )

    assert ran.returncode == 0, (ran.returncode, ran.stderr[-2000:])
    swept = json.loads(ran.stdout)
    assert swept["mutants"] == sum(swept["verdicts"].values()) == COUNT
    assert set(swept["verdicts"]) <= {"ok", *PICTURE_ERROR_CODES} - {"timeout", "out_of_memory"}
    assert swept["longest_s"] < mutants.TIMEOUT_S and swept["grown_mb"] < 900, swept
    tried(COUNT)


def test_whole_pictures_are_of_every_format_and_load():
    whole = mutants.whole_pictures()

    assert {kind for kind, _ in whole} - {"MPO"} == set(FORMATS)
    assert [len(content) for _, content in whole if len(content) > 8000] == []
    for kind, content in whole:
        if b"F" not in kind.encode():
            assert images.load(content).image.size == (mutants.SIDE, mutants.SIDE)


def test_mutants_are_the_same_every_time_and_others_with_another_seed():
    def digest(seed):
        made = (mutants.mutant(index, seed=seed).content for index in range(50))
        return hashlib.sha256(b"|".join(made)).hexdigest()

    assert digest(1) == digest(1) != digest(2)


def test_mutants_are_of_every_format_and_changed_in_every_way():
    made = [mutants.mutant(index) for index in range(600)]

    assert {mutant.kind for mutant in made} == {kind for kind, _ in mutants.whole_pictures()}
    assert {name for m in made for name in m.changes} == {c.__name__ for c in mutants.CHANGES}
    whole = {content for _, content in mutants.whole_pictures()}
    assert sum(mutant.content in whole for mutant in made) < 30


def test_one_mutant_can_be_shown():
    ran = subprocess.run([sys.executable, SCRIPT, "--show", "17"], capture_output=True)

    assert ran.stdout == mutants.mutant(17).content


# what `make soak` finds


def judged(rows, stderr="", code=0, paths=("a", "b")):
    verdict = soak.Verdict(len(paths))
    stdout = "".join(json.dumps(row) + "\n" for row in rows).encode()
    ran = subprocess.CompletedProcess([], code, stdout, stderr.encode())
    soak.judge(verdict, paths, ran)
    return verdict


def row(path, code=None):
    failed = {"status": "error", "error": {"code": code, "message": "m"}}
    return {"path": path, "status": "ok"} if code is None else {"path": path, **failed}


BAD = "zsclip: b: m [corrupt]\n1 ok, 1 failed (1 corrupt)\n"


def test_a_run_that_keeps_its_promises_has_a_verdict_for_each_file():
    verdict = judged([row("a"), row("b", "corrupt")], BAD, 3)

    assert verdict.broken == [] and verdict.codes == {"ok": 1, "corrupt": 1}
    assert verdict.examples == {"ok": "a", "corrupt": "b"}


@pytest.mark.parametrize(
    ("rows", "stderr", "code", "broken"),
    [
        ([row("a")], "", 0, "1 rows for 2 inputs"),
        ([row("b"), row("a")], "", 0, "rows are not in the order of the inputs"),
        ([row("a"), row("b", "odd")], BAD, 3, "codes that are not in the list: odd"),
        ([row("a"), row("b", "corrupt")], BAD, 0, "exit code 0"),
        ([row("a"), row("b")], "", -11, "exit code -11"),
        ([row("a"), row("b", "corrupt")], "", 3, "0 lines on stderr for 1 failures"),
        ([row("a"), row("b")], "Traceback\n", 0, "stderr says more: ['Traceback']"),
        ([row("a"), row("b", "timeout")], BAD, 3, "over the time-out: b"),
    ],
)
def test_every_promise_that_is_broken_is_named(rows, stderr, code, broken):
    assert judged(rows, stderr, code).broken == [broken]


@pytest.mark.accepts("A23")
@pytest.mark.usefixtures("fast_tiny")
def test_mutants_go_through_the_command_line(tmp_path, tried):
    mutants.write_corpus(tmp_path / "mutants", 300)

    # in a process of its own: a child's greatest memory begins with that of its parent
    command = [sys.executable, soak.__file__, tmp_path / "mutants"]
    ran = subprocess.run(
        [*command, "--timeout", str(mutants.TIMEOUT_S)], capture_output=True, text=True
    )

    assert ran.returncode == 0 and "\n300 files in" in ran.stdout, ran.stdout + ran.stderr
    assert int(re.search(r"^ok +(\d+)", ran.stdout, re.MULTILINE)[1]) > 30
    tried(300)
