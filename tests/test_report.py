"""Reports as files: what is in them, what can never be, and how they come to their place."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Ran
from naughty import naughty_strings
from PIL import Image
from reports import (
    HOSTILE,
    NOTHING,
    Page,
    answered,
    classification,
    curve,
    evaluation,
    evaluation_page,
    failed,
    probe_page,
)

from zsclip.classifier import Classifier
from zsclip.decoding import DEFAULT
from zsclip.encoders import Model
from zsclip.errors import OutputError, PictureError
from zsclip.figures import Mistake
from zsclip.intervals import Interval
from zsclip.plain_text import printable
from zsclip.readers.base import Sample
from zsclip.reports import classification as pages_of_runs
from zsclip.reports import pages, thumbnails
from zsclip.reports.charts import axis, confusions, octaves, shades
from zsclip.reports.pages import open_report
from zsclip.reports.thumbnails import SIDE, thumbnail

Make = Callable[..., Path]
KINDS = ("classification", "evaluation", "probe")


@pytest.fixture
def classifier(fake_model: Model) -> Classifier:
    """With two labels and the fake engine."""
    return Classifier(["cat", "dog"], model=fake_model, templates="none")


@pytest.fixture
def run(
    zsclip: Callable[..., Ran], fake_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Ran]:
    """`zsclip classify` in an empty folder, with the fake engine as its model."""
    monkeypatch.setattr("zsclip.cli.request.load_model", lambda *args, **kwargs: fake_model)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: zsclip("classify", *arguments)


def copies_in(html: str) -> list[Image.Image]:
    """The small copies of a page, decoded."""
    found = re.findall(r'src="data:image/webp;base64,([^"]*)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for content in found]


# what is in the page of a classification


def test_there_is_a_card_for_each_picture_in_their_order(classifier: Classifier) -> None:
    results = [answered(f"{i}.jpg", "cat") if i % 3 else failed(f"{i}.jpg") for i in range(90)]

    page = Page(classification(classifier, [(one, NOTHING) for one in results]))

    assert page.texts("p", "path") == [one.path for one in results]


def test_a_card_names_label_scores_and_cosines(classifier: Classifier) -> None:
    page = Page(classification(classifier, [(answered("a.jpg", "cat", 0.93), NOTHING)]))

    assert page.texts("p", "answer") == ["cat"]
    assert page.texts("span", "score") == ["0.930", "0.070"]
    assert page.texts("span", "cosine") == ["0.250", "0.200"]


def test_a_card_has_the_other_labels_the_set_and_the_share(classifier: Classifier) -> None:
    plain = answered("a.jpg", "cat", 0.93)
    results = [
        plain,
        replace(plain, labels=("cat", "dog", "<b>")),
        replace(plain, labels=("cat",)),
        replace(plain, label_set=("cat", "dog")),
        replace(plain, label_set=()),
        replace(plain, label="other", share=0.0625),
    ]

    page = Page(classification(classifier, [(one, NOTHING) for one in results]))

    assert page.texts("p", "note")[-4:] == [
        "also dog, <b>", "label set: cat, dog", "label set: empty", "share of the labels: 0.062",
    ]  # fmt: skip


def test_a_card_has_the_first_of_many_labels_only(classifier: Classifier) -> None:
    result = replace(answered("a.jpg", "cat"), label_set=tuple(f"l{i}" for i in range(23)))

    page = Page(classification(classifier, [(result, NOTHING)]))

    assert page.texts("p", "note")[-1].endswith("l18, l19 and 3 more")


def test_a_page_says_how_often_its_sets_hold_the_truth(classifier: Classifier) -> None:
    head = replace(classifier.head, coverage=((0.9, 0.1),))

    page = classification(Classifier(head, model=classifier.model, coverage=0.9), [])

    assert "Label sets hold the truth of" in page and "90%" in page


def test_the_page_counts_labels_and_errors(classifier: Classifier) -> None:
    results = [answered("a", "cat"), answered("b", "cat"), answered("c", None), failed("d")]

    page = Page(classification(classifier, [(one, NOTHING) for one in results]))

    assert page.texts("h1") == ["4 pictures, 2 labels"]
    assert page.texts("button", "pick") == ["cat", "no label", "truncated"]
    assert page.texts("td", "share") == ["50.0%", "25.0%", "25.0%"]


def test_no_picture_at_all_is_a_page_too(classifier: Classifier) -> None:
    page = Page(classification(classifier, []))

    assert page.texts("h1") == ["0 pictures, 2 labels"]


def test_of_many_pictures_the_first_are_listed_and_all_are_counted(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_of_runs, "MOST_CARDS", 5)

    html = classification(classifier, [(answered(f"{i}", "cat"), NOTHING) for i in range(8)])

    assert len(Page(html).texts("p", "path")) == 5
    assert "8 pictures, 2 labels" in html
    assert "The first 5 are listed; all are counted above." in html


def test_equal_results_make_equal_pages(classifier: Classifier, picture: Make) -> None:
    results = [(answered(f"{i}.jpg", "cat"), str(picture("a.png"))) for i in range(40)]

    assert classification(classifier, results) == classification(classifier, results)


def test_memory_does_not_grow_with_the_results(classifier: Classifier) -> None:
    grown = []
    with pages_of_runs.collecting(classifier) as page:
        page.add(answered("first.jpg", "cat"), NOTHING)
        tracemalloc.start()
        for number in range(5000):
            page.add(answered(f"{number}.jpg", "cat"), NOTHING)
            if number in (999, 4999):
                grown.append(tracemalloc.get_traced_memory()[0])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert grown[1] < grown[0] + 200_000
    assert peak < 5_000_000


# small copies


def test_a_small_copy_is_upright_and_without_metadata(tmp_path: Path) -> None:
    photo = Image.new("RGB", (900, 600), "red")
    photo.paste("blue", (0, 0, 450, 600))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    photo.save(tmp_path / "a.jpg", exif=exif, icc_profile=b"0" * 200)

    small = thumbnail(str(tmp_path / "a.jpg"), DEFAULT)

    image = Image.open(io.BytesIO(small.content))
    assert image.format == "WEBP"
    assert image.size == (small.width, small.height) == (SIDE * 2 // 3 - 0, SIDE)
    assert b"where I live" not in small.content and not image.info.get("icc_profile")
    top, bottom = image.convert("RGB").getpixel((100, 20)), image.getpixel((100, 300))
    assert top[2] > 200 > 60 > top[0] and bottom[0] > 200 > 60 > bottom[2]


def test_a_small_picture_is_not_enlarged(picture: Make) -> None:
    small = thumbnail(str(picture("a.png", size=28)), DEFAULT)

    assert (small.width, small.height, small.is_coarse) == (28, 28, True)


def test_a_line_of_pixels_keeps_at_least_one(tmp_path: Path) -> None:
    Image.new("L", (1, 20_000)).save(tmp_path / "a.png")

    small = thumbnail(str(tmp_path / "a.png"), DEFAULT)

    assert (small.width, small.height) == (1, SIDE)


def test_limits_of_the_run_hold_for_small_copies(picture: Make) -> None:
    with pytest.raises(PictureError, match="more than 100 pixels"):
        thumbnail(str(picture("a.png")), DEFAULT.but(max_pixels=100))


def test_each_picture_that_was_classified_has_its_own_copy(
    classifier: Classifier, picture: Make
) -> None:
    colours = [(40 * i, 0, 255 - 40 * i) for i in range(6)]
    results = [
        (answered(f"{i}.png", "cat"), str(picture(f"{i}.png", colour)))
        for i, colour in enumerate(colours)
    ]

    copies = copies_in(classification(classifier, results))

    found = np.array([copy.convert("RGB").getpixel((20, 20)) for copy in copies])
    assert np.abs(found - np.array(colours)).max() < 16, found


def test_a_picture_that_has_gone_is_listed_without_a_copy(classifier: Classifier) -> None:
    html = classification(classifier, [(answered("a.png", "cat"), "gone.png")])

    assert copies_in(html) == []
    assert "1 picture is listed without a small copy." in html


def test_copies_end_where_the_page_would_be_too_large(
    classifier: Classifier, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(picture("a.png", size=300))
    size = 4 * len(thumbnail(path, DEFAULT).content) // 3
    monkeypatch.setattr(pages_of_runs, "MAX_COPIES_BYTES", 3 * size)

    html = classification(classifier, [(answered(f"{i}", "cat"), path) for i in range(70)])

    assert len(copies_in(html)) == 3
    assert "67 pictures are listed without a small copy: copies fill" in html


def test_a_copy_that_takes_too_long_is_left_out(
    fake_model: Model, picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    ends = threading.Event()
    monkeypatch.setattr(thumbnails, "thumbnail", lambda *_, **__: ends.wait(20))
    hasty = Classifier(["cat"], model=fake_model, templates="none", timeout_s=0.1)

    html = classification(hasty, [(answered("a.png", "cat"), str(picture("a.png")))])
    ends.set()

    assert copies_in(html) == []


# what can never be in a page


def hostile_pages(classifier: Classifier, names: list[str]) -> dict[str, str]:
    results = [answered(name, name) for name in names]
    results += [failed(name, message=name) for name in names]
    mistakes = tuple(Mistake(name, (name,), name, 0.9, 0.1) for name in names)
    found = evaluation(names, name=names[0], model=names[0], notes=tuple(names), mistakes=mistakes)
    return {
        "classification": classification(classifier, [(one, NOTHING) for one in results]),
        "evaluation": evaluation_page(found),
        "probe": probe_page(curve(), name=names[0], notes=names),
    }


@pytest.mark.accepts("A22")
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_names_are_text(classifier: Classifier, kind: str) -> None:
    names = [*HOSTILE, *naughty_strings()[::9]]
    plain = [f"name {i}" for i in range(len(names))]

    page = Page(hostile_pages(classifier, names)[kind])

    same = Page(hostile_pages(classifier, plain)[kind])
    assert [tag for tag, _, _ in page.found] == [tag for tag, _, _ in same.found]
    assert [set(each) for _, each, _ in page.found] == [set(each) for _, each, _ in same.found]
    shown = [printable(name).strip() for name in names]
    assert page.texts("p", {"probe": "note"}.get(kind, "path"))[: len(names)] == shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_has_no_control_character_nor_turn_of_direction(
    classifier: Classifier, kind: str
) -> None:
    html = hostile_pages(classifier, list(HOSTILE))[kind]

    assert not set(html) & {*map(chr, range(10)), *map(chr, range(11, 32)), "\x7f", "\u202e"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_asks_no_server(classifier: Classifier, kind: str) -> None:
    page = Page(hostile_pages(classifier, ["cat", "dog"])[kind])

    links = [each for _, each, _ in page.found if {"href", "src", "action", "style"} & set(each)]
    assert all((each.get("src") or "").startswith("data:image/webp;") for each in links)
    assert not re.search(
        r"url\(|@import|fetch\(|XMLHttp", (pages.FOLDER / "report.css").read_text()
    )


def test_the_policy_allows_the_one_style_and_the_one_script(classifier: Classifier) -> None:
    page = Page(classification(classifier, [(answered("a", "cat"), NOTHING)]))

    (policy,) = [e["content"] for e in page.elements("meta") if "http-equiv" in e]
    for kind in ("style", "script"):
        (text,) = ["".join(text) for tag, _, text in page.found if tag == kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in (policy or "")
    assert "default-src 'none'" in (policy or "")
    assert "unsafe" not in (policy or "")


# the page of an evaluation


def test_figures_have_their_intervals() -> None:
    html = evaluation_page(evaluation())

    assert Page(html).texts("h1") == ["drawings: 80.0% top-1 accuracy"]
    assert "(70.0 to 90.0)" in html
    assert "(+1.0 to +5.0)" in html


def test_what_is_published_stands_beside_what_was_measured() -> None:
    page = Page(evaluation_page(evaluation()))

    assert page.texts("span", "verdict") == ["✗ differs"]


def test_the_hardest_classes_come_first() -> None:
    found = evaluation()
    worst = replace(found.per_class[2], value=0.1)

    page = Page(evaluation_page(replace(found, per_class=(*found.per_class[:2], worst))))

    (section,) = [text for text in page.texts("section") if text.startswith("Classes")]
    assert section.index("tree") < section.index("cat") < section.index("dog")


def test_a_class_without_pictures_is_counted_and_not_ranked() -> None:
    found = evaluation()
    empty = replace(found.per_class[0], count=0, value=float("nan"))

    html = evaluation_page(replace(found, per_class=(empty, *found.per_class[1:])))

    assert "1 class has no picture." in html
    assert not re.search(r"\bnan\b", html)


def test_the_matrix_has_a_cell_for_each_pair_of_classes() -> None:
    page = Page(evaluation_page(evaluation()))

    assert len(list(page.elements("td", "right"))) == 3
    assert [each["title"] for each in page.elements("td", "wrong")] == ["cat as dog: 3"]


def test_a_matrix_of_too_many_classes_is_a_list_of_confusions() -> None:
    page = Page(evaluation_page(evaluation([f"class {i}" for i in range(101)])))

    assert list(page.elements("table", "matrix")) == []
    assert "Most often confused" in page.texts("h2")


def test_pictures_with_several_labels_have_no_confusions() -> None:
    figures = tuple(
        replace(one, values={"map11": Interval(0.8, 0.7, 0.9)}, calibration=None)
        for one in evaluation().figures
    )
    found = evaluation(metric="map11", confusion=None, figures=figures, mistakes=(), published=())

    page = Page(evaluation_page(found))

    assert page.texts("h2")[:3] == ["Figures", "Template sets compared", "Classes"]
    assert page.texts("h1") == ["drawings: 80.0% 11-point mAP"]


def test_what_is_not_defined_is_a_dash() -> None:
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    figures = tuple(
        replace(one, values={key: nothing for key in one.values}, gain=nothing)
        for one in evaluation().figures
    )

    html = evaluation_page(evaluation(figures=figures))

    assert "drawings: – top-1 accuracy" in html
    assert not re.search(r"\bnan\b", html)


def test_what_could_not_be_read_is_said() -> None:
    html = evaluation_page(evaluation(failed={"empty": 2, "corrupt": 1}, on_error="wrong"))

    text = " ".join(html.split())
    assert "Could not be read, and counted as answered wrong: 2 empty, 1 corrupt." in text


def test_mistakes_have_their_pictures(picture: Make) -> None:
    found = evaluation()
    samples = [Sample(name, str(picture(f"{name}.png")), (0,)) for name in ("x", "dog", "cat")]

    page = evaluation_page(found, samples)

    assert len(copies_in(page)) == 2
    assert Page(page).texts("p", "path") == ["cat", "dog", "tree"]


def test_the_data_set_is_read_until_all_mistakes_are_found(picture: Make) -> None:
    path = str(picture("a.png"))
    samples = iter([Sample(name, path, (0,)) for name in ("cat", "dog", "tree", "late")])

    evaluation_page(evaluation(), samples)

    assert [sample.path for sample in samples] == ["late"]


# the page of a few-shot curve


def test_a_curve_has_a_row_for_each_number_of_shots() -> None:
    page = Page(probe_page(curve()))

    rows = [" ".join(text.split()) for text in page.texts("tr")]
    assert page.texts("h1") == ["drawings: 58.0% zero-shot, 81.0% with 4 pictures a class"]
    assert rows[1:] == [
        "none: zero-shot 0 58.0",
        "1 3 66.0 1.4 65.0 to 67.0 +8.0",
        "2 6 71.0 1.4 70.0 to 72.0 +13.0",
        "4 12 81.0 1.4 80.0 to 82.0 +23.0",
        "all, few-shot 90 86.0 +28.0",
        "all, linear 90 88.0 +30.0",
    ]


def test_a_curve_doubles_along_its_axis() -> None:
    assert octaves([1, 2, 4, 16]) == pytest.approx([0, 0.25, 0.5, 1])
    assert octaves([0, 1, 2]) == pytest.approx([0, 0.5, 1])
    assert octaves([8]) == [0.5]


def test_a_curve_without_shots_says_what_zero_shot_is() -> None:
    page = Page(probe_page(curve(points=(), full=())))

    assert page.texts("h1") == ["drawings: 58.0% zero-shot"]


# charts


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.742, 0.81], (0.74, 0.82)),
        ([-0.018, 0.05], (-0.02, 0.06)),
        ([0.5], (0.49, 0.51)),
        ([0.0], (0.0, 0.01)),
        ([1.0, 1.0], (0.99, 1.0)),
        ([float("nan"), 0.2, 0.4], (0.2, 0.4)),
        ([0.03, 0.97], (0.0, 1.0)),
        ([], (0.0, 1.0)),
    ],
)
def test_an_axis_has_round_ends_around_the_values(
    values: list[float], ends: tuple[float, float]
) -> None:
    found = axis(values, within=(-1.0, 1.0) if min(values, default=0) < 0 else (0.0, 1.0))

    assert (found.low, found.high) == pytest.approx(ends)
    assert 3 <= len(found.ticks) <= 8


def test_shares_along_an_axis_stay_on_it() -> None:
    found = axis([0.2, 0.4])

    assert [found.share(value) for value in (0.2, 0.3, 0.4, 9.0, -9.0)] == pytest.approx(
        [0, 0.5, 1, 1, 0]
    )


def test_confusions_leave_out_right_answers_and_come_in_order() -> None:
    counts = np.array([[9, 1, 0], [4, 2, 0], [0, 2, 0]])

    assert list(confusions(counts)) == [(1, 0, 4), (2, 1, 2), (0, 1, 1)]


def test_a_single_picture_has_a_shade_and_none_has_not() -> None:
    found = shades(np.array([[999, 1], [0, 0]]))

    assert found.tolist() == [[9, 1], [0, 0]]


# how a page comes to its place


def test_the_page_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    path.write_text("old")

    with open_report(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"

    assert path.read_text() == "new"


@pytest.mark.accepts("E6")
def test_what_fails_on_the_way_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    path.write_text("old")

    with pytest.raises(RuntimeError), open_report(path) as file:
        file.write(b"new")
        raise RuntimeError

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.html"]


@pytest.mark.parametrize("place", ["none/out.html", ".", "pipe"])
def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OutputError, match="cannot write"), open_report(tmp_path / place):
        pytest.fail("it was opened")


def test_a_disk_that_is_full_is_one_line(classifier: Classifier) -> None:
    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    with (
        pages_of_runs.collecting(classifier) as page,
        pytest.raises(OutputError, match="cannot write the report: No space left"),
    ):
        page.write(Full())


# the command


def test_classify_writes_its_rows_and_the_report(run: Callable[..., Ran], picture: Make) -> None:
    picture("photos/red.png", "red")
    Path("photos/broken.jpg").write_bytes(b"<html>")

    ran = run("photos", "--labels", "cat,dog", "--report", "out.html")

    html = Path("out.html").read_text()
    assert [row["path"] for row in ran.rows] == ["photos/broken.jpg", "photos/red.png"]
    assert ran.code == 3
    assert Page(html).texts("p", "path") == ["photos/broken.jpg", "photos/red.png"]
    assert len(copies_in(html)) == 1


def test_a_picture_on_stdin_has_its_copy(
    run: Callable[..., Ran], picture: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture("red.png", "red").read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    run("-", "--labels", "cat,dog", "--report", "out.html")

    assert len(copies_in(Path("out.html").read_text())) == 1


def test_a_strict_run_reports_up_to_the_first_failure(
    run: Callable[..., Ran], picture: Make
) -> None:
    picture("a.png"), picture("c.png")

    ran = run("a.png", "b.png", "c.png", "--labels", "cat", "--strict", "--report", "out.html")

    assert ran.code == 3
    assert Page(Path("out.html").read_text()).texts("p", "path") == ["a.png", "b.png"]


def test_a_report_that_cannot_be_written_ends_the_run_before_it_begins(
    run: Callable[..., Ran], picture: Make
) -> None:
    picture("a.png")
    Path("rows.jsonl").write_text("old\n")

    ran = run("a.png", "--labels", "cat", "--report", "none/out.html", "-o", "rows.jsonl")

    assert (ran.code, ran.stdout) == (5, "")
    assert "error: cannot write none/out.html" in ran.stderr
    assert Path("rows.jsonl").read_text() == "old\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.html"], "out.html cannot take both the rows and the report"),
        (["--errors", "./out.html"], "out.html cannot take both --errors and the report"),
        (["--labels-file", "out.html"], "--report out.html would write over what is read"),
        (["--resume", "rows.jsonl"], "--report shows a whole run; leave out --resume"),
    ],
)
def test_a_report_keeps_apart_from_other_files(
    run: Callable[..., Ran], picture: Make, arguments: list[str], message: str
) -> None:
    picture("a.png")
    Path("out.html").write_text("cat\n")

    ran = run("a.png", "--labels", "cat", "--report", "out.html", *arguments)

    assert ran.code == 2
    assert message in ran.stderr
    assert Path("out.html").read_text() == "cat\n"
