"""Known data sets as data: names and templates as published, and labels that find their class."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zsclip.data_files import open_clip_folder
from zsclip.datasets import DataSet, dataset_names, load_dataset
from zsclip.errors import UnknownNameError
from zsclip.models import resolve

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = {  # classes and templates in the CLIP paper's repository
    "birdsnap": (500, 1),
    "caltech101": (102, 34),
    "cifar10": (10, 18),
    "cifar100": (100, 18),
    "clevr_counts": (8, 1),
    "country211": (211, 5),
    "dtd": (47, 8),
    "eurosat": (10, 3),
    "fer2013": (7, 6),
    "fgvc_aircraft": (100, 2),
    "flowers102": (102, 1),
    "food101": (101, 1),
    "gtsrb": (43, 3),
    "hateful_memes": (2, 1),
    "imagenet": (1000, 80),
    "kinetics700": (700, 28),
    "kitti": (4, 1),
    "mnist": (10, 1),
    "oxford_pets": (37, 1),
    "pcam": (2, 1),
    "rendered_sst2": (2, 1),
    "resisc45": (45, 18),
    "stanford_cars": (196, 8),
    "stl10": (10, 2),
    "sun397": (397, 2),
    "ucf101": (101, 48),
    "voc2007": (20, 1),
}
SUBSETS = {
    "imagenet_a": (200, 80),
    "imagenet_r": (200, 80),
    "imagenet_sketch": (1000, 80),
    "imagenet_v2": (1000, 80),
    "objectnet": (113, 80),
}
METRICS = {
    "caltech101": "mean_per_class",
    "fgvc_aircraft": "mean_per_class",
    "flowers102": "mean_per_class",
    "hateful_memes": "roc_auc",
    "kinetics700": "top1_top5_mean",
    "oxford_pets": "mean_per_class",
    "voc2007": "map11",
}
ALL = sorted(PUBLISHED | SUBSETS)


@cache
def known(name: str) -> DataSet:
    return load_dataset(name)


def judged(name: str) -> list[dict[str, Any]]:
    """Tables of published figures that a measured one is judged by."""
    return [table for table in known(name).facts["published"] if table["comparable"] != "no"]


TABLES = [
    pytest.param(table, id=f"{name}, {table['source']}")
    for name in ALL
    for table in known(name).facts["published"]
]


def shown(name: str) -> list[str]:
    return [first for first, *_ in known(name).class_names]


def from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_papers_27_data_sets_and_five_variants_of_imagenet_are_known():
    assert dataset_names() == ALL


@pytest.mark.parametrize("name", ALL)
def test_there_are_as_many_classes_and_templates_as_were_published(name):
    found = (len(known(name).class_names), len(known(name).templates.templates))

    assert found == (PUBLISHED | SUBSETS)[name]


@pytest.mark.parametrize("name", ALL)
def test_every_class_has_names_and_every_template_one_hole(name):
    names = [n for names in known(name).class_names for n in names or ("",)]

    assert [n for n in names if not n or n != n.strip()] == []
    assert {t.count("{}") for t in known(name).templates.templates} == {1}


@pytest.mark.parametrize("name", sorted(set(ALL) - {"imagenet", "imagenet_sketch", "imagenet_v2"}))
def test_no_two_classes_have_the_same_name(name):
    assert len(set(shown(name))) == len(shown(name))


@pytest.mark.parametrize("name", ALL)
def test_every_class_has_a_label_of_its_own(name):
    labels = known(name).labels

    assert len(labels) == len(set(labels)) == len(known(name).class_names)


@pytest.mark.parametrize("name", ALL)
def test_the_metric_is_the_papers(name):
    assert known(name).facts["metric"] == METRICS.get(name, "accuracy")
    assert known(name).facts["task"] == ("multi_label" if name == "voc2007" else "single_label")


@pytest.mark.parametrize("name", ALL)
def test_people_learn_where_a_data_set_comes_from_and_whose_it_is(name):
    facts = known(name).facts

    assert all(facts[key] for key in ("description", "licence", "citation", "order"))
    assert facts["homepage"].startswith(("https://", "http://"))
    assert int(facts["split"]["size"]) > 0 and facts["split"]["name"]
    assert all(set(place) <= {"url", "md5"} for place in facts.get("archive", ()))


@pytest.mark.parametrize(
    ("name", "published", "label"),
    [
        ("oxford_pets", "Sphynx", "Sphynx"),
        ("oxford_pets", "american bulldog", "american_bulldog"),
        ("eurosat", "forest", "Forest"),
        ("eurosat", "permanent crop land", "PermanentCrop"),
        ("eurosat", "annual crop land", "AnnualCrop"),
        ("eurosat", "pasture land", "Pasture"),
        ("eurosat", "lake or sea", "SeaLake"),
        ("eurosat", "river", "River"),
        ("eurosat", "brushland or shrubland", "HerbaceousVegetation"),
        ("eurosat", "highway or road", "Highway"),
        ("eurosat", "industrial buildings or commercial buildings", "Industrial"),
        ("eurosat", "residential buildings or homes or apartments", "Residential"),
        ("caltech101", "background", "BACKGROUND_Google"),
        ("caltech101", "off-center face", "Faces"),
        ("caltech101", "centered face", "Faces_easy"),
        ("caltech101", "side of a car", "car_side"),
        ("caltech101", "body of a cougar cat", "cougar_body"),
        ("caltech101", "yin and yang symbol", "yin_yang"),
        ("voc2007", "diningtable", "diningtable"),
        ("clevr_counts", "10", "10"),
        ("kitti", "a photo i took of a car on my left or right side.", "0 to 8 m"),
        ("kitti", "a photo i took with a car nearby.", "8 to 20 m"),
        ("kitti", "a photo i took with a car in the distance.", "over 20 m"),
        ("kitti", "a photo i took with no car.", "no vehicle"),
        ("fer2013", "happy", "3"),
        ("fer2013", "neutral", "6"),
        ("gtsrb", "stop", "14"),
        ("gtsrb", "white and yellow diamond priority road", "12"),
        ("flowers102", "globe flower", "globe-flower"),
        ("flowers102", "pink and yellow dahlia", "pink-yellow dahlia?"),
        ("flowers102", "air plant", "ball moss"),
        ("country211", "United Kingdom", "GB"),
        ("country211", "Switzerland", "CH"),
        ("country211", "Kosovo", "XK"),
        ("sun397", "jail cell", "jail_cell"),
        ("sun397", "jail indoor", "jail/indoor"),
        ("sun397", "apartment building outdoor", "apartment_building/outdoor"),
        ("ucf101", "Hand Stand Pushups", "HandstandPushups"),
        ("ucf101", "Hammer Throw", "HammerThrow"),
        ("ucf101", "Jump Rope", "JumpRope"),
        ("kinetics700", "massaging person's head", "massaging person's head"),
        ("pcam", "lymph node containing metastatic tumor tissue", "1"),
        ("hateful_memes", "hatespeech meme", "1"),
        ("stl10", "monkey", "monkey"),
        ("imagenet", "tench", "n01440764"),
        ("imagenet", "tabby cat", "n02123045"),
        ("imagenet", "toilet paper", "n15075141"),
        ("imagenet_v2", "goldfish", "1"),
        ("imagenet_r", "goldfish", "n01443537"),
        ("objectnet", "bath towel", "full_sized_towel"),
        ("objectnet", "dishrag or hand towel", "hand_towel_or_rag"),
        ("objectnet", "t-shirt", "t-shirt"),
    ],
)
def test_a_label_in_the_files_finds_its_published_class(name, published, label):
    index = known(name).labels.index(label)

    assert shown(name)[index] == published


@pytest.mark.parametrize(
    "name", ["birdsnap", "cifar100", "food101", "oxford_pets", "resisc45", "sun397", "ucf101"]
)
def test_labels_are_the_published_names_but_for_blanks_and_capitals(name):
    def letters(text: str) -> str:
        return "".join(filter(str.isalnum, text)).lower()

    assert [letters(label) for label in known(name).labels] == list(map(letters, shown(name)))


@pytest.mark.parametrize("name", ["birdsnap", "country211", "imagenet", "imagenet_a", "imagenet_r"])
def test_labels_are_in_the_order_of_folders_where_the_published_order_is_theirs(name):
    assert list(known(name).labels) == sorted(known(name).labels)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("cifar10", "airplane", "truck"),
        ("cifar100", "apple", "worm"),
        ("clevr_counts", "10", "9"),
        ("eurosat", "forest", "highway or road"),
        ("food101", "apple pie", "waffles"),
        ("kinetics700", "abseiling", "zumba"),
        ("oxford_pets", "Abyssinian", "yorkshire terrier"),
        ("stanford_cars", "AM General Hummer SUV 2000", "smart fortwo Convertible 2012"),
        ("voc2007", "aeroplane", "tvmonitor"),
    ],
)
def test_the_published_order_is_kept(name, first, last):
    assert (shown(name)[0], shown(name)[-1]) == (first, last)


def test_traps_of_the_published_order_are_kept():
    assert shown("oxford_pets")[11:13] == ["Sphynx", "american bulldog"]
    assert shown("voc2007")[10] == "dog" and shown("voc2007")[16] == "diningtable"
    assert shown("clevr_counts")[:2] == ["10", "3"]
    assert shown("ucf101")[34:36] == ["Hammer Throw", "Hammering"]
    assert shown("caltech101")[:4] == ["background", "off-center face", "centered face", "leopard"]


def test_several_names_of_a_class_are_kept_for_averaging():
    assert known("fer2013").class_names[3:6] == (
        ("happy", "smiling"),
        ("sad", "depressed"),
        ("surprised", "shocked", "spooked"),
    )


def test_imagenets_names_and_templates_are_those_of_open_clip():
    theirs = from_file(open_clip_folder() / "zero_shot_metadata.py")

    assert shown("imagenet") == list(theirs.IMAGENET_CLASSNAMES)
    assert list(known("imagenet").templates.templates) == [
        fill("{}") for fill in theirs.OPENAI_IMAGENET_TEMPLATES
    ]


@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r", "imagenet_sketch"])
def test_a_subset_has_the_names_of_the_whole(name):
    whole = dict(zip(known("imagenet").labels, known("imagenet").class_names, strict=True))

    assert known(name).class_names == tuple(whole[label] for label in known(name).labels)
    assert known(name).templates == known("imagenet").templates


def test_imagenet_v2_has_all_classes_under_their_numbers():
    assert known("imagenet_v2").class_names == known("imagenet").class_names
    assert known("imagenet_v2").labels == tuple(map(str, range(1000)))


def test_objectnet_covers_classes_of_imagenet_none_of_them_twice():
    groups = [g if isinstance(g, list) else [g] for g in known("objectnet").facts["wnids"]]
    covered = [wnid for group in groups for wnid in group]

    assert len(groups) == 113 and len(covered) == len(set(covered)) == 125
    assert set(covered) <= set(known("imagenet").labels)


def test_names_that_stand_for_two_classes_are_kept_twice():
    twice = {n: [i for i, m in enumerate(shown("imagenet")) if m == n] for n in shown("imagenet")}

    assert {n: at for n, at in twice.items() if len(at) > 1} == {
        "missile": [657, 744],
        "sunglasses": [836, 837],
    }


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stanford_cars", "ucf101"])
def test_own_templates_are_openais(name):
    firsts = {"ucf101": "a photo of a person {}."}

    assert known(name).templates.templates[0] == firsts.get(name, "a photo of a {}.")


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_published_figures_says_what_it_compares(table):
    assert table["source"] and table["split"] and table["url"].startswith("https://")
    assert table["class_names"] in ("these", "other", "unstated")
    assert table["comparable"] in ("exact", "approximate", "no")
    assert ("tolerance" in table) == (table["comparable"] == "approximate")


@pytest.mark.parametrize("table", TABLES)
def test_published_figures_are_per_cent_of_models_that_can_be_named(table):
    assert all(0 < float(value) < 100 for value in table["values"].values())
    assert [resolve(model).name for model in table["values"]] == list(table["values"])


@pytest.mark.parametrize("name", [name for name in ALL if len(judged(name)) == 2])
def test_two_sources_of_one_figure_agree_within_the_tolerance(name):
    paper, suite = judged(name)
    both = paper["values"].keys() & suite["values"].keys()

    apart = {m: abs(float(paper["values"][m]) - float(suite["values"][m])) for m in both}

    assert len(both) == 9 and max(apart.values()) <= float(paper["tolerance"]), apart


def test_an_unknown_data_set_brings_near_names():
    with pytest.raises(UnknownNameError, match="did you mean 'cifar100'"):
        load_dataset("cifar-100")


@pytest.mark.parametrize("name", ["../templates/none", "", "cifar10.yaml"])
def test_a_path_is_not_a_name(name):
    with pytest.raises(UnknownNameError):
        load_dataset(name)


def test_datasets_lists_them_all(zsclip):
    listed = zsclip("datasets")

    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == ALL
    assert [row["name"] for row in zsclip("datasets", "--json").rows] == ALL


def test_a_name_alone_is_short_for_its_class_names(zsclip):
    short = zsclip("datasets", "fer2013")

    assert short.stdout.splitlines()[3] == "happy / smiling"
    assert zsclip("datasets", "names", "fer2013") == short


def test_show_tells_all_that_is_known_of_one(zsclip):
    lines = zsclip("datasets", "show", "oxford_pets").stdout.splitlines()

    assert "metric        mean_per_class" in lines
    assert "split         test, 3,669 pictures" in lines
    assert "licence       CC BY-SA 4.0; the pictures remain their owners'" in lines
    assert "  a photo of a {}, a type of pet." in lines
    assert "  american bulldog                        american_bulldog" in lines
    assert "  ViT-L/14@336px                           93.5" in lines
    assert "archive       https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz" in lines


def test_show_gives_all_of_it_to_programs(zsclip):
    (row,) = zsclip("datasets", "show", "eurosat", "--json").rows

    assert row["labels"][:2] == ["Forest", "PermanentCrop"]
    assert row["class_names"][0] == ["forest"] and len(row["templates"]) == 3
    assert row["published"][0]["comparable"] == "approximate"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["cifar-10"], "unknown data set 'cifar-10'; did you mean 'cifar10'"),
        (["show", "cifar-10"], "unknown data set 'cifar-10'; did you mean 'cifar10'"),
        (["show"], "missing argument 'NAME'"),
        (["--json", "show", "cifar10"], "options of 'show' go behind it"),
    ],
)
def test_a_mistake_in_datasets_is_one_line(zsclip, arguments, problem):
    ran = zsclip("datasets", *arguments)

    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: {problem}")


def test_the_table_in_the_docs_is_of_these_files():
    table = from_file(ROOT / "docs" / "make_datasets_table.py")

    assert table.page() == table.PAGE.read_text(encoding="utf-8")
