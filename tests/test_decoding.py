"""What `--decode`, `--exact`, `--background` and the limits do to a picture and its embedding."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import with_compiled
from photos import JPEGS, as_jpeg, synthetic_photo
from PIL import Image, ImageCms, ImageDraw

import zsclip
from zsclip import images, pixels
from zsclip.cli import options
from zsclip.data_files import TINY_FOLDER
from zsclip.decoding import DEFAULT, MAX_BYTES, MAX_PIXELS, Decoding
from zsclip.encoders import Model
from zsclip.errors import PictureError, UsageError
from zsclip.models import Preprocess

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FAST = Decoding("fast")
ORIENTATION = 0x0112


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width, height, *, content=None):
    """A grey PNG of zeros, made without making the picture; or with other content."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (width + 1)) if content is None else content, 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


# what can be chosen


@pytest.mark.parametrize(
    "choices",
    [
        {"decode": "quick"},
        {"background": "no colour"},
        {"background": "#12345"},
        {"background": "#11223344"},
        {"max_pixels": 0},
        {"max_bytes": 0},
        {"exact": True, "decode": "fast"},
        {"exact": True, "background": "black"},
    ],
    ids=repr,
)
def test_choices_that_mean_nothing_are_refused(choices):
    with pytest.raises(UsageError):
        Decoding(**choices)


@pytest.mark.parametrize(
    ("background", "colour"),
    [("white", (255, 255, 255)), ("Navy", (0, 0, 128)), ("#0a0B0c", (10, 11, 12))],
)
def test_a_background_is_a_name_or_a_number(background, colour):
    assert Decoding(background=background).colour == colour


def test_what_is_not_given_stays():
    fast = DEFAULT.but(decode="fast", background="red")

    assert fast.but(max_pixels=5) == Decoding("fast", False, "red", 5)
    assert fast.but(max_bytes=7).but(allow_truncated=True) == Decoding(
        "fast", background="red", max_bytes=7, allow_truncated=True
    )


def test_transparent_pixels_lie_over_the_background():
    clear = Image.new("RGBA", (2, 2), (255, 0, 0, 0))

    loaded = images.load(clear, Decoding(background="#0a141e"))

    assert loaded.image.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("pillows_limit", [100, 20_000])
def test_more_or_fewer_pixels_can_be_allowed(monkeypatch, pillows_limit):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_limit)
    content = png(50, 40)

    allowed = images.load(content, Decoding(max_pixels=2000))
    with pytest.raises(PictureError) as caught:
        images.load(content, Decoding(max_pixels=1999))

    assert allowed.image.size == (50, 40)
    assert caught.value.message == "50 x 40 is more than 1,999 pixels (--max-pixels)"


def test_a_file_may_have_as_many_bytes_as_are_allowed(tmp_path):
    content = png(50, 40)
    (tmp_path / "a.png").write_bytes(content)

    for source in (content, tmp_path / "a.png"):
        allowed = images.load(source, Decoding(max_bytes=len(content)))
        with pytest.raises(PictureError) as caught:
            images.load(source, Decoding(max_bytes=len(content) - 1))

        assert allowed.image.size == (50, 40)
        assert caught.value.code == "too_large_file"


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # without its blocks on the disk

    with pytest.raises(PictureError) as caught:
        images.load(path)

    assert caught.value.message == "1,099,511,627,776 bytes are more than 500,000,000 (--max-bytes)"


# decode fast


@pytest.fixture(scope="module")
def photo():
    return synthetic_photo()


_WORST_DB = 50


def fast_against_exact(content, *ways):
    """The size that was decoded, and the PSNR in dB of the prepared (3, S, S), the worst of all."""
    exact = images.load(content).image
    fast = images.load(content, FAST, size=max(way.size for way in ways))
    errors = []
    for way in ways:
        ours = pixels.prepare(fast.image, way, box=fast.box)
        apart = (ours - pixels.prepare(exact, way)) * np.float32(way.std)[:, None, None]
        errors.append(np.mean(np.square(apart)))
    return fast.image.size, 10 * np.log10(1 / max(errors))


@pytest.mark.parametrize("kind", JPEGS)
def test_photos_decoded_fast_are_within_50_db(photo, kind):
    size, decibels = fast_against_exact(
        as_jpeg(photo, kind),
        Preprocess(256),
        Preprocess(256, interpolation="bilinear", resize_mode="squash"),
    )

    assert size == ((2000, 1500) if kind == "4:2:2" else (1000, 750))
    assert decibels >= _WORST_DB, decibels


@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
def test_photos_of_odd_size_decoded_fast_lose_no_fraction_of_a_pixel(photo, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    odd = photo.crop((0, 0, 2309, 1801))  # in eighths 288.6 x 225.1

    size, decibels = fast_against_exact(
        encoded(odd, "JPEG", quality=90, exif=exif), Preprocess(80, resize_mode="squash")
    )

    assert size == ((289, 226) if orientation < 5 else (226, 289))
    assert decibels >= _WORST_DB, decibels


@pytest.mark.parametrize(("short", "halved"), [(1231, 1231), (1232, 616), (2463, 1232)])
def test_no_side_is_decoded_below_two_and_three_quarters_of_what_is_needed(short, halved):
    content = encoded(Image.new("RGB", (short, 3000)), "JPEG")

    assert images.load(content, FAST, size=224).image.width == halved


def test_only_jpegs_are_decoded_at_another_scale():
    image = Image.linear_gradient("L").resize((1600, 1600))

    assert images.load(encoded(image, "PNG"), FAST, size=32).image.size == (1600, 1600)
    assert images.load(image, FAST, size=32).image.size == (1600, 1600)
    assert images.load(encoded(image, "JPEG"), FAST, size=32).image.size == (200, 200)


def test_small_jpegs_are_the_same_to_the_bit_whether_decoded_fast_or_exactly():
    content = encoded(Image.linear_gradient("L").resize((400, 300)), "JPEG")

    fast = images.load(content, FAST, size=224)

    assert fast.box is None and fast.image == images.load(content).image


# embeddings


@pytest.fixture(scope="module")
def tiny(compiled_tiny, tmp_path_factory):
    """The embedded model."""
    cache = with_compiled(compiled_tiny, tmp_path_factory.mktemp("cache"))
    return zsclip.load_model("tiny", engine="onnx", cache_dir=cache)


@pytest.fixture(scope="module")
def exact_tiny(tiny):
    """The same, loading pictures as open_clip does."""
    return Model(tiny.local, cache=tiny.cache, engine=tiny.engine, decoding=Decoding(exact=True))


@pytest.fixture(scope="module")
def open_clips(tiny):
    """open_clip's own way from a path to a feature, (D,)."""
    import open_clip
    import torch

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{TINY_FOLDER}")
    model.eval()

    def encode(path):
        with torch.inference_mode():
            pixels = transform(Image.open(path))[None]
            return model.encode_image(pixels, normalize=True)[0].numpy()

    return encode


@pytest.fixture(scope="module")
def pizza():
    """A picture that `tiny` knows, not square."""
    with Image.open(EXAMPLES / "images" / "pizza.jpg") as image:
        return image.convert("RGB").resize((150, 120))


def cosine(model, ours, theirs):
    first, second = model.encode_image([ours, theirs])
    return float(first @ second)


def transparent(image, mode):
    """The picture with a hole, and what it looks like over white."""
    hole = Image.new("L", image.size, 255)
    ImageDraw.Draw(hole).ellipse((20, 20, 70, 90), fill=0)
    clear = image.convert("RGB")
    clear.putalpha(hole)
    values = np.asarray(clear.convert("RGB").convert("L" if mode == "LA" else "RGB"), float)
    alpha = np.asarray(hole, float) / 255
    alpha = alpha if values.ndim == 2 else alpha[..., None]
    over_white = Image.fromarray((values * alpha + 255 * (1 - alpha)).astype(np.uint8))
    return clear.convert(mode), over_white.convert("RGB")


def ycck(image):
    """A CMYK JPEG whose colours are stored as YCbCr, as Adobe's programs write them."""
    *colours, black = image.convert("CMYK").split()
    luma, blue, red = (
        channel.point(lambda v: 255 - v)  # Pillow writes CMYK inverted
        for channel in Image.merge("RGB", colours).convert("YCbCr").split()
    )
    file = encoded(Image.merge("CMYK", (luma, blue, red, black)), "JPEG", quality=95)
    place = file.index(b"Adobe") + 11  # APP14's transform: 0 is none, 2 is YCCK
    return file[:place] + b"\x02" + file[place + 1 :]


def lab(image):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return ImageCms.applyTransform(image, to_lab)


@pytest.mark.accepts("A11")
@pytest.mark.parametrize("kind", ["CMYK", "YCCK", "Lab", "YCbCr", "HSV"])
def test_a11_other_colour_spaces_are_like_their_rgb_twin(tiny, pizza, kind):
    source = {
        "CMYK": lambda: encoded(pizza.convert("CMYK"), "JPEG", quality=95),
        "YCCK": lambda: ycck(pizza),
        "Lab": lambda: encoded(lab(pizza), "TIFF"),
        "YCbCr": lambda: encoded(pizza.convert("YCbCr"), "TIFF"),
        "HSV": lambda: pizza.convert("HSV"),
    }[kind]()

    assert cosine(tiny, source, pizza) > 0.98


def test_the_ycck_jpeg_of_the_test_is_one(pizza):
    colours = Image.open(io.BytesIO(ycck(pizza))).convert("RGB")

    difference = np.asarray(colours, int) - np.asarray(pizza, int)
    assert np.abs(difference).mean() < 4


@pytest.mark.accepts("A12")
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM", "memory", "32-bit"])
def test_a12_sixteen_bit_grey_is_like_its_eight_bit_twin(tiny, pizza, kind):
    grey = pizza.convert("L")
    fraction = np.random.default_rng(0).integers(-128, 129, (120, 150))
    deep = Image.fromarray(np.clip(np.asarray(grey, int) * 257 + fraction, 0, 65535).astype("u2"))
    deep = deep.convert("I") if kind == "32-bit" else deep
    source = deep if kind in ("memory", "32-bit") else encoded(deep, kind)

    ours, theirs = zsclip.Classifier(["pizza", "cat", "key"], model=tiny).classify([source, grey])

    assert ours.label == theirs.label and cosine(tiny, source, grey) > 0.98


@pytest.mark.accepts("A14")
@pytest.mark.parametrize("kind", ["1", "P", "PA", "P with a clear colour", "LA", "RGBA"])
def test_a14_few_colours_and_transparency_are_like_their_rgb_twin_over_white(tiny, pizza, kind):
    if kind == "1":
        source = pizza.convert("1")
        twin = Image.fromarray(np.asarray(source).astype(np.uint8) * 255).convert("RGB")
        source = encoded(source, "PNG")
    elif kind == "P":
        source, twin = encoded(pizza.quantize(200), "PNG"), pizza
    elif kind == "P with a clear colour":
        clear, twin = transparent(pizza, "RGBA")
        source = encoded(clear.quantize(200), "PNG")
    elif kind == "PA":
        grey, twin = transparent(pizza, "LA")
        source = grey.convert("PA")
        source.putalpha(grey.getchannel("A"))  # which the conversion drops
    else:
        clear, twin = transparent(pizza, kind)
        source = encoded(clear, "PNG")

    assert cosine(tiny, source, twin) > 0.98


TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,  # undone by turning back
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(image, orientation, kind):
    """A file whose pixels lie turned, and say so."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lying = image.transpose(TURNED[orientation]) if orientation > 1 else image
    return encoded(lying, kind, exif=exif, quality=95)


@pytest.mark.accepts("A15")
@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "AVIF", "PNG"])
def test_a15_pictures_that_lie_turned_score_as_upright(tiny, pizza, kind):
    classifier = zsclip.Classifier(["pizza", "cat", "house", "key"], model=tiny)
    files = [turned(pizza, orientation, kind) for orientation in range(1, 9)]

    upright, *results = classifier.classify([pizza, *files])

    assert [result.label for result in results] == ["pizza"] * 8
    assert max(abs(result.score - upright.score) for result in results) < 0.02


# as open_clip loads a picture

EXACT = {
    "RGB": ("png", lambda image: image),
    "L": ("png", lambda image: image.convert("L")),
    "1": ("png", lambda image: image.convert("1")),
    "P": ("png", lambda image: image.quantize(200)),
    "P with a clear colour": ("png", lambda image: transparent(image, "RGBA")[0].quantize(99)),
    "LA": ("png", lambda image: transparent(image, "LA")[0]),
    "RGBA": ("png", lambda image: transparent(image, "RGBA")[0]),
    "CMYK": ("jpg", lambda image: image.convert("CMYK")),
    "YCbCr": ("tif", lambda image: image.convert("YCbCr")),
    "LAB": ("tif", lab),
    "I;16": ("png", lambda image: Image.fromarray(np.asarray(image.convert("L"), "u2") * 2)),
    "I": ("tif", lambda image: image.convert("L").convert("I")),
    "F": ("tif", lambda image: image.convert("L").convert("F")),
    "JPEG": ("jpg", lambda image: image),
    "GIF": ("gif", lambda image: image),
    "WEBP": ("webp", lambda image: transparent(image, "RGBA")[0]),
    "AVIF": ("avif", lambda image: image),
}


def assert_as_open_clip(model, encode, path):
    ours = model.encode_image([path])[0]

    similarity = float(ours @ encode(path))
    assert similarity > 1 - 1e-5, similarity


@pytest.mark.parametrize("kind", EXACT)
def test_exact_is_as_open_clip_in_every_mode(exact_tiny, open_clips, pizza, tmp_path, kind):
    ending, make = EXACT[kind]
    path = tmp_path / f"picture.{ending}"
    make(pizza).save(path)

    assert_as_open_clip(exact_tiny, open_clips, path)


@pytest.mark.accepts("A15")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_a15_exact_leaves_pictures_lying_as_open_clip_does(
    exact_tiny, open_clips, pizza, tmp_path, kind
):
    path = tmp_path / "turned"
    path.write_bytes(turned(pizza, 6, kind))

    assert images.load(path, Decoding(exact=True)).image.size == Image.open(path).size
    assert_as_open_clip(exact_tiny, open_clips, path)


def test_exact_reads_the_first_frame_as_open_clip_does(exact_tiny, open_clips, pizza, tmp_path):
    path = tmp_path / "two.gif"
    pizza.save(path, save_all=True, append_images=[Image.new("RGB", pizza.size, "red")])

    assert images.load(path, Decoding(exact=True)).frames == 2
    assert_as_open_clip(exact_tiny, open_clips, path)


def test_without_exact_transparency_makes_a_difference(tiny, open_clips, pizza, tmp_path):
    path = tmp_path / "clear.png"
    transparent(pizza, "RGBA")[0].save(path)

    assert float(tiny.encode_image([path])[0] @ open_clips(path)) < 1 - 1e-4


# the same words in the program and in Python


def test_a_classifier_loads_pictures_as_its_model_unless_told_otherwise(fake_model):
    fake_model.decoding = Decoding("fast", background="red")

    classifier = zsclip.Classifier(["a", "b"], model=fake_model, background="blue")

    assert classifier.decoding == Decoding("fast", background="blue")
    assert (
        zsclip.Classifier(["a", "b"], model=fake_model, decode="exact").decoding.decode == "exact"
    )


def test_how_pictures_are_loaded_does_not_change_heads_or_the_text_cache(fake_model):
    before = zsclip.build_head(["a", "b"], model=fake_model)
    calls = fake_model.engine.text_calls

    fake_model.decoding = Decoding(exact=True)
    after = zsclip.build_head(["a", "b"], model=fake_model)

    assert after.digest == before.digest and fake_model.engine.text_calls == calls


def test_python_takes_what_there_is_of_a_cut_picture(fake_model, pizza):
    content = encoded(pizza, "JPEG")
    cut = content[: len(content) // 2]

    for classifier in (
        zsclip.Classifier(["a", "b"], model=fake_model, allow_truncated=True),
        zsclip.Classifier(
            ["a", "b"],
            model=Model(
                fake_model.local,
                cache=fake_model.cache,
                engine=fake_model.engine,
                decoding=Decoding(allow_truncated=True),
            ),
        ),
    ):
        whole, part = classifier.classify([content, cut])
        assert (whole.truncated, part.truncated, part.status) == (False, True, "ok")


def test_python_refuses_large_files_as_it_is_told(fake_model, pizza):
    classifier = zsclip.Classifier(["a", "b"], model=fake_model, max_bytes=100)

    (result,) = classifier.classify(encoded(pizza, "PNG"))

    assert result.error.code == "too_large_file"


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [("5", 5), ("5kB", 5000), ("500MB", 500_000_000), ("2 GiB", 2 << 30), ("3m", 3_000_000)],
)
def test_bytes_may_be_written_with_a_unit(value, size_bytes):
    assert options.size_bytes("--max-bytes", value) == size_bytes


@pytest.mark.parametrize("value", ["", "MB", "-1", "5 TB", "1.5MB", "٣", "9" * 5000])
def test_bytes_that_are_no_number_are_refused(value):
    with pytest.raises(UsageError, match="--max-bytes"):
        options.size_bytes("--max-bytes", value)


def test_load_model_takes_the_words_and_refuses_before_it_looks_for_the_model(tmp_path):
    with pytest.raises(UsageError):
        zsclip.load_model("no such model", exact=True, decode="fast")

    words = {"decode": "fast", "background": "#000", "max_bytes": 9, "allow_truncated": True}
    model = zsclip.load_model("tiny", cache_dir=tmp_path, **words)

    assert model.decoding == Decoding(**words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decode", "quick"], "'quick' is not one of exact, fast"),
        (["--background", "no-colour"], "'no-colour' is not a colour"),
        (["--exact", "--decode", "fast"], "contradict"),
        (["--exact", "--background", "black"], "--background"),
        (["--max-bytes", "some"], "--max-bytes 'some'"),
    ],
)
def test_the_program_refuses_what_means_nothing(zsclip, picture, options, message):
    ran = zsclip("classify", picture("a.png"), "--labels", "a,b", "--model", "tiny", *options)

    assert ran.code == 2 and message in ran.stderr


def test_the_program_hands_the_options_on(zsclip, picture):
    clear = picture("clear.png", (255, 0, 0, 128), mode="RGBA")
    arguments = ("classify", clear, "--labels", "red,white", "--template", "{}", "--model", "tiny")

    white, black, exact, small = (
        zsclip(*arguments, "--json", *options)
        for options in ([], ["--background", "black"], ["--exact"], ["--max-pixels", "1599"])
    )

    scores = [ran.rows[0]["scores"][0]["cosine"] for ran in (white, black, exact)]
    assert len(set(scores)) == 3
    assert small.rows[0]["error"]["code"] == "too_many_pixels" and small.code == 1


def test_the_help_names_the_limits(zsclip):
    shown = zsclip("classify", "--help").stdout

    assert f"{MAX_PIXELS:,}" in shown
    assert options.size_bytes("--max-bytes", "500MB") == MAX_BYTES and "500MB" in shown


@pytest.mark.accepts("A14")
def test_a14_sixteen_bit_grey_with_a_transparent_value_lies_over_the_background():
    values = np.full((40, 40), 1000, np.uint16)
    values[:, :20] = 60000
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", transparency=1000)

    loaded = images.load(file.getvalue()).image

    assert loaded.getpixel((5, 5)) == (233, 233, 233)
    assert loaded.getpixel((30, 5)) == (255, 255, 255)
