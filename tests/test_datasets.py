"""Known data sets as data: in the order of their label numbers."""

from __future__ import annotations

import pytest

from zsclip.datasets import dataset_names, load_dataset
from zsclip.errors import UnknownNameError


@pytest.mark.parametrize("name", dataset_names())
def test_every_data_set_loads_with_classes_and_templates(name):
    known = load_dataset(name)

    assert known.name == name and known.title and known.class_names and known.templates.templates


@pytest.mark.parametrize("name", dataset_names())
def test_every_class_has_at_least_one_name_without_blanks_around_it(name):
    known = load_dataset(name)

    wrong = [n for names in known.class_names for n in names or ("",) if not n or n != n.strip()]

    assert wrong == []


def test_cifar10_is_in_the_order_of_its_label_numbers():
    first_names = [names[0] for names in load_dataset("cifar10").class_names]

    assert first_names == [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]


def test_cifar100_has_100_classes_in_the_order_of_its_label_numbers():
    first_names = [names[0] for names in load_dataset("cifar100").class_names]

    assert len(first_names) == 100
    assert (first_names[0], first_names[57], first_names[99]) == ("apple", "pear", "worm")


@pytest.mark.parametrize(("name", "count"), [("cifar10", 18), ("cifar100", 18)])
def test_cifars_own_templates_are_openais(name, count):
    templates = load_dataset(name).templates.templates

    assert len(templates) == count and templates[0] == "a photo of a {}."


def test_the_facts_of_a_data_set_are_kept():
    assert load_dataset("cifar100").facts["metric"] == "accuracy"


def test_an_unknown_data_set_brings_near_names():
    with pytest.raises(UnknownNameError, match="did you mean 'cifar100'"):
        load_dataset("cifar-100")


@pytest.mark.parametrize("name", ["../templates/none", "", "cifar10.yaml"])
def test_a_path_is_not_a_name(name):
    with pytest.raises(UnknownNameError):
        load_dataset(name)
