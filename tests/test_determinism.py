"""The same question gets the same answer: byte for byte, and closely for any size of batch.

With the embedded model, a real one. Its pictures are the examples, turned and cropped, so that
there are more than the largest batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Ran, with_compiled
from PIL import Image

import zsclip as package
from zsclip.encoders import Model
from zsclip.results import Result

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., Ran]

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
LABELS = ["cat", "dog", "pizza", "tree", "red heart", "car"]
SCORE_TOLERANCE = 1e-4
COSINE_TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=["torch", "onnx"])
def tiny(
    request: pytest.FixtureRequest, compiled_tiny: Path, tmp_path_factory: pytest.TempPathFactory
) -> Model:
    cache = with_compiled(compiled_tiny, tmp_path_factory.mktemp("cache"))
    return package.load_model("tiny", engine=request.param, device="cpu", cache_dir=cache)


@pytest.fixture(scope="module")
def head(tiny: Model) -> package.Head:
    return package.build_head(LABELS, model=tiny)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Seventy pictures: more than a batch of 64."""
    examples = [Image.open(path).convert("RGB") for path in sorted(IMAGES.glob("*.png"))]

    def variants() -> Iterator[Image.Image]:
        for step in range(70):
            picture = examples[step % len(examples)].rotate(90 * (step // len(examples)))
            yield picture.crop((step % 7, step % 5, picture.width, picture.height))

    return list(variants())


def difference(one: Result, other: Result) -> tuple[float, float]:
    """Largest |score| and |cosine| difference; labels must come in the same order."""
    assert [s.label for s in one.scores] == [s.label for s in other.scores]
    pairs = list(zip(one.scores, other.scores, strict=True))
    return (
        max(abs(a.score - b.score) for a, b in pairs),
        max(abs((a.cosine or 0) - (b.cosine or 0)) for a, b in pairs),
    )


def assert_close(ones: list[Result], others: list[Result]) -> None:
    apart = [difference(one, other) for one, other in zip(ones, others, strict=True)]
    score, cosine = (max(values) for values in zip(*apart, strict=True))
    assert score < SCORE_TOLERANCE and cosine < COSINE_TOLERANCE, (score, cosine)


@pytest.mark.accepts("F4")
@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("name", ["jsonl", "json", "csv", "tsv"])
def test_two_runs_give_equal_bytes(zsclip: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    command = (
        "classify", IMAGES, tmp_path / "broken.jpg", "--labels", "cat,dog,pizza",
        "--template", "a photo of a {}.", "--model", "tiny", "--format", name,
    )  # fmt: skip

    encoded = zsclip(*command)
    from_cache = zsclip(*command)
    without_cache = zsclip(*command, "--no-cache")

    assert encoded.code == 3 and encoded.stdout.count("cat") > 2
    assert encoded.stdout == from_cache.stdout == without_cache.stdout


@pytest.mark.accepts("F3")
@pytest.mark.parametrize("batch_size", [7, 64, None])
def test_the_size_of_a_batch_does_not_change_the_answers(
    tiny: Model, head: package.Head, pictures: list[Image.Image], batch_size: int | None
) -> None:
    one_by_one = package.Classifier(head, model=tiny, top_k=0, batch_size=1)
    together = package.Classifier(head, model=tiny, top_k=0, batch_size=batch_size)

    assert_close(list(one_by_one.classify(pictures)), list(together.classify(pictures)))


@pytest.mark.accepts("F3")
@pytest.mark.parametrize("tiny", ["torch"], indirect=True)
def test_the_number_of_threads_does_not_change_the_answers(
    tiny: Model, head: package.Head, pictures: list[Image.Image]
) -> None:
    import torch

    classifier = package.Classifier(head, model=tiny, top_k=0, batch_size=7)

    one = list(classifier.classify(pictures[:7]))
    torch.set_num_threads(2)
    try:
        two = list(classifier.classify(pictures[:7]))
    finally:
        torch.set_num_threads(1)

    assert_close(one, two)


@pytest.mark.accepts("F5")
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_bad_picture_in_a_batch_does_not_change_the_others(
    tiny: Model, head: package.Head, pictures: list[Image.Image], batch_size: int
) -> None:
    classifier = package.Classifier(head, model=tiny, top_k=0, batch_size=batch_size)
    bad = b"\xff\xd8\xff not a picture"

    alone = list(classifier.classify(pictures[:20]))
    mixed = list(classifier.classify([*pictures[:5], bad, *pictures[5:20]]))

    assert [row for row, result in enumerate(mixed) if result.error] == [5]
    assert_close(alone, [result for result in mixed if not result.error])
