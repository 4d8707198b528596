"""`--fit`: which part of a picture the model sees, and how several views become one answer."""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

import zsclip
from zsclip import images, pixels, predictions
from zsclip.decoding import DEFAULT, FITS, Decoding
from zsclip.embedding import BATCH_SIZE, embed_batches, open_image_cache
from zsclip.engines.fake import FakeEngine
from zsclip.engines.image_encoder import NOT_FINITE, ImageEncoder
from zsclip.errors import UsageError
from zsclip.inputs import Input
from zsclip.models import Preprocess
from zsclip.readers.base import LabelledPictures
from zsclip.scoring import normalize

PLAIN = Preprocess(10, (0, 0, 0), (1, 1, 1), "bilinear")
MODES = ("shortest", "squash", "longest")
RED, GREEN, BLUE = (1, 0, 0), (0, 1, 0), (0, 0, 1)
CAT = Path(__file__).resolve().parents[1] / "examples" / "images" / "cat.png"


def striped(width=300, height=100):
    """Red, green and blue from one end of the longer side to the other."""
    image = Image.new("RGB", (width, height))
    third = max(width, height) // 3
    for number, colour in enumerate(("red", "lime", "blue")):
        at = (third * number, 0) if width > height else (0, third * number)
        image.paste(Image.new("RGB", (third, third), colour), at)
    return image


def noise(width, height):
    values = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def colours(views):
    """The colour in the middle of each view."""
    return [tuple(np.round(view[:, 5, 5], 2).tolist()) for view in views]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# views of one picture


@pytest.mark.parametrize("resize_mode", MODES)
@pytest.mark.parametrize("shape", [(300, 100), (61, 90), (64, 64), (1, 1), (1, 20_000)])
def test_crop_is_what_the_model_was_trained_with_to_the_bit(shape, resize_mode):
    preprocess = Preprocess(32, resize_mode=resize_mode)
    image = noise(*shape)

    (view,) = pixels.views(image, preprocess, fit="crop")

    assert np.array_equal(view, pixels.prepare(image, preprocess))


def test_the_crop_of_a_wide_picture_shows_its_middle_only():
    (view,) = pixels.views(striped(), PLAIN, fit="crop")

    assert set(colours([view])) == {GREEN} and np.median(view[0]) == np.median(view[2]) == 0


@pytest.mark.parametrize("shape", [(300, 100), (100, 300)], ids=["wide", "tall"])
def test_squash_shows_all_whatever_its_shape(shape):
    (view,) = pixels.views(striped(*shape), PLAIN, fit="squash")

    along = view[:, 5, [1, 5, 8]] if shape[0] > shape[1] else view[:, [1, 5, 8], 5]
    assert [tuple(colour) for colour in np.round(along.T, 2).tolist()] == [RED, GREEN, BLUE]


@pytest.mark.parametrize("shape", [(300, 100), (100, 300)], ids=["wide", "tall"])
def test_pad_shows_all_in_its_own_shape(shape):
    (view,) = pixels.views(striped(*shape), PLAIN, fit="pad")

    view = view if shape[0] > shape[1] else view.swapaxes(1, 2)
    assert [tuple(c) for c in np.round(view[:, 4, [1, 5, 8]].T, 2).tolist()] == [RED, GREEN, BLUE]
    assert (view[:, :3] == view[:, 7:]).all() and view[:, :3].max() < 0.02


@pytest.mark.parametrize("shape", [(300, 100), (100, 300)], ids=["wide", "tall"])
def test_pad_fills_with_the_colour_of_the_sides_that_it_pads(shape):
    image = Image.new("RGB", shape, "navy")
    image.paste("white", (20, 20, 80, 80))

    (view,) = pixels.views(image, PLAIN, fit="pad")

    for row, column in ((0, 0), (0, 9), (9, 0), (9, 9)):
        assert np.allclose(view[:, row, column], [0, 0, 128 / 255])


def test_a_spot_on_a_side_does_not_change_the_colour_of_the_padding():
    image = Image.new("RGB", (300, 100), "navy")
    image.paste("yellow", (0, 0, 100, 100))

    (view,) = pixels.views(image, PLAIN, fit="pad")

    assert np.allclose(view[:, 0, 0], [0, 0, 128 / 255])


def test_views_are_both_ends_the_middle_and_the_whole():
    image = striped()

    left, middle, right, whole = pixels.views(image, PLAIN, fit="views")

    assert colours([left, middle, right]) == [RED, GREEN, BLUE]
    assert np.array_equal(whole, pixels.views(image, PLAIN, fit="pad")[0])


def test_views_of_a_tall_picture_go_from_top_to_bottom():
    views = pixels.views(striped(100, 300), PLAIN, fit="views")

    assert colours(views[:3]) == [RED, GREEN, BLUE]


@pytest.mark.parametrize("resize_mode", MODES)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(64, 64), (1000, 1001)])
def test_a_picture_that_nothing_is_cropped_of_has_one_view(shape, fit, resize_mode):
    preprocess = Preprocess(32, resize_mode=resize_mode)
    image = noise(*shape)

    (view,) = pixels.views(image, preprocess, fit=fit)

    if fit in ("crop", "views") or shape[0] == shape[1]:
        assert np.array_equal(view, pixels.prepare(image, preprocess))


@pytest.mark.parametrize(("resize_mode", "fit"), [("squash", "squash"), ("longest", "pad")])
def test_what_a_model_was_trained_with_is_the_same_by_another_name(resize_mode, fit):
    preprocess = Preprocess(32, resize_mode=resize_mode, fill_color=40)
    image = noise(90, 61)

    (view,) = pixels.views(image, preprocess, fit=fit)

    assert np.array_equal(view, pixels.prepare(image, preprocess))


@pytest.mark.parametrize("resize_mode", ["squash", "longest"])
def test_the_whole_among_the_views_is_as_the_model_was_trained(resize_mode):
    preprocess = Preprocess(32, resize_mode=resize_mode)
    image = noise(90, 61)

    views = pixels.views(image, preprocess, fit="views")

    assert len(views) == 4 and np.array_equal(views[3], pixels.prepare(image, preprocess))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1, 65_000), (65_000, 1), (2, 1), (3, 2)])
def test_any_shape_has_views(shape, fit):
    views = pixels.views(Image.new("RGB", shape, "red"), PLAIN, fit=fit)

    assert views.shape[1:] == (3, 10, 10) and np.allclose(views[:, 0], 1)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb_as_with_exact(mode, fit):
    image = striped().convert("L" if mode == "LA" else mode).convert(mode)

    views = pixels.views(image, PLAIN, fit=fit)

    assert views.dtype == np.float32 and 0 <= views.min() <= views.max() <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(1999, 1001), (1001, 1999)])
def test_a_jpeg_that_is_decoded_fast_has_the_same_views(shape, fit):
    small = noise(shape[0] // 40, shape[1] // 40)
    content = encoded(small.resize(shape, Image.Resampling.BICUBIC), "JPEG", quality=95)
    preprocess = Preprocess(64)

    exact, fast = (images.load(content, Decoding(how), size=64) for how in ("exact", "fast"))
    apart = pixels.views(fast.image, preprocess, box=fast.box, fit=fit) - pixels.views(
        exact.image, preprocess, fit=fit
    )

    assert fast.box is not None and fast.image.width < shape[0] / 2
    apart *= np.float32(preprocess.std)[:, None, None]
    assert 20 * np.log10(1 / np.sqrt(np.square(apart).mean())) > 45


# what they are together


class Numbered(FakeEngine):
    """Notes how many pictures each call has; features tell the value of the first pixel."""

    def __init__(self):
        super().__init__(dimension=3)
        self.sizes = []

    def encode_images(self, pixels, *, full_precision=False):
        self.sizes.append(len(pixels))
        first = pixels[:, 0, 0, 0]
        return normalize(np.stack([first, 1 - first, np.full_like(first, 0.5)], axis=1))


def view(first, *, spread):
    """A view (3, 4, 4) with this first pixel, and a variance of `spread` squared."""
    signs = np.tile([1.0, -1.0], 24).reshape(3, 4, 4)
    return (first - spread + spread * signs).astype(np.float32)


def test_one_view_gives_its_features_to_the_bit():
    picture = view(0.3, spread=0.1)[None]

    ((answer,), (plain,)) = (
        ImageEncoder(Numbered()).encode_views([picture], most=8),
        ImageEncoder(Numbered()).encode(picture),
    )

    assert np.array_equal(answer, plain)


def test_views_are_weighed_by_the_variance_of_their_pixels():
    picture = np.stack([view(0.1, spread=0.1), view(0.9, spread=0.3)])
    engine = Numbered()

    (answer,) = ImageEncoder(engine).encode_views([picture], most=8)

    one, other = engine.encode_images(picture)
    assert np.allclose(answer, normalize(one + 9 * other), atol=1e-6)


def test_an_empty_view_says_nothing():
    picture = np.stack([view(0.1, spread=0.0), view(0.9, spread=0.3)])

    answer, alone = ImageEncoder(Numbered()).encode_views([picture, picture[1:]], most=8)

    assert np.allclose(answer, alone, atol=1e-6)


def test_a_picture_of_empty_views_has_their_average():
    picture = np.stack([view(0.25, spread=0.0), view(0.75, spread=0.0)])

    (answer,) = ImageEncoder(Numbered()).encode_views([picture], most=8)

    assert answer[0] == pytest.approx(answer[1]) and np.linalg.norm(answer) == pytest.approx(1)


def test_batches_are_counted_by_views():
    engine = Numbered()
    picture = np.stack([view(0.1 * n, spread=0.1) for n in range(4)])

    answers = ImageEncoder(engine).encode_views([picture] * 5, most=8)

    assert engine.sizes == [8, 8, 4] and len(answers) == 5


def test_a_view_that_cannot_be_encoded_fails_its_picture_alone():
    class Broken(Numbered):
        def encode_images(self, pixels, *, full_precision=False):
            features = super().encode_images(pixels)
            return np.where(pixels[:, 0, :1, 0] > 0.8, np.nan, features)

    good = np.stack([view(0.1, spread=0.1), view(0.2, spread=0.1)])
    bad = np.stack([view(0.1, spread=0.1), view(0.9, spread=0.1)])

    first, failed, last = ImageEncoder(Broken()).encode_views([good, bad, good], most=8)

    assert failed == NOT_FINITE and np.array_equal(first, last)


# through a model


def embed(model, *pictures, fit, **options):
    inputs = [Input(str(number), picture) for number, picture in enumerate(pictures)]
    decoding = model.decoding.but(fit=fit)
    batches = embed_batches(inputs, model=model, decoding=decoding, **options)
    return [item for batch in batches for item in batch]


def test_a_wide_picture_is_encoded_four_times_and_a_square_one_once(fake_model):
    embed(fake_model, striped(), striped(100, 300), Image.new("RGB", (50, 50)), fit="views")

    assert fake_model.engine.image_calls == 4 + 4 + 1


def test_no_more_views_are_encoded_together_than_a_batch_has(fake_model, monkeypatch):
    sizes = []
    encode = fake_model.engine.encode_images
    monkeypatch.setattr(
        fake_model.engine, "encode_images", lambda p, **k: sizes.append(len(p)) or encode(p, **k)
    )

    found = embed(fake_model, *[striped()] * 7, fit="views", batch_size=3)

    assert len(found) == 7 and sizes == [3, 3, 3, 3] * 2 + [3, 1]


def test_few_pictures_are_held_where_each_has_several_views(fake_model):
    read = itertools.count()
    endless = (Input(None, np.full((9, 30, 3), next(read) % 256, np.uint8)) for _ in read)
    decoding = fake_model.decoding.but(fit="views")

    batches = embed_batches(endless, model=fake_model, decoding=decoding)
    taken = sum(len(batch) for batch in itertools.islice(batches, 12))
    held = next(read) / 2 - taken
    batches.close()

    assert held <= 2 * BATCH_SIZE / 4 + 8, held


@pytest.mark.parametrize("fit", FITS)
def test_a_model_a_classifier_and_a_run_have_the_same_features(fake_model, fit):
    pictures = [striped(), noise(30, 50), noise(20, 20)]
    fake_model.decoding = Decoding(fit=fit)

    by_run = np.stack([item.features for item in embed(fake_model, *pictures, fit=fit)])
    by_model = fake_model.encode_image(pictures)
    classifier = zsclip.Classifier(["a", "b"], model=fake_model, templates="none", top_k=0)
    results = list(classifier.classify(pictures))

    assert np.array_equal(by_run, by_model)
    for result, row in zip(results, by_model @ classifier.head.weight.T, strict=True):
        found = {one.label: one.cosine for one in result.scores}
        assert [found["a"], found["b"]] == pytest.approx(row.tolist(), abs=1e-6)


def test_every_way_has_its_own_rows_in_the_image_cache(fake_model):
    cache = open_image_cache(fake_model)
    content = encoded(striped())

    for fit in (*FITS, *FITS):
        embed(fake_model, content, fit=fit, image_cache=cache)

    assert fake_model.engine.image_calls == 1 + 1 + 1 + 4


def test_features_of_views_come_back_from_the_cache_to_the_bit(fake_model):
    contents = [encoded(striped()), encoded(noise(30, 90))]

    first, second = (
        embed(fake_model, *contents, fit="views", image_cache=open_image_cache(fake_model))
        for _ in range(2)
    )

    assert fake_model.engine.image_calls == 8
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.features, other.features)


def test_an_evaluation_with_another_way_is_another_run(fake_model):
    pictures = LabelledPictures("set", (("a",), ("b",)), read=lambda: iter(()))
    digests = set()
    for fit in FITS:
        classifier = zsclip.Classifier(["a", "b"], model=fake_model, templates="none", fit=fit)
        digests.add(predictions.run_digest(pictures, [classifier], split=None))

    assert len(digests) == 4


def test_one_picture_cannot_be_prepared_where_there_are_several_views(fake_model):
    fake_model.decoding = Decoding(fit="views")

    with pytest.raises(UsageError, match="several pictures"):
        fake_model.prepare(striped())


def test_prepare_fits_as_it_is_told(fake_model):
    fake_model.decoding = Decoding(fit="squash")

    prepared = fake_model.prepare(striped())

    preprocess = fake_model.local.config.preprocess
    assert np.array_equal(prepared, pixels.views(striped(), preprocess, fit="squash")[0])


def test_a_way_that_is_none_is_refused():
    with pytest.raises(UsageError, match="'stretch' is not one of crop, pad, squash, views"):
        Decoding(fit="stretch")


def test_what_is_not_given_stays():
    assert DEFAULT.but(fit="pad").but(decode="fast").fit == "pad"


# with the embedded model, as users do


@pytest.fixture(scope="module")
def cat_at_the_left(tmp_path_factory):
    """A drawing of a cat at the left end of a wide picture."""
    drawing = Image.open(CAT).convert("RGB").resize((96, 96))
    canvas = Image.new("RGB", (320, 96), drawing.getpixel((0, 0)))
    canvas.paste(drawing, (0, 0))
    path = tmp_path_factory.mktemp("wide") / "cat.png"
    canvas.save(path)
    return path


def test_what_is_cropped_away_is_seen_in_views(zsclip, cat_at_the_left):
    arguments = ("classify", cat_at_the_left, "--labels", "cat,car,pizza,house", "--json")

    crop, views = (
        zsclip(*arguments, "--model", "tiny", "--fit", fit).rows[0] for fit in ("crop", "views")
    )

    assert views["label"] == "cat"
    (of_the_crop,) = (one["score"] for one in crop["scores"] if one["label"] == "cat")
    assert views["score"] > of_the_crop + 0.2


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_the_program_refuses_a_way_that_is_none(zsclip, picture, command):
    labels = ("--labels", "a,b") if command == "classify" else ()

    ran = zsclip(command, picture("a.png"), *labels, "--model", "tiny", "--fit", "zoom")

    assert ran.code == 2 and "'zoom' is not one of crop, pad, squash, views" in ran.stderr


def test_embed_hands_it_on(zsclip, cat_at_the_left):
    rows = [
        zsclip("embed", cat_at_the_left, "--model", "tiny", "--fit", fit).rows[0] for fit in FITS
    ]

    assert len({row["fingerprint"] for row in rows}) == 4
    assert len({tuple(row["features"]) for row in rows}) == 4


def test_evaluate_hands_it_on(zsclip, cat_at_the_left, tmp_path):
    folder = tmp_path / "set"
    for name in ("cat", "car"):
        (folder / name).mkdir(parents=True)
    (folder / "cat" / "1.png").write_bytes(cat_at_the_left.read_bytes())
    Image.open(cat_at_the_left).rotate(180).save(folder / "car" / "1.png")

    scores = set()
    for fit in FITS:
        file = tmp_path / f"{fit}.jsonl"
        ran = zsclip(
            "evaluate", "--folder", folder, "--templates", "photo", "--model", "tiny", "--json",
            "--draws", "100", "--fit", fit, "--predictions", file,
        )  # fmt: skip
        assert ran.code == 0, ran.stderr
        scores.add(file.read_text().splitlines()[0].partition('"run"')[0])

    assert len(scores) == 4


# the script that measures it


@pytest.fixture
def script(monkeypatch):
    """examples/pretrain_tiny/score_fit.py, as running it makes its modules importable."""
    monkeypatch.setattr(sys, "path", [str(CAT.parents[1] / "pretrain_tiny"), *sys.path])
    import score_fit

    return score_fit


def test_drawings_are_where_a_canvas_says(script):
    drawing = np.full((96, 96, 4), (200, 0, 0, 255), np.uint8)
    generator = np.random.default_rng(0)

    for canvas in script.CANVASES:
        picture = script.paint(drawing, canvas, "white", generator)
        left, upper, right, lower = ImageChops.invert(picture).getbbox()
        side = round(canvas.share * script.SIDE)
        assert (right - left, lower - upper) == (side, side), canvas
        if canvas.place is not None and max(canvas.shape) > 1:
            start = max(left, upper)
            assert (start < script.SIDE / 10) == (canvas.place == 0), canvas


def test_a_row_of_the_table_has_every_way(script):
    image = Image.open(CAT.with_name("key.png")).convert("RGBA").resize((96, 96))
    drawing = np.asarray(image.convert("RGBa"))
    nouns = list(script.read_nouns())
    canvas = next(canvas for canvas in script.CANVASES if canvas.place == 0 and canvas.shape[0] > 1)

    row = script.row(
        script.Scorer(), canvas, [drawing] * 2, np.array([nouns.index("key")] * 2), ground="white"
    )

    cells = row.strip("| ").split(" | ")
    assert len(cells) == 1 + len(FITS) and cells[1].startswith("0.0") and cells[4].startswith("100")
