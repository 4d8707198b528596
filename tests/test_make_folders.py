"""The recipe's folders: which drawings are where, and that a picture is what score.py scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = Path(__file__).parents[1] / "examples" / "pretrain_tiny"
pytestmark = pytest.mark.skipif(not RECIPE.is_dir(), reason="examples are not in the wheel")


@pytest.fixture(autouse=True)
def recipe_on_path(monkeypatch):
    """Make the recipe's modules importable, as running its script does."""
    monkeypatch.syspath_prepend(str(RECIPE))


def concept_of(key, wider):
    from concepts import Concept

    return Concept(key, (f"thing {key}",), (), wider, 3, False)


def test_classes_are_the_first_wider_words_with_enough_drawings():
    from make_folders import FEWEST_DRAWINGS, wider_words_of

    keys = [f"1F{number:03}" for number in range(2 * FEWEST_DRAWINGS)]
    wider = [("animal", "mammal")] * FEWEST_DRAWINGS + [("food",)] * (FEWEST_DRAWINGS - 1) + [()]
    concepts = [concept_of(key, words) for key, words in zip(keys, wider, strict=True)]

    found = wider_words_of(keys, concepts)

    assert found == {"animal": list(range(FEWEST_DRAWINGS))}


def test_no_drawing_is_in_both_halves():
    from make_folders import halves

    parts = halves(range(33), np.random.default_rng(0))

    assert (len(parts["train"]), len(parts["test"])) == (16, 17)
    assert sorted(parts["train"] + parts["test"]) == list(range(33))


def test_a_picture_is_what_the_scores_are_of(tmp_path):
    import torch
    from artists import cut_to_drawing
    from make_folders import write
    from pictures import on_white
    from score import USUAL_SHARE
    from shapes import draw_shape

    pictures = np.stack([cut_to_drawing(draw_shape("red", "star", seed=n)) for n in range(3)])

    write(tmp_path / "star", [0, 2, 1], ["A", "B", "A"], pictures)

    assert sorted(path.name for path in (tmp_path / "star").iterdir()) == [
        "2.png",
        "A.png",
        "B.png",
    ]
    written = np.asarray(Image.open(tmp_path / "star" / "A.png"), dtype=np.float32)
    scored = on_white(torch.from_numpy(pictures[:1]), share=USUAL_SHARE)[0].permute(1, 2, 0)
    np.testing.assert_allclose(written, (scored.numpy() + 1) / 2 * 255, atol=0.5001)


def test_labels_files_say_what_concepts_say(tmp_path):
    from concepts import Concept
    from make_labels import context, synonyms

    from zsclip import label_files

    dog = Concept("1F415", ("dog", "hound", "cat"), (), ("animal", "mammal"), 3, False)
    file = tmp_path / "labels.yaml"
    file.write_text(synonyms("dog", [dog], ["dog", "cat"]) + context("wolf", [dog]))

    first, second = label_files.read(file)

    assert first.names == ("dog", "hound")
    assert second.context == "a kind of animal"
