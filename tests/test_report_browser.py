"""Reports in a real browser: they work, keep to themselves, and can be used by everyone.

Needs Debian's `chromium` (or the one that ZSCLIP_CHROMIUM names), playwright and
axe-playwright-python, and no network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reports import (
    HOSTILE,
    answered,
    classification,
    curve,
    evaluation,
    evaluation_page,
    failed,
    probe_page,
)

from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.figures import Mistake
from zsclip.plain_text import printable
from zsclip.readers.base import Sample

CHROMIUM = os.environ.get("ZSCLIP_CHROMIUM") or shutil.which("chromium")
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = {"desk": (1200, 900), "phone": (390, 844)}

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
axe = pytest.importorskip("axe_playwright_python.base", reason="needs axe-playwright-python")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (or ZSCLIP_CHROMIUM)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Open a page; at the end, nothing may have been asked of a server, said or gone wrong."""
    contexts, problems = [], []

    def refuse(route: Any) -> None:
        if route.request.url.startswith("file:"):
            route.continue_()
        else:
            problems.append(f"asked for {route.request.url[:80]}")
            route.abort()

    def open_page(html: str, *, size: str = "desk", scheme: str = "light", **rest: Any) -> Any:
        width, height = SIZES[size]
        viewport = {"width": width, "height": height}
        context = browser.new_context(viewport=viewport, color_scheme=scheme, **rest)
        contexts.append(context)
        context.route("**/*", refuse)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(f"said {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"failed: {error}"))
        page.on("dialog", lambda dialog: problems.append("an alert"))
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(html, encoding="utf-8")
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def classifier(fake_model: Model) -> Classifier:
    """With two labels and the fake engine."""
    return Classifier(["cat", "dog"], model=fake_model, templates="none")


@pytest.fixture
def animals(classifier: Classifier, picture: Callable[..., Path]) -> str:
    """Four pictures, of which one failed and one was rejected."""
    path = str(picture("a.png", "red"))
    results = [
        answered("photos/tom.jpg", "cat", 0.6),
        answered("photos/rex.jpg", "dog", 0.9),
        failed("photos/bad.jpg", "truncated"),
        answered("photos/dark.jpg", None, 0.4),
    ]
    return classification(classifier, [(result, path) for result in results])


@pytest.fixture
def pages(classifier: Classifier, animals: str, picture: Callable[..., Path]) -> dict[str, str]:
    """A page of each kind."""
    samples = [Sample(name, str(picture(f"{name}.png")), (0,)) for name in ("cat", "dog")]
    found = evaluation(failed={"empty": 1})
    return {
        "classification": animals,
        "evaluation": evaluation_page(found, samples),
        "probe": probe_page(curve()),
    }


def names(page: Any) -> list[str]:
    """The pictures that are shown, by their names, in the order of the page."""
    return [text.rpartition("/")[2] for text in page.locator("#cards .path").all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["classification", "evaluation", "probe"])
def test_everyone_can_use_it(
    pages: dict[str, str], opened: Callable[..., Any], kind: str, size: str, scheme: str
) -> None:
    page = opened(pages[kind], size=size, scheme=scheme)

    page.evaluate(Path(axe.AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]

    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]


def test_pictures_are_found_by_name_label_and_error(
    animals: str, opened: Callable[..., Any]
) -> None:
    page = opened(animals)
    shown = {}

    for label in ("cat (1)", "below the threshold (1)", "truncated (1)", "all"):
        page.get_by_label("Show").select_option(label=label)
        shown[label] = names(page)
    page.get_by_label("Search").fill("photos REX")
    shown["search"] = names(page)

    assert shown == {
        "cat (1)": ["tom.jpg"],
        "below the threshold (1)": ["dark.jpg"],
        "truncated (1)": ["bad.jpg"],
        "all": ["tom.jpg", "rex.jpg", "bad.jpg", "dark.jpg"],
        "search": ["rex.jpg"],
    }
    assert page.get_by_role("status").inner_text() == "1 of 4"


def test_pictures_are_sorted_and_those_without_a_score_come_last(
    animals: str, opened: Callable[..., Any]
) -> None:
    page = opened(animals)
    shown = {}

    for order in ("sure", "unsure", "label", "number"):
        page.get_by_label("Sort").select_option(order)
        shown[order] = [name.partition(".")[0] for name in names(page)]

    assert shown == {
        "sure": ["rex", "tom", "dark", "bad"],
        "unsure": ["dark", "tom", "rex", "bad"],
        "label": ["tom", "rex", "bad", "dark"],
        "number": ["tom", "rex", "bad", "dark"],
    }


def test_a_least_score_hides_what_is_below_it(animals: str, opened: Callable[..., Any]) -> None:
    page = opened(animals)

    page.get_by_label("Score from").fill("0.6")

    assert names(page) == ["tom.jpg", "rex.jpg"]


def test_a_label_in_the_summary_shows_its_pictures(
    animals: str, opened: Callable[..., Any]
) -> None:
    page = opened(animals)

    page.get_by_role("button", name="dog", exact=True).press("Enter")

    assert names(page) == ["rex.jpg"]


def test_thousands_of_pictures_come_a_page_at_a_time(
    classifier: Classifier, opened: Callable[..., Any]
) -> None:
    gone = "none.jpg"
    results = [(answered(f"{i}.jpg", "cat", i / 2000), gone) for i in range(2000)]
    page = opened(classification(classifier, results))

    first = names(page)
    page.get_by_role("button", name="Show 240 more").click()
    more = names(page)
    page.get_by_label("Sort").select_option("sure")

    assert (len(first), len(more)) == (240, 480)
    assert page.get_by_role("status").inner_text() == "2,000 listed, the first 240 shown"
    assert names(page)[:2] == ["1999.jpg", "1998.jpg"]


def test_a_closer_look_opens_and_closes_by_keyboard(
    animals: str, opened: Callable[..., Any]
) -> None:
    page = opened(animals)
    dialog = page.get_by_role("dialog")

    page.get_by_label("Look closer: photos/tom.jpg").press("Enter")
    opens = (dialog.is_visible(), dialog.get_by_role("heading").inner_text())
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    last = dialog.get_by_role("heading").inner_text()
    page.keyboard.press("Escape")

    assert opens == (True, "photos/tom.jpg")
    assert last == "photos/dark.jpg"
    assert not dialog.is_visible()
    sync_api.expect(page.get_by_label("Look closer: photos/dark.jpg")).to_be_focused()


def test_the_picture_is_larger_in_a_closer_look(
    pages: dict[str, str], opened: Callable[..., Any]
) -> None:
    page = opened(pages["evaluation"])
    before = page.locator("button.picture img").first.bounding_box()

    page.locator("button.picture").first.click()

    after = page.get_by_role("dialog").locator("img").bounding_box()
    assert after["height"] > 1.5 * before["height"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_button_turns_light_to_dark_and_back(
    animals: str, opened: Callable[..., Any], scheme: str
) -> None:
    page = opened(animals, scheme=scheme)

    def brightness() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    before = brightness()
    page.locator("#theme").click()
    turned = brightness()
    page.locator("#theme").click()

    assert (before > 600) == (scheme == "light")
    assert (turned > 600) != (scheme == "light")
    assert brightness() == before


def test_hostile_names_show_as_text(classifier: Classifier, opened: Callable[..., Any]) -> None:
    page = opened(classification(classifier, [(answered(n, n), "none.jpg") for n in HOSTILE]))

    shown = page.locator("#cards .path").all_text_contents()
    page.get_by_label("Search").fill("<script>")

    assert shown == [printable(name) for name in HOSTILE]
    assert len(names(page)) == 2
    assert page.title() == f"{len(HOSTILE)} pictures · zsclip"
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["desk"][0]


def test_hostile_names_are_filtered_by_as_text(
    classifier: Classifier, opened: Callable[..., Any]
) -> None:
    page = opened(classification(classifier, [(answered(n, n), "none.jpg") for n in HOSTILE]))

    found = []
    for place in range(1, len(HOSTILE) + 1):
        page.get_by_label("Show").select_option(index=place)
        found += page.locator("#cards .path").all_text_contents()

    assert sorted(found) == sorted(map(printable, HOSTILE))


def test_hostile_classes_show_as_text(opened: Callable[..., Any]) -> None:
    mistakes = tuple(Mistake(name, (name,), name, 0.9, 0.1) for name in HOSTILE)
    page = opened(evaluation_page(evaluation(HOSTILE, name=HOSTILE[0], mistakes=mistakes)))

    shown = page.locator(".matrix tbody th span").all_text_contents()

    assert shown == [printable(name) for name in HOSTILE]
    assert page.locator("h1").inner_text().startswith(HOSTILE[0])
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["desk"][0]


def test_a_page_can_be_read_without_scripts(animals: str, opened: Callable[..., Any]) -> None:
    page = opened(animals, java_script_enabled=False)

    assert names(page) == ["tom.jpg", "rex.jpg", "bad.jpg", "dark.jpg"]
    assert not page.locator(".tools").is_visible()


def test_a_script_that_is_not_ours_does_not_run(animals: str, browser: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(animals, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())

    problem = page.evaluate(
        """() => new Promise(resolve => {
            document.addEventListener("securitypolicyviolation", e => resolve(e.violatedDirective));
            const script = document.createElement("script");
            script.textContent = "document.title = 'gone'";
            document.head.append(script);
            setTimeout(() => resolve("none"), 5000);
        })"""
    )

    title = page.title()
    page.close()
    assert problem.startswith("script-src")
    assert title == "4 pictures · zsclip"


def test_on_paper_there_are_pictures_and_no_buttons(
    pages: dict[str, str], opened: Callable[..., Any]
) -> None:
    page = opened(pages["classification"], scheme="dark")

    page.emulate_media(media="print")

    assert page.locator("#cards img").first.is_visible()
    assert not page.locator(".tools").is_visible() and not page.locator("#theme").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
