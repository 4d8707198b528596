"""C libraries are not heard on stderr, Python is, and afterwards all is as it was."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys

import pytest

from zsclip.cli import descriptors, main

SPEAK = "import os, sys\nfrom zsclip.cli import descriptors\n"


def in_a_process(code, *arguments, **options):
    """Run Python code that knows `descriptors`, with a stderr of its own."""
    return subprocess.run(
        [sys.executable, *arguments, "-c", SPEAK + code], capture_output=True, timeout=60, **options
    )


def test_what_c_writes_is_dropped_and_what_python_writes_is_not(capfd):
    with descriptors.c_stderr_aside():
        os.write(2, b"from C\n")
        sys.stderr.write("from Python\n")
    os.write(2, b"afterwards\n")

    assert capfd.readouterr().err == "from Python\nafterwards\n"


def test_pythons_stderr_goes_on_where_it_is_descriptor_2():
    ran = in_a_process(
        "with descriptors.c_stderr_aside():\n"
        "    os.write(2, b'from C\\n')\n"
        "    print('größer', file=sys.stderr)\n"
        "    assert sys.stderr.fileno() == sys.__stderr__.fileno() != 2\n"
        "assert sys.stderr.fileno() == sys.__stderr__.fileno() == 2\n"
        "print('afterwards', file=sys.stderr)\n"
        "os.write(2, b'from C\\n')\n",
        "-X",
        "utf8",
    )

    assert ran.stderr.decode() == "größer\nafterwards\nfrom C\n"


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")


@needs_proc
def test_all_descriptors_are_given_back(capfd):
    before = set(os.listdir("/proc/self/fd")), os.fstat(2)

    for _ in range(3):
        with descriptors.c_stderr_aside():
            pass

    assert (set(os.listdir("/proc/self/fd")), os.fstat(2)) == before


@needs_proc
def test_no_more_than_one_descriptor_is_kept_where_stderr_is_descriptor_2():
    ran = in_a_process(
        "before = len(os.listdir('/proc/self/fd'))\n"
        "for _ in range(5):\n"
        "    with descriptors.c_stderr_aside():\n"
        "        pass\n"
        "print(len(os.listdir('/proc/self/fd')) - before)\n"
    )

    assert (ran.stdout, ran.stderr) == (b"1\n", b"")


def test_an_exception_gives_stderr_back(capfd):
    before = sys.stderr

    with pytest.raises(KeyError), descriptors.c_stderr_aside():
        raise KeyError

    os.write(2, b"heard\n")
    assert sys.stderr is before and capfd.readouterr().err == "heard\n"


def test_one_inside_another_gives_both_back(capfd):
    with descriptors.c_stderr_aside():
        with descriptors.c_stderr_aside():
            os.write(2, b"from C\n")
        os.write(2, b"from C\n")
        sys.stderr.write("inner\n")
    os.write(2, b"outer\n")

    assert capfd.readouterr().err == "inner\nouter\n"


def test_a_stderr_of_the_callers_own_is_left_alone(monkeypatch):
    own = io.StringIO()
    monkeypatch.setattr(sys, "stderr", own)

    with descriptors.c_stderr_aside():
        assert sys.stderr is own
        sys.stderr.write("heard")

    assert own.getvalue() == "heard"


def test_no_stderr_at_all_is_no_fault():
    ran = in_a_process(
        "with descriptors.c_stderr_aside():\n"
        "    print('done')\n"
        "os.open(os.devnull, os.O_RDONLY) == 2 or sys.exit(1)\n",
        preexec_fn=lambda: os.close(2),
    )

    assert (ran.returncode, ran.stdout) == (0, b"done\n")


def test_a_logger_made_meanwhile_writes_on_afterwards():
    ran = in_a_process(
        "import logging\n"
        "with descriptors.c_stderr_aside():\n"
        "    logging.getLogger('theirs').addHandler(logging.StreamHandler())\n"
        "with descriptors.c_stderr_aside():\n"
        "    logging.getLogger('theirs').error('during')\n"
        "logging.getLogger('theirs').error('after')\n"
    )

    assert ran.stderr == b"during\nafter\n"


def test_faulthandler_reaches_stderr():
    ran = in_a_process(
        "import faulthandler\n"
        "descriptors.keep_fault_handler()\n"
        "with descriptors.c_stderr_aside():\n"
        "    faulthandler._sigsegv()\n",
        "-X",
        "faulthandler",
    )

    assert b"Segmentation fault" in ran.stderr and ran.returncode < 0


def test_faulthandler_stays_off_where_it_is_off():
    ran = in_a_process(
        "import faulthandler\ndescriptors.keep_fault_handler()\nprint(faulthandler.is_enabled())\n"
    )

    assert ran.stdout == b"False\n"


@pytest.mark.parametrize(("arguments", "heard"), [([], ""), (["--debug"], "from C\n")])
def test_the_program_keeps_c_off_unless_it_is_debugged(capfd, monkeypatch, arguments, heard):
    import zsclip.cli

    app = lambda **_: os.write(2, b"from C\n") and 0  # noqa: E731
    monkeypatch.setattr(zsclip.cli, "make_app", lambda *_, **__: app)

    code = main(arguments)

    assert (code, capfd.readouterr().err) == (0, heard)


def test_what_other_packages_log_is_not_shown(capfd, monkeypatch):
    import zsclip.cli

    logger = logging.Logger("theirs", logging.DEBUG)  # without handlers, as Pillow's
    app = lambda **_: logger.error("theirs")  # noqa: E731
    monkeypatch.setattr(zsclip.cli, "make_app", lambda *_, **__: app)
    before = logging.lastResort

    code = main([])

    assert (code, capfd.readouterr().err, logging.lastResort) == (0, "", before)
