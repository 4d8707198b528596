"""What is drawn of each class, and what is set aside."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from zsclip.draws import deal, draw, split_off

LABELS = np.array([0, 1, 2] * 10 + [2] * 7 + [0])


def test_fewer_shots_are_among_more():
    drawn = [set(draw(LABELS, shots, seed=3).tolist()) for shots in (1, 2, 4, 8)]

    assert all(few < many for few, many in pairwise(drawn))


def test_each_class_has_as_many():
    rows = draw(LABELS, 4, seed=0)

    assert np.bincount(LABELS[rows]).tolist() == [4, 4, 4]
    assert len(set(rows.tolist())) == 12


def test_seeds_draw_differently_and_equal_seeds_the_same():
    draws = [draw(LABELS, 4, seed=seed).tolist() for seed in (0, 1, 2, 0)]

    assert draws[0] == draws[3]
    assert len({tuple(sorted(rows)) for rows in draws}) == 3


def test_a_class_with_fewer_gives_all_it_has():
    rows = draw(LABELS, 16, seed=0)

    assert np.bincount(LABELS[rows]).tolist() == [11, 10, 16]


def test_a_share_of_each_class_is_set_aside():
    kept, held = split_off(LABELS, 0.2, seed=0)

    assert np.bincount(LABELS[held]).tolist() == [2, 2, 3]
    assert sorted([*kept, *held]) == list(range(len(LABELS)))


def test_no_class_is_set_aside_whole_and_each_has_one_picture_if_it_can():
    labels = np.array([0, 1, 1, 2, 2, 2])

    for share in (0.01, 0.99):
        kept, held = split_off(labels, share, seed=0)

        assert set(labels[kept]) == {0, 1, 2}
        assert set(labels[held]) == {1, 2}


def test_parts_that_are_dealt_have_equal_sizes_and_mixes():
    parts = deal(LABELS, 3, seed=1)

    assert sorted(np.concatenate(parts).tolist()) == list(range(len(LABELS)))
    counts = np.array([np.bincount(LABELS[rows], minlength=3) for rows in parts])
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_the_only_picture_of_a_class_goes_to_any_part():
    lone = [
        [0 in rows for rows in deal(np.arange(9), 3, seed=seed)].index(True) for seed in range(60)
    ]

    assert np.bincount(lone).min() > 8
