"""The figures of pictures that show none or several of the labels: what they count."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from zsclip.metrics import rank_pictures

RECIPE = Path(__file__).parents[1] / "examples" / "pretrain_tiny"
pytestmark = pytest.mark.skipif(not RECIPE.is_dir(), reason="examples are not in the wheel")


@pytest.fixture(scope="module", autouse=True)
def recipe_on_path() -> Iterator[None]:
    """Make the recipe's modules importable, as running its script does."""
    sys.path.insert(0, str(RECIPE))
    yield
    sys.path.remove(str(RECIPE))


@pytest.mark.parametrize("seed", range(8))
def test_the_others_are_counted_where_95_per_cent_of_the_right_come_through(seed):
    import score_unknown

    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 30, 120) / 30
    known = generator.random(120) < 0.3
    weights = generator.integers(0, 4, 120).astype(float)

    found = score_unknown.fpr95(rank_pictures(scores, known), weights)

    right, wrong = weights * known, weights * ~known
    limits = [t for t in np.unique(scores) if right[scores >= t].sum() >= 0.95 * right.sum()]
    assert found == wrong[scores >= max(limits)].sum() / wrong.sum()


def test_a_draw_without_right_pictures_has_no_figure():
    import score_unknown

    ranking = rank_pictures(np.array([0.1, 0.2]), np.array([True, False]))

    assert np.isnan(score_unknown.fpr95(ranking, np.array([0.0, 2.0])))


def test_two_drawings_stand_side_by_side_and_do_not_touch():
    import score_unknown
    import torch

    black = torch.zeros(1, 96, 96, 4, dtype=torch.uint8)
    black[..., 3] = 255
    nothing = torch.zeros_like(black)

    left = score_unknown.side_by_side(black, nothing)[0] < 0
    right = score_unknown.side_by_side(nothing, black)[0] < 0

    assert left.sum() == right.sum() == 3 * score_unknown.SIDE**2
    assert not (left & right).any()
    assert (left == right.flip(2)).all()


def test_the_share_of_sums_is_the_softmax_over_labels_and_names_together():
    import score_unknown

    cosines = score_unknown.Cosines(np.float32([[0.3]]), np.float32([[0.1, 0.2]]), 10.0)

    share = score_unknown.shares_of_sums(cosines)

    expected = np.exp(3) / (np.exp(3) + np.exp(1) + np.exp(2))
    assert abs(share[0] - expected) < 1e-6
