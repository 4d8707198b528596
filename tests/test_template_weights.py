"""Templates weighed for pictures at hand, without labels."""

from __future__ import annotations

import numpy as np
import pytest
from labelled import COLOURS
from PIL import Image

from zsclip import scoring
from zsclip.errors import UsageError, ZsclipWarning
from zsclip.head_builder import build
from zsclip.prompts import templates_from_texts
from zsclip.template_weights import build_weighed, weigh

TEMPLATES = templates_from_texts(["{}", "a photo of a {}.", "a drawing of a {}."])


def unit(generator, *shape):
    return scoring.normalize(generator.standard_normal(shape, dtype=np.float32))


@pytest.fixture
def features(fake_model):
    colours = [(25 * i, 255 - 20 * i, 8 * i) for i in range(12)]
    return fake_model.encode_image([Image.new("RGB", (8, 8), colour) for colour in colours])


def test_a_template_that_tells_pictures_apart_counts_for_more():
    generator = np.random.default_rng(0)
    classes = unit(generator, 5, 32)
    pictures = scoring.normalize(classes[generator.integers(0, 5, 60)] + unit(generator, 60, 32))
    unrelated = unit(generator, 5, 32)

    weights = weigh(pictures, np.stack([classes, unrelated]))

    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 2 * weights[1]


def test_what_is_high_for_every_picture_counts_for_nothing():
    generator = np.random.default_rng(0)
    pictures = scoring.normalize(unit(generator, 40, 32) * 0.3 + unit(generator, 1, 32))
    alike = np.repeat(pictures.mean(axis=0, keepdims=True), 4, axis=0)  # near to all of them
    apart = scoring.normalize(pictures[:4] - pictures.mean(axis=0))

    weights = weigh(pictures, np.stack([scoring.normalize(alike), apart]))

    assert weights[1] > 2 * weights[0]


def test_the_score_of_a_template_is_as_the_authors_calculate_it():
    generator = np.random.default_rng(1)
    pictures, text = unit(generator, 9, 16), unit(generator, 3, 4, 16)
    logits = np.einsum("nd,tcd->ntc", pictures, text)

    weights = weigh(pictures, text)

    scores = (logits - logits.mean(axis=0, keepdims=True)).max(axis=2).mean(axis=0)
    np.testing.assert_allclose(weights, scores / scores.sum(), rtol=1e-5)


def test_pictures_that_are_all_the_same_leave_templates_even():
    generator = np.random.default_rng(0)
    pictures = np.repeat(unit(generator, 1, 16), 12, axis=0)

    np.testing.assert_allclose(weigh(pictures, unit(generator, 4, 3, 16)), 0.25)


def test_a_weighed_head_is_the_weighed_average_of_its_templates(fake_model, features):
    names = [(name,) for name in COLOURS]

    head, weights = build_weighed(names, features, model=fake_model, templates=TEMPLATES)

    alone = [
        fake_model.encode_text([text.replace("{}", name) for name in COLOURS])
        for text in TEMPLATES.templates
    ]
    expected = scoring.normalize(np.einsum("t,tcd->cd", weights, np.stack(alone)))
    np.testing.assert_allclose(head.weight, expected, atol=1e-6)
    assert head.kind == "words"
    assert head.provenance.templates_name == "custom, weighed for 12 pictures"


def test_even_weights_give_the_head_without_them(fake_model, features, monkeypatch):
    monkeypatch.setattr(
        "zsclip.template_weights.weigh", lambda *_: np.full(3, 1 / 3, dtype=np.float32)
    )
    names = [(name,) for name in COLOURS]

    head, _ = build_weighed(names, features, model=fake_model, templates=TEMPLATES)

    plain = build(names, model=fake_model, templates=TEMPLATES).head
    np.testing.assert_allclose(head.weight, plain.weight, atol=1e-6)


def test_a_second_time_no_prompt_is_encoded(fake_model, features):
    names = [(name,) for name in COLOURS]
    build_weighed(names, features, model=fake_model, templates=TEMPLATES)
    before = fake_model.engine.text_calls

    build_weighed(names, features, model=fake_model, templates=TEMPLATES)

    assert fake_model.engine.text_calls == before


def test_labels_with_articles_are_warned_about_once(fake_model, features):
    names = [("a cat",), ("dog",)]

    with pytest.warns(ZsclipWarning) as caught:
        build_weighed(names, features, model=fake_model, templates=TEMPLATES)

    assert len(caught) == 1


def test_few_pictures_are_refused(fake_model, features):
    with pytest.raises(UsageError, match="9 pictures are too few"):
        build_weighed([("a",)], features[:9], model=fake_model, templates=TEMPLATES)


@pytest.fixture
def weighed(zsclip, picture, tmp_path, fast_tiny):
    """Run `zsclip build-head` with the templates weighed for twelve pictures."""
    for number in range(12):
        picture(f"pictures/{number}.png", (20 * number, 200, 255 - 20 * number))

    def run(*arguments):
        return zsclip(
            "build-head", "--labels", "cat,dog", "-t", "imagenet7", "--model", "tiny", *arguments
        )

    return run


def test_a_head_is_written_for_classify(weighed, zsclip, tmp_path):
    head, pictures = tmp_path / "head.safetensors", tmp_path / "pictures"

    made = weighed("--template-weights", "zpe", "--pictures", pictures, "-o", head)

    assert (made.code, made.stdout) == (0, f"{head}\n"), made.stderr
    assert "weights, 1 is the mean" in made.stderr
    ran = zsclip("classify", pictures / "1.png", "--head", head)
    assert ran.code == 0
    assert ran.rows[0]["status"] == "ok"


def test_json_says_what_was_counted_and_no_more(weighed, tmp_path):
    made = weighed(
        "--template-weights", "zpe", "--pictures", tmp_path / "pictures", "-o", tmp_path / "h",
        "--json",
    )  # fmt: skip

    (row,) = made.rows
    assert row["templates"] == "imagenet7, weighed for 12 pictures"
    assert (row["classes"], row["n_templates"], row["from_cache"]) == (2, 7, None)


def test_broken_pictures_are_told_and_left_out(weighed, tmp_path):
    (tmp_path / "pictures" / "broken.png").write_bytes(b"")

    made = weighed(
        "--template-weights", "zpe", "--pictures", tmp_path / "pictures", "-o", tmp_path / "h"
    )

    assert made.code == 0
    assert "file is empty [empty]" in made.stderr
    assert "12 ok, 1 failed (1 empty)" in made.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--template-weights", "zpe"], "--template-weights and --pictures go together"),
        (["--pictures", "a"], "--template-weights and --pictures go together"),
        (["--template-weights", "best", "--pictures", "a"], "'best' is not one of zpe"),
        (["--template-weights", "zpe", "--pictures", "a"], "the cache does not keep"),
    ],
)
def test_half_of_what_is_needed_is_refused(weighed, arguments, message):
    made = weighed(*arguments)

    assert made.code == 2
    assert message in made.stderr
