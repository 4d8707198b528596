"""`python -m zsclip`."""

from zsclip.cli import run

run()
