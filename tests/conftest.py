"""What the tests share: small models, pictures, and a command line that runs in the process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from zsclip.cache import TextCache
from zsclip.cli import main
from zsclip.data_files import TINY_FOLDER
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.models import config_of_architecture, resolve
from zsclip.weights import LocalModel, locate

SMALL_CLIP = {
    "model_cfg": {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 16,
        },
        "text_cfg": {
            "context_length": 24,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}


GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare text with a file in tests/golden, or write it with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8")

    return compare


def pytest_configure() -> None:
    """Ask no hub: set before any test module imports huggingface_hub, which reads it once."""
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("ZSCLIP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ZSCLIP_MODEL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def small_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real open_clip model, very small, with random weights, as a folder."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "small-clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(SMALL_CLIP))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def fake_model(tmp_path: Path) -> Model:
    """A model without weights: CLIP's tokenizer, the fake engine, a cache of its own."""
    local = LocalModel(
        source=resolve("ViT-B/32"),
        config=config_of_architecture("ViT-B-32", "openai"),
        weights=tmp_path / "none.safetensors",
        digest="f" * 64,
    )
    return Model(local, cache=TextCache(tmp_path / "cache"), engine=FakeEngine(logit_scale=5.0))


@pytest.fixture(scope="session")
def tiny_local() -> LocalModel:
    """The embedded model's files."""
    return locate(resolve(str(TINY_FOLDER)))


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Make a picture of one colour: `picture("red.png", "red")`."""

    def make(name: str, colour: object = "red", *, mode: str = "RGB", size: int = 40) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, (size, size), colour).save(path)  # type: ignore[arg-type]
        return path

    return make


@dataclass
class Ran:
    """What a command answered."""

    code: int
    stdout: str
    stderr: str

    @property
    def rows(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


@pytest.fixture
def zsclip(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command line in this process: `zsclip("classify", path, "--labels", "a,b")`."""

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
