"""What the tests share: small models, pictures, and a command line that runs in the process."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import acceptance
import pytest
from acceptance import tried  # noqa: F401 (a fixture)
from loopback_hub import LoopbackHub
from PIL import Image

from zsclip import read_ahead
from zsclip.cache import TextCache
from zsclip.cli import main
from zsclip.data_files import TINY_FOLDER
from zsclip.encoders import Model
from zsclip.engines.fake import FakeEngine
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.loading import load_model
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


def pytest_configure(config: pytest.Config) -> None:
    """Set what packages read once, before a test imports them; ask no hub."""
    acceptance.configure(config)
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # threads of small models mostly wait for each other
    os.environ["ZSCLIP_ENGINE"] = "torch"  # compiling takes seconds
    if not hub_is_wanted(config):
        os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `hub` run when they are asked for only."""
    if hub_is_wanted(config):
        return
    reason = "needs the network: run with -m hub or ZSCLIP_HUB_TESTS=1"
    for item in items:
        if item.get_closest_marker("hub") is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def hub_is_wanted(config: pytest.Config) -> bool:
    """Whether this run may ask the real hub."""
    asked = re.search(r"(?<!not )\bhub\b", config.option.markexpr)  # `hub and not slow`, too
    return asked is not None or os.environ.get("ZSCLIP_HUB_TESTS") == "1"


@pytest.fixture(autouse=True)
def _own_folders(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the user's caches; those that ask the real hub keep its cache."""
    from huggingface_hub import constants

    if request.node.get_closest_marker("hub") is None:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))  # of other processes
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)
        monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.setenv("ZSCLIP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ZSCLIP_MODEL", raising=False)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, which all its processes share where pytest-xdist has several."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: for small models, threads that wait for each other cost more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fake_model(tmp_path: Path) -> Model:
    """A model without weights: CLIP's tokenizer, the fake engine, a cache of its own."""
    config = config_of_architecture("ViT-B-32", "openai")
    engine = FakeEngine(logit_scale=5.0)
    model_cfg = {**config.model_cfg, "embed_dim": engine.dimension}
    local = LocalModel(
        source=resolve("ViT-B/32"),
        config=replace(config, model_cfg=model_cfg),
        weights=tmp_path / "none.safetensors",
        digest="f" * 64,
    )
    return Model(local, cache=TextCache(tmp_path / "cache"), engine=engine)


@pytest.fixture(scope="session")
def tiny_local() -> LocalModel:
    """The embedded model's files."""
    return locate(resolve(str(TINY_FOLDER)))


@pytest.fixture(scope="session")
def compiled_tiny(shared_folder: Path) -> Path:
    """A cache folder in which the embedded model is compiled."""
    assert load_model(TINY_FOLDER, engine="onnx", cache_dir=shared_folder).engine
    return shared_folder


@pytest.fixture(scope="session")
def small_compilation(
    small_clip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[object]]:
    """A cache folder in which the small model is compiled, and what was shown meanwhile."""
    folder = tmp_path_factory.mktemp("compiled-small")
    shown: list[object] = []

    @contextlib.contextmanager
    def preparing(what: str) -> Iterator[Callable[[int, int], None]]:
        shown.append(what)
        yield lambda done, steps: shown.append((done, steps))
        shown.append("done")

    model = load_model(
        small_clip_folder, engine="auto", device="cpu", cache_dir=folder, preparing=preparing
    )
    assert isinstance(model.engine, OnnxEngine)
    return folder, shown


@pytest.fixture(scope="session")
def compiled_small(small_compilation: tuple[Path, list[object]]) -> Path:
    """That folder."""
    return small_compilation[0]


def with_compiled(source: Path, folder: Path) -> Path:
    """A cache folder that has the compiled models of another, and no text."""
    shutil.copytree(source / "compiled", folder / "compiled", copy_function=os.link)
    return folder


@pytest.fixture
def fast_tiny(compiled_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded model starts without torch, here and in other processes."""
    with_compiled(compiled_tiny, tmp_path / "cache")
    monkeypatch.setenv("ZSCLIP_ENGINE", "onnx")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inputs alone decide which pictures are a batch, however busy the machine is."""
    monkeypatch.setattr(read_ahead, "PAUSE_S", 60.0)
    monkeypatch.setattr(read_ahead, "SLOW_S", 60.0)


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


@pytest.fixture
def loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A hub on 127.0.0.1 that this process takes for the real one, with a cache of its own."""
    from huggingface_hub import close_session, constants

    hub = LoopbackHub()
    home = tmp_path / "hf"
    settings = {
        "ENDPOINT": hub.address,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.address + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    close_session()  # it read the proxies
    yield hub
    close_session()
    hub.close()


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python in a process of its own whose hub is at an address, with a cache of its own."""

    def run(address: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env=hub_environment(address, tmp_path) | environment,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )

    return run


def hub_environment(address: str, folder: Path) -> dict[str, str]:
    """The environment of a process whose hub is at an address and whose caches are in a folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "ZSCLIP_"))}
    kept = {k: v for k, v in kept.items() if not k.lower().endswith("_proxy")}
    return kept | {
        "HF_ENDPOINT": address,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "ZSCLIP_CACHE_DIR": str(folder / "cache"),
    }
