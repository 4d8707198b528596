"""Published figures beside measured ones: the tolerance decides, and only like with like."""

from __future__ import annotations

import pytest

from zsclip.datasets import load_dataset
from zsclip.prompts import load_templates
from zsclip.published import beside

MODEL = "ViT-B/32"


def found(measured, *, model=MODEL, split="test"):
    known = load_dataset("cifar10")
    by_name = {"dataset": known.templates, "imagenet80": load_templates("imagenet80")}
    measured = {by_name[name].templates: value for name, value in measured.items()}
    return {
        one.source.split(",")[0]: one
        for one in beside(known, model=model, measured=measured, split=split)
    }


def test_a_figure_within_its_tolerance_agrees():
    one = found({"dataset": 0.8983 - 0.005})["open_clip"]

    assert one.value == pytest.approx(0.8983)
    assert one.tolerance == pytest.approx(0.005)
    assert one.verdict == "agrees"


def test_a_figure_beyond_its_tolerance_differs():
    assert found({"dataset": 0.8983 - 0.0052})["open_clip"].verdict == "differs"


def test_other_templates_are_not_compared():
    one = found({"imagenet80": 0.9})["open_clip"]

    assert one.verdict == "not comparable"
    assert one.measured == 0.9


def test_the_templates_of_the_source_are_chosen_among_several():
    one = found({"imagenet80": 0.1, "dataset": 0.8983})["open_clip"]

    assert (one.measured, one.verdict) == (0.8983, "agrees")


def test_a_part_of_the_split_is_not_compared():
    assert found({"dataset": 0.8983}, split=None)["open_clip"].verdict == "not comparable"


def test_a_model_without_figures_has_none():
    assert found({"dataset": 0.5}, model="tiny") == {}


def test_of_another_split_is_not_compared():
    assert found({"dataset": 0.8983}, split="train")["open_clip"].verdict == "not comparable"


def test_templates_are_the_same_by_their_texts():
    known = load_dataset("imagenet")
    measured = {load_templates("imagenet80").templates: 0.6337}

    verdicts = {one.verdict for one in beside(known, model=MODEL, measured=measured, split="val")}

    assert "not comparable" not in verdicts
