"""Rows A1 to A18 of the acceptance table, end to end: files in, rows and lines out."""

from __future__ import annotations

import ast
import gzip
import io
import os
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import picture_files as files
import pytest
from PIL import Image

from zsclip import images
from zsclip.decoding import Decoding

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

OPTIONS = ("--labels", "red,blue", "--template", "{}", "--model", "tiny")
CUT_TO = (0.3, 0.6, 0.9)
CAN_BE_CUT = ("JPEG", "progressive JPEG", "PNG", "GIF", "BMP", "JPEG 2000")
NO_HEIF = "HEIC needs pip install 'zsclip[heif]'"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.fixture
def classified(zsclip, fast_tiny, tmp_path, monkeypatch):
    """Classify files beside a good one; their rows by name, and what must hold of every run."""
    monkeypatch.chdir(tmp_path)

    def run(contents, *options):
        contents = contents | {"good.png": files.encoded(files.noise(), "PNG")}
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        ran = zsclip("classify", *contents, *OPTIONS, "--json", *options)
        rows = {row["path"]: row for row in ran.rows}
        assert list(rows) == list(contents)
        failed = [row for row in rows.values() if row["status"] == "error"]
        assert ran.code == (3 if failed else 0)
        lines = [
            f"zsclip: {row['path']}: {row['error']['message']} [{row['error']['code']}]"
            for row in failed
        ]
        assert ran.stderr.splitlines()[: len(lines)] == lines
        assert len(ran.stderr.splitlines()) == (len(lines) + 1 if lines else 0)  # the summary
        good = rows.pop("good.png")
        assert good["status"] == "ok" and "truncated" not in good
        return rows

    return run


def codes(rows):
    return {name: row["error"]["code"] if "error" in row else "ok" for name, row in rows.items()}


def messages(rows):
    return {name: row["error"]["message"] for name, row in rows.items() if "error" in row}


# what is wrong with the content


@pytest.mark.accepts("A1")
def test_a_file_of_no_bytes_is_a_row(classified):
    rows = classified({"a.jpg": b""})

    assert rows["a.jpg"]["error"] == {"code": "empty", "message": "file is empty"}


@pytest.mark.accepts("A2")
def test_files_of_other_kinds_are_rows_that_say_what_they_look_like(classified, tried):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.txt", "hello")
    kinds = {
        "text": b"a shopping list\n- milk\n",
        "HTML": b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "a zip archive": archive.getvalue(),
        "a Windows program": b"MZ\x90\0\3\0\0\0\4\0\0\0\xff\xff" + bytes(200),
        "a program": b"\x7fELF\2\1\1" + bytes(200),
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "a video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2mp41" + bytes(200),
    }

    rows = classified({f"{number}.jpg": content for number, content in enumerate(kinds.values())})

    assert set(codes(rows).values()) == {"unrecognized"}
    assert list(messages(rows).values()) == [
        f"not a supported image (looks like {kind})" for kind in kinds
    ]
    tried(len(kinds))


@pytest.mark.accepts("A3")
def test_the_extension_of_another_format_does_not_matter(classified, tried):
    kinds = ["JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "AVIF", "JPEG 2000", "ICO"]
    endings = [".png", ".jpg", ".bmp", ".gif", ".tif", ".webp", ".jp2", ".avif", ".jpeg"]
    picture = files.noise()

    rows = classified(
        {
            f"{kind}{ending}": files.of_kind(picture, kind)
            for kind, ending in zip(kinds, endings, strict=True)
        }
    )

    assert set(codes(rows).values()) == {"ok"}
    tried(len(kinds))


def cut_files(kinds):
    return {
        f"{kind} {share}": content[: int(len(content) * share)]
        for kind in kinds
        for content in [files.of_kind(files.noise(), kind)]
        for share in CUT_TO
    }


@pytest.mark.accepts("A4")
def test_cut_files_are_rows(classified, tried):
    rows = classified(cut_files(files.KINDS))

    assert set(codes(rows).values()) == {"truncated"}
    assert set(messages(rows).values()) == {"the picture ends early"}
    tried(len(rows))


@pytest.mark.accepts("A4")
def test_what_there_is_of_a_cut_file_is_classified_where_that_is_allowed(classified, tried):
    rows = classified(cut_files(CAN_BE_CUT), "--allow-truncated")

    assert set(codes(rows).values()) == {"ok"}
    assert all(row["truncated"] is True for row in rows.values())
    tried(len(rows))


@pytest.mark.accepts("A4")
def test_formats_that_cannot_be_cut_stay_errors(classified, tried):
    kinds = [kind for kind in files.KINDS if kind not in CAN_BE_CUT]

    rows = classified(cut_files(kinds), "--allow-truncated")

    assert set(codes(rows).values()) == {"truncated"}
    tried(len(rows))


@pytest.mark.accepts("A4")
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "GIF", "BMP", "JPEG 2000"])
def test_the_beginning_of_a_cut_picture_is_that_of_the_whole(kind):
    whole = files.of_kind(files.noise(), kind)

    cut = images.load(whole[: len(whole) * 3 // 4], Decoding(allow_truncated=True))

    ours, theirs = (np.asarray(p.image, int) for p in (cut, images.load(whole)))
    rows = slice(64, None) if kind == "BMP" else slice(0, 32)  # a BMP begins at the bottom
    if kind == "progressive JPEG":  # all of it, but coarse
        assert np.abs(ours - theirs).mean() < np.abs(theirs - 128).mean() / 2
    else:
        assert np.array_equal(ours[rows], theirs[rows])
    assert cut.truncated and not np.array_equal(ours, theirs)


@pytest.mark.accepts("A4")
def test_a_cut_file_in_which_nothing_can_be_seen_stays_an_error(classified):
    whole = files.of_kind(files.noise(), "JPEG 2000 codestream")  # one tile
    png = files.encoded(files.noise(), "PNG")

    rows = classified(
        {"a.j2k": whole[: len(whole) // 2], "a.png": png[:50], "b.png": png[:20]},
        "--allow-truncated",
    )

    assert set(codes(rows).values()) == {"truncated"}


@pytest.mark.accepts("A4")
@pytest.mark.parametrize("tiles", [0, 3])
def test_a_jpeg_2000_that_lacks_whole_tiles_is_cut_although_pillow_does_not_mind(tiles):
    *parts, _ = files.of_kind(files.noise(), "JPEG 2000").split(b"\xff\x90\0\x0a")
    content = b"\xff\x90\0\x0a".join(parts[: tiles + 1]) + b"\xff\x90"

    with pytest.raises(images.PictureError) as caught:
        images.load(content)

    assert caught.value.code == "truncated"
    Image.open(io.BytesIO(content)).load()


def test_cut_pictures_are_taken_without_the_switch_that_holds_for_the_whole_process(monkeypatch):
    from PIL import ImageFile

    content = files.of_kind(files.noise(), "JPEG")[:2000]

    images.load(content, Decoding(allow_truncated=True))

    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(content)).load()


def damaged_files():
    lzw = files.of_kind(files.noise(), "LZW TIFF")
    png = files.encoded(files.noise(), "PNG")
    middle = len(lzw) // 2
    place = png.index(b"IDAT") + 200
    return {
        "data.tif": lzw[:middle] + b"\xff" * 2000 + lzw[middle + 2000 :],
        "header.tif": b"II*\0\x08\0\0\0\x01\0" + bytes(100),
        "packed.tif": files.tiff({256: 64, 257: 64, 259: 8}, strip=b"\x78\x9c" + b"\xff" * 99),
        "data.png": png[:place] + bytes(20) + png[place + 20 :],
        "data.webp": files.webp(64, 64) + bytes(100),
    }


@pytest.mark.accepts("A5")
def test_damaged_files_are_rows_and_c_libraries_are_not_heard(classified, tried):
    rows = classified(damaged_files())

    assert set(codes(rows).values()) == {"corrupt"}
    tried(len(rows))


@pytest.mark.accepts("A5")
def test_the_damaged_files_make_libtiff_speak(zsclip, fast_tiny, tmp_path):
    (tmp_path / "a.tif").write_bytes(damaged_files()["packed.tif"])

    ran = zsclip("--debug", "classify", tmp_path / "a.tif", *OPTIONS)

    assert len(ran.stderr.splitlines()) > 2 and "a.tif: " in ran.stderr


@pytest.mark.accepts("A9")
def test_pictures_without_width_or_height_are_rows(classified, tried):
    contents = {
        f"{make.__name__} {width} x {height}": make(width, height)
        for make in (files.png, files.bmp, files.gif, files.jpeg, files.ppm)
        for width, height in ((0, 5), (5, 0))
    } | {"tiff 0 x 5": files.tiff({256: 0, 257: 5})}

    rows = classified(contents)

    assert codes(rows) == dict.fromkeys(contents, "zero_size")
    assert messages(rows) == {name: f"has no pixels: {name.partition(' ')[2]}" for name in contents}
    tried(len(contents))


@pytest.mark.accepts("A13")
def test_float_pixels_are_a_row_that_says_what_to_do(classified):
    content = files.encoded(Image.new("F", (8, 8), 0.5), "TIFF")

    rows = classified({"a.tif": content})

    assert rows["a.tif"]["error"] == {
        "code": "unsupported_pixels",
        "message": "32-bit float pixels; convert first",
    }


# how large


TOO_MANY = {
    "14000 x 14000.png": files.png(14_000, 14_000, rows=b""),
    "20000 x 20000.bmp": files.bmp(20_000, 20_000),
    "65535 x 65535.gif": files.gif(65_535, 65_535),
    "20000 x 20000.tif": files.tiff({256: 20_000, 257: 20_000}),
    "16000 x 16000.webp": files.webp(16_000, 16_000),
    "20000 x 20000.jpg": files.jpeg(20_000, 20_000),
    "20000 x 20000.j2k": files.jpeg2000(20_000, 20_000),
    "20000 x 20000.ppm": files.ppm(20_000, 20_000),
    "65535 x 65535.tga": files.tga(65_535, 65_535),
    "12000 x 12000.ico": files.ico(files.png(12_000, 12_000, rows=b"")),
}
LINES = ((1, 65_000), (65_000, 1), (1, 10_000), (1, 1), (2, 1))
ZEROS = zlib.compress(bytes(64 << 20), 9)


def text_bomb(chunks):
    text = files.png_chunk(b"zTXt", b"Comment\0\0" + ZEROS)
    return files.png(8, 8, chunks=text * chunks)


BOMBS = {
    "text.png": (text_bomb(1), "corrupt"),
    "profile.png": (
        files.png(8, 8, chunks=files.png_chunk(b"iCCP", b"name\0\0" + ZEROS)),
        "corrupt",
    ),
    "texts.png": (
        files.png(
            8,
            8,
            chunks=200 * files.png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000), 9)),
        ),
        "corrupt",
    ),
    "rows.png": (files.png(8, 8, rows=bytes(64 << 20)), "ok"),
    "strip.tif": (files.tiff({256: 8, 257: 8, 259: 8}, strip=ZEROS), "ok"),
    "bomb.icns": (
        b"icns\0\0\xff\xffic10\0\0\xff\xf7" + files.png(12_000, 12_000, rows=b""),
        "unsupported_format",
    ),
    "sky.fits.gz": (gzip.compress(b"SIMPLE  =" + bytes(64 << 20), 9), "unrecognized"),
    "icon.ico": (files.ico(files.png(12_000, 12_000, rows=b"")), "too_many_pixels"),
}


def measured(paths):
    """(code or shape, MB of growth of the peak, CPU seconds) of each file, in one new process."""
    code = """if True:
        import resource, sys, time
        from PIL import Image
        from zsclip import images, pixels
        from zsclip.errors import PictureError
        from zsclip.models import Preprocess

        def prepare(source):
            try:
                return pixels.prepare(images.load(source).image, Preprocess(224)).shape
            except PictureError as error:
                return error.code

        def peak_mb():
            unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

        Image.init()
        prepare(Image.new("RGB", (300, 200)))
        found = []
        for path in sys.argv[1:]:
            before, start = peak_mb(), time.process_time()
            result = prepare(path)
            found.append((result, peak_mb() - before, time.process_time() - start))
        print(found)
    """
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ast.literal_eval(ran.stdout)


def written(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


@pytest.mark.accepts("A6")
def test_too_many_pixels_are_rows_with_the_size_and_the_option(classified, tried):
    rows = classified(TOO_MANY)

    assert codes(rows) == dict.fromkeys(TOO_MANY, "too_many_pixels")
    assert messages(rows) == {
        name: f"{name[:-4].rstrip('.')} is more than 89,478,485 pixels (--max-pixels)"
        for name in TOO_MANY
    }
    tried(len(TOO_MANY))


@pytest.mark.accepts("A6")
def test_too_many_pixels_take_no_memory(tmp_path, tried):
    found = measured(written(tmp_path, TOO_MANY))

    assert {result for result, _, _ in found} == {"too_many_pixels"}
    assert sum(grown_mb for _, grown_mb, _ in found) < 50, found
    tried(len(TOO_MANY))


@pytest.mark.accepts("A6")
def test_more_than_pillow_opens_is_refused_even_where_it_is_allowed(tmp_path):
    with pytest.raises(images.PictureError) as caught:
        images.load(TOO_MANY["16000 x 16000.webp"], Decoding(max_pixels=10**9))

    assert caught.value.code == "too_many_pixels" and "than Pillow opens" in caught.value.message


@pytest.mark.accepts("A7")
def test_bombs_are_rows_and_take_little_memory(tmp_path, tried):
    paths = written(tmp_path, {name: content for name, (content, _) in BOMBS.items()})

    found = measured(paths)

    results = [result if isinstance(result, str) else "ok" for result, _, _ in found]
    assert results == [code for _, code in BOMBS.values()]
    assert sum(grown_mb for _, grown_mb, _ in found) < 100, found
    tried(len(BOMBS))


@pytest.mark.accepts("A8")
def test_lines_of_pixels_are_classified_in_little_memory_and_time(classified, tmp_path, tried):
    lines = {f"{width} x {height}.png": files.png(width, height) for width, height in LINES}

    found = measured(written(tmp_path, lines))  # first: what takes gigabytes ends that process only
    rows = classified(lines)

    assert set(codes(rows).values()) == {"ok"}
    assert {result for result, _, _ in found} == {(3, 224, 224)}
    assert sum(grown_mb for _, grown_mb, _ in found) < 50, found
    assert max(seconds for _, _, seconds in found) < 2, found  # 0.2 s on a quiet machine
    tried(len(LINES))


def test_larger_files_than_allowed_are_rows_and_are_not_read(classified, monkeypatch):
    content = files.encoded(files.noise(200), "PNG")

    rows = classified({"large.png": content}, "--max-bytes", "100kB")

    assert rows["large.png"]["error"] == {
        "code": "too_large_file",
        "message": f"{len(content):,} bytes are more than 100,000 (--max-bytes)",
    }


# what is right, though odd


@pytest.mark.accepts("A10")
def test_of_animations_the_first_frame_is_classified_and_all_are_counted(classified, tried):
    first, *others = (Image.new("RGB", (16, 16), (6 * n, 255 - 6 * n, 0)) for n in range(42))
    options = {"save_all": True, "append_images": others, "duration": 50}
    kinds = {
        "a.gif": ("GIF", {}),
        "a.webp": ("WEBP", {"lossless": True}),
        "a.png": ("PNG", {}),
        "a.avif": ("AVIF", {"quality": 100, "max_threads": 1}),  # others may be refused
    }

    rows = classified(
        {
            name: files.encoded(first, kind, **options, **more)
            for name, (kind, more) in kinds.items()
        }
        | {"still.png": files.encoded(first, "PNG")}
    )

    assert codes(rows) == dict.fromkeys(rows, "ok"), messages(rows)
    still = rows.pop("still.png")
    assert "frames" not in still and [row["frames"] for row in rows.values()] == [42] * 4
    assert all(abs(row["cosine"] - still["cosine"]) < 0.01 for row in rows.values())
    tried(len(rows))


def with_metadata(kind, metadata):
    names = ("exif", "xmp", "icc_profile")
    if kind == "TIFF":
        return files.encoded(files.noise(16), kind, icc_profile=metadata)
    return files.encoded(files.noise(16), kind, **dict.fromkeys(names, metadata))


@pytest.mark.accepts("A16")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_broken_metadata_fails_no_picture(kind, tried):
    generator = np.random.default_rng(1)
    heads = [b"", b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0II*\0\x08\0\0\0", b"<x:xmpmeta tiff:O"]

    for number in range(60):
        head = heads[number % len(heads)]
        metadata = head + generator.bytes(int(generator.integers(1, 300)))
        try:
            content = with_metadata(kind, metadata)
        except Exception:  # the writer looks into it, too
            content = with_metadata(kind, b"Exif\0\0II*\0" + bytes([number] * 40))
        assert images.load(content).image.size == (16, 16)

    tried(60)


@pytest.mark.accepts("A16")
def test_broken_metadata_is_not_heard_of(classified):
    rows = classified({"a.jpg": with_metadata("JPEG", b"Exif\0\0MM\0*\xff\xff\xff\xff")})

    assert codes(rows) == {"a.jpg": "ok"}


# other formats


OTHERS = {
    "HEIC": HEIC,
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PSD": b"8BPS\0\1",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "JPEG XL": b"\xff\x0a\xfa\x1f",
    "camera raw (such as DNG, NEF or CR2)": files.tiff({256: 8, 257: 8, 50706: 1}),
    "camera raw (CR3)": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "camera raw (RAF)": b"FUJIFILMCCD-RAW 0201",
}


@pytest.fixture
def no_heif(monkeypatch):
    """The extra is not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.mark.accepts("A17")
def test_other_picture_formats_are_named_and_start_no_program(
    classified, no_heif, monkeypatch, tried
):
    def started(*_, **__):
        raise AssertionError("a program was started")

    for module, name in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn"), (os, "fork")):
        monkeypatch.setattr(module, name, started)

    rows = classified(OTHERS)

    assert set(codes(rows).values()) == {"unsupported_format"}
    assert messages(rows) == {name: f"{name} is not supported" for name in OTHERS} | {
        "HEIC": NO_HEIF
    }
    tried(len(OTHERS))


@pytest.mark.accepts("A17")
def test_a_folder_of_a_telephone_says_what_its_pictures_need(zsclip, fast_tiny, no_heif, tmp_path):
    (tmp_path / "IMG_0001.HEIC").write_bytes(HEIC)

    ran = zsclip("classify", tmp_path, *OPTIONS, "--json")

    assert ran.rows[0]["error"]["message"] == NO_HEIF


@pytest.mark.accepts("A17")
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_heic_is_read_where_the_extra_is_installed(classified, share):
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(files.noise()).save(file)
    content = file.getvalue()

    rows = classified({"a.heic": content[: int(len(content) * share)]})

    assert codes(rows) == {"a.heic": "ok" if share == 1 else "truncated"}
    assert "HEIF" not in Image.OPEN  # other users of Pillow in the process see nothing of it


# several pictures in a file


@pytest.mark.accepts("A18")
def test_of_several_pictures_in_a_file_one_is_classified(classified, tried):
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    both = {"save_all": True, "append_images": [blue]}
    contents = {
        "pages.tif": files.encoded(red, "TIFF", **both),
        "two.mpo": files.encoded(red, "MPO", quality=95, **both),
        "sizes.ico": files.encoded(
            red, "ICO", sizes=[(16, 16), (64, 64)], append_images=[blue.resize((16, 16))]
        ),
    }

    rows = classified(contents | {"red.png": files.encoded(red, "PNG")})

    expected = rows.pop("red.png")
    assert all("frames" not in row for row in rows.values())
    assert [row["cosine"] for row in rows.values()] == pytest.approx(
        [expected["cosine"]] * 3, abs=0.01
    )
    tried(len(rows))
