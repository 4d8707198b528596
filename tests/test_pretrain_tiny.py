"""The embedded model's recipe: lists kept apart, true captions, the loss, a folder that loads.

Needs no network and no drawing sets: eight coloured shapes stand in for them.
"""

import random
import sys
from pathlib import Path

import numpy as np
import pytest

RECIPE = Path(__file__).parents[1] / "examples" / "pretrain_tiny"
pytestmark = pytest.mark.skipif(not RECIPE.is_dir(), reason="examples are not in the wheel")


@pytest.fixture(scope="module", autouse=True)
def recipe_on_path():
    """Make the recipe's modules importable, as running its script does."""
    sys.path.insert(0, str(RECIPE))
    yield
    sys.path.remove(str(RECIPE))


@pytest.fixture
def eight_shapes():
    """Return eight concepts and one drawing set for them."""
    import concepts
    from artists import cut_to_drawing
    from shapes import draw_shape

    pairs = concepts.shape_pairs()[:8]
    keys = np.array([f"{colour}-{shape}" for colour, shape in pairs])
    pictures = np.stack([cut_to_drawing(draw_shape(*pair, seed=1)) for pair in pairs])
    chosen = [concepts.shape_concept(*pair) for pair in pairs]
    return chosen, {"shapes": (keys, pictures)}


def write_names(folder: Path, entries: list[dict]) -> Path:
    """Write a small stand-in for Unicode's names."""
    import json

    (folder / "en/shortcodes").mkdir(parents=True)
    (folder / "meta").mkdir()
    (folder / "en/data.json").write_text(json.dumps(entries))
    (folder / "en/shortcodes/github.json").write_text("{}")
    (folder / "meta/groups.json").write_text('{"subgroups": {"34": "animal-mammal"}}')
    return folder


def test_the_test_nouns_are_a_hundred_and_none_is_held_out():
    from concepts import read_held_out, read_nouns

    nouns, held_out = read_nouns(), read_held_out()

    assert (len(nouns), len(held_out)) == (100, 60)
    assert not {code for codes in nouns.values() for code in codes} & set(held_out)


def test_a_held_out_name_is_no_keyword_of_another_concept(tmp_path):
    from concepts import read_held_out, training_concepts

    code, name = next(iter(read_held_out().items()))
    common = {"group": 3, "subgroup": 34}
    entries = [
        {"hexcode": code, "label": name, "tags": [], "order": 1, **common},
        {"hexcode": "1F408", "label": "cat", "tags": [name, "pet"], "order": 2, **common},
    ]

    concepts = training_concepts(write_names(tmp_path, entries))

    emoji = [concept for concept in concepts if concept.group >= 0]
    assert [concept.names[0] for concept in emoji] == ["cat"]
    assert emoji[0].keywords == ("pet",)


def test_flags_tones_and_joined_people_are_no_concepts():
    from concepts import is_wanted

    unwanted = [
        {"hexcode": "1F1E6-1F1E9", "label": "flag: andorra", "group": 9},
        {"hexcode": "1F3C3-200D-2640-FE0F", "label": "woman running", "group": 1},
        {"hexcode": "1F46A", "label": "family", "group": 1},
        {"hexcode": "0023-FE0F-20E3", "label": "keycap: #", "group": 8},
    ]

    assert not any(map(is_wanted, unwanted))
    assert is_wanted({"hexcode": "1F408", "label": "cat", "group": 3})


def test_held_out_pairs_of_colour_and_shape_are_never_in_training(tmp_path):
    from concepts import HELD_OUT_SHAPES, training_concepts

    concepts = training_concepts(write_names(tmp_path, []))

    words = {word for concept in concepts for word in concept.names}
    assert len(set(HELD_OUT_SHAPES)) == 20
    assert not words & set(HELD_OUT_SHAPES)


def test_the_untrained_drawings_of_a_held_out_pair_are_left_out(eight_shapes):
    from drawings import gather

    concepts, sets = eight_shapes

    drawings = gather(sets, concepts[:5])

    assert len(drawings.pictures) == 5
    assert [choices[0][1] for choices in drawings.by_concept] == [[0], [1], [2], [3], [4]]


def test_a_caption_is_tokenized_as_clip_tokenizes_the_whole_prompt(eight_shapes):
    import open_clip
    from captions import IMAGENET_TEMPLATES, Captions

    captions = Captions(eight_shapes[0])
    template = IMAGENET_TEMPLATES[3]

    ids = captions.tokenize("red circle", template)

    expected = open_clip.SimpleTokenizer(context_length=32)(template.replace("{}", "red circle"))
    assert ids == expected[0].tolist()


def test_captions_are_true_and_false_negatives_are_marked(eight_shapes):
    from captions import Captions

    concepts = eight_shapes[0]
    captions = Captions(concepts)

    tokens, also_true = captions.draw(range(8), random.Random(0))

    assert tokens.shape == (8, 32)
    assert also_true.diagonal().all()
    assert all("red" in concept.words for concept in concepts)


def test_augmentation_keeps_the_shape_and_the_range(eight_shapes):
    import torch
    from pictures import augment

    drawings = torch.from_numpy(eight_shapes[1]["shapes"][1])
    flags = torch.arange(8) % 2 == 0

    pictures = augment(drawings, strength=1.0, keeps_colour=flags, keeps_side=flags, is_mono=flags)

    assert pictures.shape == (8, 3, 64, 64)
    assert torch.isfinite(pictures).all() and pictures.abs().max() <= 1.0001


def test_every_late_batch_has_all_pets_and_stays_distinct():
    from pretrain import with_pets

    rows = with_pets([1, 2, 3, 4, 5, 6], [2, 9])

    assert sorted(rows) == [1, 2, 3, 4, 5, 9]


def test_the_learning_rate_falls_to_zero():
    from pretrain import Options, rate_at

    options = Options(steps=1020)

    rates = [rate_at(step, options) for step in (0, 19, 520, 1019)]

    assert rates == pytest.approx([0.05, 1, 0.5, 0], abs=1e-5)


def test_the_loss_is_the_pseudo_code_of_the_paper():
    import torch
    from model import contrastive_loss

    generator = np.random.default_rng(0)
    image = generator.normal(size=(6, 16))
    text = generator.normal(size=(6, 16))
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    logits = image @ text.T * 20.0
    by_row = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    by_column = logits - np.log(np.exp(logits).sum(0, keepdims=True))
    expected = (-by_row.diagonal().mean() - by_column.diagonal().mean()) / 2

    loss = contrastive_loss(
        torch.from_numpy(image),
        torch.from_numpy(text),
        torch.tensor(20.0),
        torch.eye(6, dtype=torch.bool),
    )

    assert loss.item() == pytest.approx(expected, abs=1e-9)


def test_two_steps_write_a_folder_that_open_clip_loads(eight_shapes, tmp_path):
    import open_clip
    import torch
    from drawings import gather
    from pretrain import Options, Trainer, run

    concepts, sets = eight_shapes
    options = Options(steps=2, batch_size=8, threads=1)
    trainer = Trainer(concepts, gather(sets, concepts), options)

    run(trainer, checkpoint=tmp_path / "state.pt", out=tmp_path / "model")

    name = f"local-dir:{tmp_path / 'model'}"
    model, _, _ = open_clip.create_model_and_transforms(name, require_pretrained=True)
    tokens = open_clip.get_tokenizer(name)(["a red circle"])
    features = model.eval().encode_text(tokens, normalize=True)
    assert (tmp_path / "model/open_clip_model.safetensors").stat().st_size < 15_000_000
    assert features.shape == (1, 128) and torch.isfinite(features).all()
    assert (tmp_path / "model/loss.svg").read_text().startswith("<svg")


def test_a_stopped_training_goes_on_to_the_same_weights(eight_shapes, tmp_path):
    import torch
    from drawings import gather
    from pretrain import Options, Trainer

    concepts, sets = eight_shapes
    options = Options(steps=3, batch_size=8, threads=1)
    whole = Trainer(concepts, gather(sets, concepts), options)
    whole.train_step()
    whole.save(tmp_path / "state.pt")
    expected = whole.train_step()

    resumed = Trainer(concepts, gather(sets, concepts), options)
    resumed.load(tmp_path / "state.pt")

    assert resumed.train_step() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(whole.captions.kept, resumed.captions.kept)


def test_bf16_takes_about_the_same_steps(eight_shapes):
    from drawings import gather
    from pretrain import Options, Trainer

    concepts, sets = eight_shapes
    losses = []
    for bf16 in (False, True):
        options = Options(steps=3, batch_size=8, threads=1, bf16=bf16)
        trainer = Trainer(concepts, gather(sets, concepts), options)
        losses.append([trainer.train_step() for _ in range(2)])

    assert losses[1] == pytest.approx(losses[0], abs=0.1)
    assert losses[1] != losses[0]


def test_muon_steps_have_one_size_in_all_directions():
    import torch
    from muon import orthogonal

    torch.manual_seed(0)
    stretched = torch.randn(2, 12, 30) * torch.logspace(-2, 0, 12).unsqueeze(1)

    for matrices in (stretched, stretched.mT):
        values = torch.linalg.svdvals(orthogonal(matrices))
        assert values.min() > 0.5 and values.max() < 1.3


def test_muon_takes_a_grouped_convolution_as_one_matrix_per_group():
    import torch
    from muon import Muon, as_matrices, note_groups

    convolution = torch.nn.Conv2d(8, 16, 3, groups=2)
    before = convolution.weight.detach().clone()
    note_groups(convolution)
    convolution.weight.grad = torch.randn_like(before)

    Muon([convolution.weight], lr=0.1).step()

    step = as_matrices(convolution.weight.detach() - before, 2)
    assert step.shape == (2, 8, 36)
    sizes = step.pow(2).mean((1, 2)).sqrt() / 0.1  # singular values of one, in any shape
    assert (sizes > 0.15).all() and (sizes < 0.25).all()
