"""`--other` and `--multi-label`, as typed: with the fake engine, and with the embedded model."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Ran
from jsonschema import Draft202012Validator

from zsclip import background
from zsclip.background import Name
from zsclip.encoders import Model
from zsclip.head_builder import build_head

Run = Callable[..., Ran]
Make = Callable[..., Path]
ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "examples" / "images"
FEW = ("tree", "car", "house", "sun", "boat", "bread")


@pytest.fixture
def run(zsclip: Run, fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`zsclip classify` in a folder with pictures, the fake engine, and six other names."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.setattr(background, "read_names", lambda: tuple(Name(text, ()) for text in FEW))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("classify", *arguments, "--labels", "cat,dog", "-t", "none")


@pytest.fixture
def photos(run: Run, picture: Make) -> Path:
    """Pictures of which some are other and some are not."""
    colours = ("red", "green", "blue", "white", "black", "gold", "pink", "gray", "tan", "navy")
    for colour in colours:
        picture(f"photos/{colour}.png", colour)
    return Path("photos")


def is_published(row: dict[str, object]) -> bool:
    schema = json.loads((ROOT / "docs" / "row.schema.json").read_text())
    return Draft202012Validator(schema).is_valid(row)


def test_other_is_a_label_and_the_share_is_in_the_row(run: Run, photos: Path) -> None:
    ran = run(photos, "--other")

    assert ran.code == 0
    assert {row["label"] == "other" for row in ran.rows} == {True, False}
    for row in ran.rows:
        share = row["share"]
        assert isinstance(share, float) and share == round(share, 6)
        assert (row["label"] == "other") == (share < 0.5)
        assert list(row)[2:5] == ["label", "share", "score"] and is_published(row)


def test_the_names_are_encoded_once_and_that_is_said(run: Run, photos: Path) -> None:
    first = run(photos, "--other")
    second = run(photos, "--other")

    assert first.stderr == "encoding 6 names of other things, for the cache\n"
    assert second.stderr == "" and second.stdout == first.stdout


def test_quiet_says_nothing_of_it(run: Run, photos: Path) -> None:
    assert run(photos, "--other", "-q").stderr == ""


def test_other_has_the_name_and_the_limit_that_are_given(run: Run, photos: Path) -> None:
    ran = run(photos, "--other", "--other-name", "neither", "--other-below", "1")

    assert {row["label"] for row in ran.rows} == {"neither"}


def test_one_label_needs_no_warning_where_it_has_competition(
    zsclip: Run, run: Run, photos: Path
) -> None:
    ran = zsclip("classify", photos, "--label", "cat", "-t", "none", "--other", "-q")

    assert {row["label"] for row in ran.rows} == {"cat", "other"}
    assert "one label only" not in ran.stderr


def test_a_head_file_has_others_too(zsclip: Run, run: Run, photos: Path, fake_model: Model) -> None:
    build_head(["cat", "dog"], model=fake_model, templates="none").save("head.safetensors")

    ran = zsclip("classify", photos, "--head", "head.safetensors", "--other")

    assert ran.stdout.count('"other"') == run(photos, "--other").stdout.count('"other"') > 0


def test_several_labels_are_in_the_row(run: Run, photos: Path) -> None:
    ran = run(photos, "--multi-label")

    assert {len(row["labels"]) for row in ran.rows} == {0, 1, 2}  # type: ignore[arg-type]
    for row in ran.rows:
        assert row["score_kind"] == "vs_background" and is_published(row)
        assert row["label"] == (row["labels"][0] if row["labels"] else None)  # type: ignore[index]


def test_csv_has_a_column_for_the_share_and_one_for_several_labels(run: Run, photos: Path) -> None:
    shares = list(csv.DictReader(io.StringIO(run(photos, "--other", "-f", "csv").stdout)))
    several = run(photos, "--multi-label", "--min-score", "0", "-f", "csv").stdout

    assert all(len(row["share"]) == 8 for row in shares)
    assert {row["labels"] for row in csv.DictReader(io.StringIO(several))} == {
        "cat;dog",
        "dog;cat",
    }


def test_the_table_shows_the_share_and_all_labels(run: Run, photos: Path) -> None:
    shares = run(photos, "--other", "-f", "table").stdout
    several = run(photos, "--multi-label", "--min-score", "0", "-f", "table").stdout

    assert shares.count("  share 0.") == 10
    assert several.count("  all: ") == 10


def test_one_picture_as_a_table_says_whose_the_share_is(run: Run, photos: Path) -> None:
    other = run(photos / "red.png", "--other", "--other-below", "1", "-f", "table").stdout
    label = run(photos / "red.png", "--other", "--other-below", "0", "-f", "table").stdout

    assert "\n  other: the labels' share is 0." in other
    assert "\n  the labels' share is 0." in label


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--other", "--scores", "cosine"], "--scores cosine weighs nothing"),
        (["--other", "--multi-label"], "leave out --other"),
        (["--multi-label", "--group"], "leave out --group"),
        (["--multi-label", "--scores", "softmax"], "leave out --scores softmax"),
        (["--other-name", "none"], "--other-name goes with --other"),
        (["--other-below", "0.3"], "--other-below goes with --other"),
        (["--other", "--other-name", ""], "--other-name: an empty label"),
        (["--other", "--other-name", "dog"], "a label is called 'dog', too"),
        (["--other", "--other-below", "2"], "--other-below 2 is not between 0 and 1"),
    ],
)
def test_what_contradicts_is_refused_in_one_line(
    run: Run, photos: Path, options: list[str], said: str
) -> None:
    ran = run(photos, *options)

    message = ran.stderr.splitlines()[0]
    assert ran.code == 2 and message.startswith("error: ") and message.endswith(said)
    assert ran.stdout == "" and "names of other things" not in ran.stderr


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ([], ["--other"], "without --other"),
        (["--other"], [], "with --other"),
        (["--other"], ["--other", "--other-below", "0.4"], "another precision, threshold"),
        (["--other"], ["--other", "--other-name", "none"], "another precision, threshold"),
        ([], ["--multi-label"], "score_kind softmax, not vs_background"),
    ],
)
def test_a_run_is_resumed_with_the_same_answers_only(
    run: Run, photos: Path, before: list[str], after: list[str], named: str
) -> None:
    run(photos, "--resume", "rows.jsonl", *before)
    content = Path("rows.jsonl").read_bytes()

    ran = run(photos, "--resume", "rows.jsonl", *after)

    assert ran.code == 2 and f"is of another run: {named}" in ran.stderr
    assert Path("rows.jsonl").read_bytes() == content


def test_a_stopped_run_goes_on_to_the_same_bytes(run: Run, photos: Path) -> None:
    whole = run(photos, "--other").stdout.encode()
    Path("rows.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))

    run(photos, "--other", "--resume", "rows.jsonl")

    assert Path("rows.jsonl").read_bytes() == whole


# the embedded model, whose pictures are of an artist that it has never seen


def test_a_cat_is_not_a_pizza_and_a_car_as_well(zsclip: Run) -> None:
    ran = zsclip(
        "classify", *sorted(PICTURES.glob("cat*")), "--labels", "cat,pizza,car",
        "--multi-label", "--model", "tiny", "-t", "photo", "-q",
    )  # fmt: skip

    assert len(ran.rows) == 4
    for row in ran.rows:
        assert row["labels"] == ["cat"], row


def test_what_is_neither_a_cat_nor_a_dog_is_other(zsclip: Run) -> None:
    names = ("cat-smile.jpg", "dog.png", "pizza.jpg", "car.png", "key.png", "tree.png")

    ran = zsclip(
        "classify", *(PICTURES / name for name in names), "--labels", "cat,dog",
        "--other", "--model", "tiny", "-t", "photo", "-q",
    )  # fmt: skip

    assert [row["label"] for row in ran.rows] == ["cat", "dog", *["other"] * 4]
    assert max(row["score"] for row in ran.rows[2:]) > 0.9  # type: ignore[type-var]
