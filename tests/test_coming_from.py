"""The snippets of docs/coming-from.md: ours run, and answer as open_clip's beside them.

With the embedded model in place of ViT-B/32, and pictures in CIFAR-100's own format.
"""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zsclip.data_files import TINY_FOLDER
from zsclip.datasets import load_dataset
from zsclip.prompts import load_templates

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "examples" / "images"
PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```python (ours|theirs) ([\w-]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
OURS = {name: code for whose, name, code in _BLOCK.findall(PAGE) if whose == "ours"}
THEIRS = {name: code for whose, name, code in _BLOCK.findall(PAGE) if whose == "theirs"}
N_CIFAR = 3638  # the snippets take picture 3637


@pytest.fixture(autouse=True)
def _pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the snippets open."""
    Image.open(IMAGES / "cat.png").convert("RGB").save(tmp_path / "CLIP.png")
    shutil.copy(IMAGES / "dog-poodle.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def cifar100_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random pictures in the files that CIFAR-100's archive has."""
    root = tmp_path_factory.mktemp("cifar100")
    folder = root / "cifar-100-python"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (N_CIFAR, 3072), dtype=np.uint8)
    names = [name.replace(" ", "_") for name, *_ in load_dataset("cifar100").class_names]
    labels = [n % 100 for n in range(N_CIFAR)]
    (folder / "test").write_bytes(pickle.dumps({"data": pixels, "fine_labels": labels}))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    return root


@pytest.fixture
def cifar100(tmp_path: Path, cifar100_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torchvision's own CIFAR100 read them: only the digests are not the real ones."""
    (tmp_path / "data").symlink_to(cifar100_folder)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)


def run(code: str) -> dict[str, Any]:
    """Run a snippet with the embedded model; return its names."""
    code = code.replace('"ViT-B/32"', '"tiny"')
    code = code.replace('"ViT-B-32-quickgelu", pretrained="openai"', f'"local-dir:{TINY_FOLDER}"')
    code = code.replace('"ViT-B-32-quickgelu"', f'"local-dir:{TINY_FOLDER}"')
    names: dict[str, Any] = {}
    exec(compile(code, "coming-from.md", "exec"), names)
    return names


@pytest.mark.parametrize("name", sorted(OURS))
@pytest.mark.usefixtures("cifar100")
def test_every_snippet_of_ours_runs(name: str) -> None:
    run(OURS[name])  # raises where it does not


def test_every_python_snippet_names_its_model_or_is_theirs() -> None:
    assert len(OURS) >= 6 and set(THEIRS) == {"open-clip"}
    assert all("ViT-B/32" in code and "import zsclip" in code for code in OURS.values())


def test_one_picture_has_the_probabilities_that_open_clips_snippet_gives() -> None:
    theirs = run(THEIRS["open-clip"])["probs"][0]

    ours = {score.label: score.score for score in run(OURS["one-picture"])["result"].scores}

    apart = [abs(ours[n] - p) for n, p in zip(("a diagram", "a dog", "a cat"), theirs, strict=True)]
    assert max(apart) < 1e-4, apart


def test_the_two_towers_give_what_open_clips_snippet_gives() -> None:
    theirs = run(THEIRS["open-clip"])

    ours = run(OURS["one-picture-towers"])

    apart = [
        np.abs(ours[name] - theirs[name].numpy()).max()
        for name in ("image_features", "text_features")
    ]
    assert max(apart) < 1e-5, apart
    assert np.abs(ours["logits_per_image"] - theirs["logits"].numpy()).max() < 1e-4


def test_a_head_is_the_classifier_that_open_clip_builds() -> None:
    import open_clip

    name = f"local-dir:{TINY_FOLDER}"
    model = open_clip.create_model_from_pretrained(name)[0].eval()
    templates = [
        lambda label, text=text: text.replace("{}", label)
        for text in load_templates("imagenet80").templates
    ]
    theirs = open_clip.build_zero_shot_classifier(
        model, open_clip.get_tokenizer(name), ["cat", "dog"], templates
    )

    ours = run(OURS["head"])["weight"]

    assert ours.shape == tuple(theirs.shape)
    assert np.abs(ours - theirs.numpy()).max() < 1e-5


@pytest.mark.usefixtures("cifar100")
def test_the_best_five_of_cifar100_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    names = run(OURS["cifar100"])

    lines = capsys.readouterr().out.splitlines()[-5:]
    shown = [line.split(":")[0].strip() for line in lines]
    assert shown == [score.label for score in names["result"].scores]
    assert len(set(shown)) == 5 and set(shown) <= set(names["cifar100"].classes)
