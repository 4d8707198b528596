"""What the server of `cache_processes` imports for sorts, too: all that a first one loads."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cache_processes import fake_engines, write_model
from PIL import Image

from zsclip.cli import main

with tempfile.TemporaryDirectory() as _name, fake_engines():
    _folder = Path(_name)
    Image.new("RGB", (8, 8)).save(_folder / "a.png")
    _command = ["sort", str(_folder / "a.png"), "--labels", "a,b", "--into", str(_folder / "b")]
    _model = ["--model", str(write_model(_folder / "model")), "--no-cache", "-t", "none"]
    assert main([*_command, *_model, "--link", "--dry-run", "--format", "table", "-q"]) == 0
