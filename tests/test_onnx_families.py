"""Every architecture family, compiled: features and scores are those of torch and of open_clip.

Random weights, small (see families.py). Compiling a family takes seconds, so the default run has
those that differ in kind, and the long one has all.
"""

from __future__ import annotations

import itertools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import (
    FAMILIES,
    Family,
    ask_open_clip,
    ask_zsclip,
    sixty_four,
    small_config,
    towers,
    write_folder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from zsclip.engines import compiled
from zsclip.engines.onnx_engine import OnnxEngine
from zsclip.engines.torch_engine import TorchEngine
from zsclip.loading import load_model
from zsclip.models import CLIP_BPE

pytestmark = pytest.mark.usefixtures("one_thread")

TOLERANCE, SCORE = 1e-5, 1e-4
"""The largest differences that are allowed."""
IN_DEFAULT_RUN = {
    "SigLIP",  # timm; text that sees all its padding
    "mT5 text",  # transformers; text trimmed to the longest prompt
}
LONG = os.environ.get("ZSCLIP_LONG_TESTS") == "1"
CHOSEN = [family for family in FAMILIES if LONG or family.name in IN_DEFAULT_RUN]


@dataclass(frozen=True)
class Case:
    """A small model of a family: open_clip's, and the two engines that run it."""

    family: Family
    folder: Path
    cache: Path
    plain: Any
    torch: TorchEngine
    onnx: OnnxEngine
    context_length: int
    pixels: Any
    special: tuple[int | None, int, int]

    def plain_images(self, pixels):
        """Unit-length features by open_clip alone, (B, D)."""
        return self._plain(self.plain.encode_image, pixels)

    def plain_texts(self, tokens):
        """Unit-length features by open_clip alone, with all padding, (P, D)."""
        return self._plain(self.plain.encode_text, tokens)

    def _plain(self, encode, array):
        import torch

        with torch.inference_mode():
            return encode(torch.from_numpy(array), normalize=True).numpy()

    def padded(self, prompts):
        """Tokens (P, L) of lists of numbers: start, numbers, end, padding."""
        start, end, padding = self.special
        tokens = np.full((len(prompts), self.context_length), padding, dtype=np.int64)
        for row, numbers in zip(tokens, prompts, strict=True):
            whole = [*([] if start is None else [start]), *numbers, end]
            row[: len(whole)] = whole
        return tokens


@pytest.fixture(scope="module", params=CHOSEN, ids=lambda family: family.name)
def case(request, tmp_path_factory):
    """A family, compiled by `load_model`."""
    import open_clip

    family = request.param
    folder, cache = tmp_path_factory.mktemp("family"), tmp_path_factory.mktemp("cache")
    write_folder(small_config(family, folder), folder)
    model = load_model(folder, engine="onnx", cache_dir=cache)
    assert isinstance(model.engine, OnnxEngine)
    config = model.local.config
    is_clip = config.tokenizer == CLIP_BPE
    return Case(
        family=family,
        folder=folder,
        cache=cache,
        plain=open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval(),
        torch=TorchEngine(model.local, device="cpu"),
        onnx=model.engine,
        context_length=config.context_length,
        pixels=np.stack([model.prepare(picture) for picture in sixty_four()]),
        special=(49_406, 49_407, 0) if is_clip else family.special,
    )


def distance(ours, theirs) -> float:
    """The largest of the differences and of 1 - cosine."""
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
    return float(max(np.abs(ours - theirs).max(), np.abs(1 - cosines).max()))


def random_prompts(count):
    """Numbers of tokens, of all lengths; half begin alike, and the last is there twice."""
    rng = np.random.default_rng(count)
    beginning = rng.integers(8, 400, size=60)
    prompts = []
    for number in range(count):
        numbers = rng.integers(8, 400, size=rng.integers(0, 30))
        if number % 2:
            shared = rng.integers(0, len(numbers) + 1)
            numbers[:shared] = beginning[:shared]
        prompts.append(numbers.tolist())
    return [*prompts[:-1], prompts[0]]


# features


def test_image_features_equal_those_of_torch_and_open_clip(case):
    found = {}
    for count in (1, 7, 64):
        pixels = case.pixels[-count:]
        ours = case.onnx.encode_images(pixels)
        found["torch", count] = distance(ours, case.torch.encode_images(pixels))
        found["open_clip", count] = distance(ours, case.plain_images(pixels))

    assert all(difference < TOLERANCE for difference in found.values()), found


def test_text_features_equal_those_of_torch_and_open_clip(case):
    found = {}
    for count in (1, 5, 300):
        tokens = case.padded(random_prompts(count))
        ours = case.onnx.encode_texts(tokens)
        found["torch", count] = distance(ours, case.torch.encode_texts(tokens))
        found["open_clip", count] = distance(ours, case.plain_texts(tokens))

    assert all(difference < TOLERANCE for difference in found.values()), found


def test_pictures_and_prompts_have_features_of_their_own(case):
    # else wrong features would pass for right ones
    images = case.plain_images(case.pixels)
    texts = case.plain_texts(case.padded(random_prompts(20)[:-1]))

    for features in (images, texts):
        pairs = itertools.combinations(features, 2)
        least = min(np.abs(one - other).max() for one, other in pairs)
        assert least > 100 * TOLERANCE, least


@given(
    st.lists(
        st.lists(st.integers(8, 11), max_size=14) | st.lists(st.integers(8, 400), max_size=14),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=30, deadline=None)
def test_text_features_of_any_prompts_equal_open_clips(case, prompts):
    tokens = case.padded(prompts)

    difference = distance(case.onnx.encode_texts(tokens), case.plain_texts(tokens))

    assert difference < TOLERANCE, difference


def test_the_longest_prompt_is_read_whole(case):
    start = case.special[0]
    room = case.context_length - (1 if start is None else 2)
    numbers = np.random.default_rng(3).integers(8, 400, size=(2, room)).tolist()
    tokens = case.padded(numbers)

    difference = distance(case.onnx.encode_texts(tokens), case.plain_texts(tokens))

    assert difference < TOLERANCE, difference


def test_the_same_input_gives_the_same_bytes(case):
    tokens = case.padded(random_prompts(40))

    for encode, batch in (
        (case.onnx.encode_images, case.pixels[:7]),
        (case.onnx.encode_texts, tokens),
    ):
        assert encode(batch).tobytes() == encode(batch).tobytes()


# what is written


def test_the_text_tower_takes_what_suits_it(case):
    about = compiled.read(next(iter(compiled.stored(case.cache))))
    inputs = [one.name for one in case.onnx._text_tower.shared.get_inputs()]

    _, text = towers(case.family.architecture)
    on_tree = text == "causal, end of text"
    of_transformers = text.startswith(("roberta", "xlm", "mt5", "m2m"))
    assert inputs == (["tokens", "depths", "mask", "ends"] if on_tree else ["tokens"])
    assert about.pad_token == (case.special[2] if of_transformers else None)


def test_padding_is_trimmed_for_text_towers_of_transformers_alone(case, monkeypatch):
    tokens = case.padded([[20, 30, 40], [20]])
    session, shapes = case.onnx._text_tower.shared, []

    class Recording:
        def run(self, names, inputs):
            shapes.append(inputs["tokens"].shape)
            return session.run(names, inputs)

    monkeypatch.setitem(vars(case.onnx._text_tower), "shared", Recording())
    case.onnx.encode_texts(tokens)

    if "ends" in [one.name for one in session.get_inputs()]:
        assert shapes == [(6,)]  # start, 20, 30, 40, end; the other end
    elif case.onnx._pad_token is None:
        assert shapes == [(2, case.context_length)]
    else:
        assert shapes == [(2, 4 if case.special[0] is None else 5)]


def test_what_depends_on_the_processor_is_not_written(case):
    import onnx

    (place,) = compiled.stored(case.cache)
    graphs = [onnx.load(path, load_external_data=False).graph for path in place.glob("*.onnx")]

    assert len(graphs) == 2
    assert {node.domain for graph in graphs for node in graph.node} <= {"", "com.microsoft"}


# through the classifier


def test_scores_equal_open_clips(case):
    theirs = ask_open_clip(case.folder, sixty_four())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(case.folder, engine="onnx", cache_dir=case.cache)

        ours = ask_zsclip(model, sixty_four(), batch_size=7)

    cosine = float(np.abs(ours.cosines - theirs.cosines).max())
    score = float(np.abs(ours.scores - theirs.scores).max())
    assert cosine < TOLERANCE and score < SCORE, (cosine, score)
