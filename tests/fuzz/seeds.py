"""Small inputs to begin with, of every form that the targets read; the same at every call."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin, features
from safetensors.numpy import save

from zsclip.heads import Head, Provenance

_ORIENTATION = 0x0112


def pictures() -> list[bytes]:
    """Pictures in all formats and modes that are read, and two that are none."""
    return [*_jpegs(), *_pngs(), *_tiffs(), *_others(), b"<html></html>", b"%!PS-Adobe-3.0"]


def _colours(width: int = 24, height: int = 16) -> Image.Image:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    levels = np.stack([x * 10, y * 15, (x + y) * 6], axis=-1) % 256
    return Image.fromarray(levels.astype(np.uint8))


def _saved(image: Image.Image, name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def _animation() -> list[Image.Image]:
    return [_colours().rotate(angle) for angle in (90, 180)]


def _jpegs() -> Iterator[bytes]:
    exif = Image.Exif()
    exif[_ORIENTATION] = 6
    yield _saved(_colours(), "JPEG")
    yield _saved(_colours(), "JPEG", progressive=True, exif=exif)
    yield _saved(_colours(160, 120), "JPEG", quality=30, subsampling=1)  # drafted at 1/2
    yield _saved(_colours().convert("L"), "JPEG", restart_marker_blocks=1)
    yield _saved(_colours().convert("CMYK"), "JPEG")


def _pngs() -> Iterator[bytes]:
    text = PngImagePlugin.PngInfo()
    text.add_text("title", "x" * 50, zip=True)
    text.add_itxt("title", "é", "fr", "Titre")
    transparent = _colours().convert("RGBA")
    transparent.putalpha(100)
    sixteen = Image.fromarray(np.arange(384, dtype=np.uint16).reshape(16, 24) * 170)
    yield _saved(_colours(), "PNG", pnginfo=text)
    yield _saved(_colours().quantize(8), "PNG", transparency=2)
    yield _saved(transparent, "PNG")
    yield _saved(transparent.convert("LA"), "PNG")
    yield _saved(_colours().convert("1"), "PNG")
    yield _saved(sixteen, "PNG", transparency=170)
    yield _saved(_colours(1, 2000), "PNG")
    yield _saved(_colours(), "PNG", save_all=True, append_images=_animation())


def _tiffs() -> Iterator[bytes]:
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield _saved(_colours(), "TIFF", compression=compression)
    yield _saved(_colours(), "TIFF", save_all=True, append_images=_animation(), big_tiff=True)
    yield _saved(_colours().convert("1"), "TIFF", compression="group4")
    for mode in ("F", "I;16", "LAB", "CMYK", "P", "RGBA"):
        source = _colours().convert("L") if mode in ("F", "I;16") else _colours()
        yield _saved(source.convert(mode), "TIFF", tiffinfo={_ORIENTATION: 3})


def _others() -> Iterator[bytes]:
    yield _saved(_colours(), "BMP")
    yield _saved(_colours().quantize(8), "GIF", save_all=True, append_images=_animation())
    yield _saved(_colours(), "ICO", sizes=[(8, 8), (16, 16)])
    yield _saved(_colours(), "PPM")
    yield _saved(_colours().convert("1"), "PPM")
    yield _saved(_colours(), "TGA", compression="tga_rle")
    yield b"P3 2 1 255\n1 2 3\n4 5 6\n"
    yield b"P2 2 1 65535\n1000 60000\n"
    if features.check("webp"):
        yield _saved(_colours(), "WEBP")
        yield _saved(_colours().convert("RGBA"), "WEBP", lossless=True)
        yield _saved(_colours(), "WEBP", save_all=True, append_images=_animation())
    if features.check("avif"):
        yield _saved(_colours(), "AVIF", speed=10)
    if features.check("jpg_2000"):
        yield _saved(_colours(), "JPEG2000", irreversible=True)
        yield _saved(_colours(), "JPEG2000", no_jp2=True, tile_size=(8, 8))


def labels() -> list[bytes]:
    """Lists of labels, clean and less so."""
    return [
        b"cat\nhot dog\ntree\n",
        b"\xef\xbb\xbfcat\r\ndog\r\ncat",
        "naïve 猫\nsalt, pepper\n\n  {}  \n".encode(),
        "cat\ncafé\n".encode("latin-1"),
        "cat\ndog\n".encode("utf-16"),
        b"<start_of_text> cat\n{0.__class__}\n\x1b[31mred\x00",
        b"",
    ]


def templates() -> list[bytes]:
    """Lists of templates, as text and as YAML."""
    return [
        b"a photo of a {}.\nart of the {label}\n",
        b"\xef\xbb\xbf{object}\r\n",
        b"templates:\n  - 'a {}'\n  - \"b {}\"\nname: mine\ndescription: >\n  more\n  lines\n",
        b"- a {}\n- |\n  b {}\n",
        b"{templates: ['a {}', b {label}]}",
        b"# nothing\n---\n- a {0}\n- {:>9999}\n",
        b"a: &a [x]\nb: *a\n",
        b"- !!python/object/apply:os.system [x]\n",
        b"- 'caf\\xE9 {}'\n- \"\\u732B {}\"\n",
    ]


@functools.cache
def head() -> Head:
    """A head of three classes."""
    provenance = Provenance(
        model="tiny",
        weights_digest="0" * 64,
        architecture="tiny",
        fingerprint="1" * 64,
        tokenizer="clip-bpe",
        templates_name="one",
        templates=("a photo of a {}.",),
    )
    return Head(
        weight=np.eye(3, 4, dtype=np.float32),
        bias=np.zeros(3, dtype=np.float32),
        class_names=("cat", "dog", "naïve 猫"),
        scale=100.0,
        score_kind="softmax",
        provenance=provenance,
    )


def heads() -> list[bytes]:
    """A head, and files that are nearly heads: of safetensors, with other types and values."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.safetensors"
        head().save(path)
        whole = path.read_bytes()
    return [
        whole,
        *map(_with_header, _OTHER_VALUES),
        _of_safetensors(np.float16),
        b"\x02" + b"\0" * 9,
    ]


_OTHER_VALUES: tuple[dict[str, object], ...] = (
    {"scale": 10**400},
    {"scale": float("inf")},
    {"class_names": ["\ud800", "b", "c"]},
    {"class_names": "abc"},
    {"provenance": {"model": ["tiny"]}},
    {"kind": [], "score_kind": {}},
    {"version": "2\n" * 100},
)


def _with_header(changes: dict[str, object]) -> bytes:
    header = {**json.loads(head()._header()), **changes}
    arrays = {"weight": head().weight, "bias": head().bias}
    return save(arrays, metadata={"zsclip-head": json.dumps(header)})


def _of_safetensors(dtype: type[np.generic]) -> bytes:
    arrays = {"weight": head().weight.astype(dtype), "bias": head().bias.astype(dtype)}
    return save(arrays, metadata={"zsclip-head": head()._header()})
