"""What a file of rows says of the run that it is of, and where that run goes on."""

from __future__ import annotations

import dataclasses
import json
import random
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from zsclip import resuming
from zsclip.cache import TextCache
from zsclip.classifier import Classifier
from zsclip.encoders import Model
from zsclip.engines.base import Floats
from zsclip.engines.fake import FakeEngine
from zsclip.errors import UsageError
from zsclip.inputs import Input
from zsclip.results import Failure
from zsclip.resuming import Run
from zsclip.writers import JsonLinesWriter


def make(model: Model, **options: object) -> Classifier:
    return Classifier(["cat", "dog", "tree"], model=model, templates="none", **options)  # type: ignore[arg-type]


class Noting(FakeEngine):
    """Remembers how many pictures came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def encode_images(self, pixels: Floats, *, full_precision: bool = False) -> Floats:
        self.sizes.append(len(pixels))
        return super().encode_images(pixels)


@pytest.fixture
def noting(fake_model: Model) -> Model:
    return Model(fake_model.local, cache=TextCache(None), engine=Noting())


@pytest.fixture
def many(tmp_path: Path) -> list[Input]:
    """Pictures and missing files, in turn and in long rows."""
    picture = tmp_path / "p.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    there = random.Random(3).choices([True, False], [3, 1], k=150)
    there += [False] * 600 + [True] * 40 + [False] * 300 + [True] * 10
    names = [str(picture) if is_there else str(tmp_path / "none.png") for is_there in there]
    return [Input(name, name) for name in names]


def written(path: Path, classifier: Classifier, inputs: list[Input]) -> list[bytes]:
    with path.open("wb") as file:
        writer = JsonLinesWriter(file, run=Run.of(classifier).digest)
        for result in classifier.classify_inputs(inputs):
            writer.write(result)
    return path.read_bytes().splitlines(keepends=True)


# the run


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 1},
        {"scores": "cosine"},
        {"min_score": 0.5},
        {"min_cosine": 0.5},
        {"decode": "fast"},
        {"exact": True},
        {"background": "black"},
        {"fit": "views"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_what_changes_a_row_is_another_run(fake_model: Model, options: dict[str, object]) -> None:
    plain, other = Run.of(make(fake_model)), Run.of(make(fake_model, **options))

    assert plain.digest != other.digest


@pytest.mark.parametrize("options", [{"max_pixels": 7}, {"batch_size": 3}, {"background": "#fff"}])
def test_what_changes_no_score_is_the_same_run(
    fake_model: Model, options: dict[str, object]
) -> None:
    assert Run.of(make(fake_model, **options)) == Run.of(make(fake_model))


def test_other_labels_weights_preprocessing_and_precision_are_other_runs(fake_model: Model) -> None:
    local = fake_model.local
    size = dataclasses.replace(local.config.preprocess, size=99)
    others = [
        dataclasses.replace(local, digest="e" * 64),
        dataclasses.replace(local, config=dataclasses.replace(local.config, preprocess=size)),
    ]
    models = [Model(other, cache=TextCache(None), engine=FakeEngine()) for other in others]
    half = Model(local, cache=TextCache(None), engine=FakeEngine())
    half.choice = dataclasses.replace(half.choice, precision="bf16")

    runs = [Run.of(make(model)).digest for model in (fake_model, *models, half)]
    labels = Classifier(["cat", "dog"], model=fake_model, templates="none")

    assert len({*runs, Run.of(labels).digest}) == 5


# batches


@pytest.mark.parametrize("batch_size", [None, 7])
def test_every_picture_that_is_left_is_encoded_in_a_batch_of_the_same_size(
    noting: Model, many: list[Input], tmp_path: Path, unhurried: None, batch_size: int | None
) -> None:
    path = tmp_path / "out.jsonl"
    lines = written(path, make(noting, batch_size=batch_size), many)
    engine = noting.engine
    assert isinstance(engine, Noting)
    whole = engine.sizes

    for rows in (40, 149, 700):
        path.write_bytes(b"".join(lines[:rows]))
        classifier = make(noting, batch_size=batch_size)
        engine.sizes = []
        inputs = iter(many)
        done = resuming.match(path, inputs, run=Run.of(classifier), batch_size=batch_size)
        rest = list(resuming.rest(classifier, inputs, path=path, done=done))

        assert len(rest) == len(many) - rows
        assert engine.sizes == whole[len(whole) - len(engine.sizes) :], rows
        assert sum(engine.sizes) <= sum(r.error is None for r in rest) + max(31, batch_size or 0)


def test_memory_does_not_grow_with_the_rows_that_are_done(
    fake_model: Model, tmp_path: Path
) -> None:
    classifier = make(fake_model, batch_size=1)
    path = tmp_path / "out.jsonl"
    failure = Failure("not_found", "no such file")
    first, *_ = written(path, classifier, [Input("a", failure)])
    path.write_bytes(first * 5_000)  # as text alone, 800 kB
    run = Run.of(classifier)
    inputs = (Input("a", failure) for _ in range(5_001))

    tracemalloc.start()
    done = resuming.match(path, inputs, run=run, batch_size=1)
    results = resuming.rest(classifier, inputs, path=path, done=done)
    left, failed = len(list(results)), sum(1 for _ in resuming.failed_paths(path, done))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (done.rows, left, failed) == (5_000, 1, 5_000)
    assert peak_bytes < 500_000, peak_bytes


# what is refused


@pytest.fixture
def done(fake_model: Model, tmp_path: Path) -> tuple[Path, Classifier, list[Input]]:
    """A file of three rows, what made it, and its inputs."""
    classifier = make(fake_model)
    inputs = [Input(name, Failure("not_found", "no such file")) for name in ("a", "b", "c")]
    path = tmp_path / "out.jsonl"
    written(path, classifier, inputs)
    return path, classifier, inputs


def refusal(path: Path, classifier: Classifier, inputs: list[Input]) -> str:
    before = path.read_bytes()
    with pytest.raises(UsageError) as refused:
        resuming.match(path, iter(inputs), run=Run.of(classifier), batch_size=None)
    assert path.read_bytes() == before
    return refused.value.message.removeprefix(f"{path}: ")


def test_the_first_input_that_differs_is_named(done) -> None:  # type: ignore[no-untyped-def]
    path, classifier, inputs = done

    other = [inputs[0], Input("x", "x"), inputs[2]]

    assert refusal(path, classifier, other) == "line 2: is of 'b', but that input is 'x' now"
    assert refusal(path, classifier, inputs[:2]) == (
        "line 3: is of 'c', which is not among the inputs any more"
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "tiny@000000"}, "line 1: is of another run: model tiny@000000, not ViT-B/32@ff"),
        ({"head": "0" * 12}, "line 1: is of another run: head 000000000000, not "),
        ({"revision": "c0ffee"}, "line 1: is of another run: revision c0ffee, not none"),
        ({"score_kind": "cosine"}, "line 1: is of another run: score_kind cosine, not softmax"),
        ({"scores": [{}]}, "line 1: is of another run: 1 labels a row, not 3"),
        ({}, "line 1: is of another run: another precision, threshold, or way of decoding"),
    ],
)
def test_what_differs_in_another_run_is_named(done, change: dict[str, object], named: str) -> None:  # type: ignore[no-untyped-def]
    path, classifier, inputs = done
    row = json.loads(path.read_bytes().splitlines()[0])
    path.write_text(json.dumps(row | {"run": "0" * 12} | change) + "\n")

    assert refusal(path, classifier, inputs).startswith(named)


@pytest.mark.parametrize(
    "content",
    [
        b"path,status\n",
        b"{}\n",
        b"[]\n",
        b"3\n",
        b"\xff\xfe\n",
        b'{"path":3,"status":"ok"}\n',
        b'{"path":null,"status":"ok"}\n',
        b'{"path":"a","status":"error"}\n',
        b"[" * 100_000 + b"\n",
        b'{"path":"a","status":"ok"}\n\n',
        b"precious",
        b"\0\1\2\3",
    ],
    ids=lambda content: repr(content[:20]),
)
def test_a_file_that_is_none_of_ours_is_refused_and_not_changed(  # type: ignore[no-untyped-def]
    done, content: bytes
) -> None:
    path, classifier, inputs = done
    path.write_bytes(content)

    assert "of zsclip" in refusal(path, classifier, inputs) or "another run" in refusal(
        path, classifier, inputs
    )


@pytest.mark.parametrize("tail", [b"", b"{", b'{"path"', b'{"path":"c","sta', b"\0" * 9])
def test_a_last_line_that_was_cut_is_not_done(done, tail: bytes) -> None:  # type: ignore[no-untyped-def]
    path, classifier, inputs = done
    whole = path.read_bytes()
    path.write_bytes(whole + tail)

    found = resuming.match(path, iter(inputs), run=Run.of(classifier), batch_size=None)

    assert (found.rows, found.size_bytes) == (3, len(whole))


def test_paths_that_are_not_utf8_are_matched(fake_model: Model, tmp_path: Path) -> None:
    classifier = make(fake_model)
    names = [b"caf\xe9".decode("utf-8", "surrogateescape"), "\u732b\n", '"status":"error"']
    inputs = [Input(name, name) for name in names]
    path = tmp_path / "out.jsonl"
    written(path, classifier, inputs)

    found = resuming.match(path, iter(inputs), run=Run.of(classifier), batch_size=None)

    assert found.rows == 3
    assert list(resuming.failed_paths(path, found)) == names


def test_a_picture_whose_features_were_not_finite_takes_its_place_in_a_batch_again() -> None:
    row = resuming.Row("a.png", Failure("non_finite", "the image features are not finite"))

    assert row.was_encoded and row.input == Input("a.png", "a.png")
