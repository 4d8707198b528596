"""What the server of `cache_processes` imports: all that a first command loads, for all forks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnxruntime  # noqa: F401
from cache_processes import fake_engines, write_model

import zsclip.classifier  # noqa: F401
from zsclip.cli import main

with tempfile.TemporaryDirectory() as _folder, fake_engines():
    _model = write_model(Path(_folder) / "model")
    _command = ["build-head", "--labels", "a,b", "--model", str(_model), "-q"]
    assert main([*_command, "--cache-dir", _folder]) == 0
