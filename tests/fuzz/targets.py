"""What is fuzzed: a value or the documented exception, and the value holds what it promises.

A target answers with a word for what became of its bytes, by which the mutator tells a new outcome
from a known one. Whatever else it raises is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fuzz import seeds
from zsclip import images, labels, pixels, prompts
from zsclip.decoding import Decoding
from zsclip.errors import (
    PICTURE_ERROR_CODES,
    HeadError,
    LabelError,
    PictureError,
    UsageError,
    ZsclipError,
)
from zsclip.heads import load_head
from zsclip.models import Preprocess


@dataclass(frozen=True, slots=True)
class Target:
    """A reader of bytes.

    Attributes:
        run: reads the bytes, in files of a folder where it reads files.
        seeds: makes inputs to begin with.
        words: what its formats are made of, for mutators.
        largest_bytes: longer inputs are not made.
    """

    run: Callable[[bytes, Path], str]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]
    largest_bytes: int


_MAX_PIXELS = 1_000_000
_PREPROCESS = Preprocess(size=32)
_DECODINGS = (
    Decoding(max_pixels=_MAX_PIXELS),
    Decoding(max_pixels=_MAX_PIXELS, decode="fast"),
    Decoding(max_pixels=_MAX_PIXELS, exact=True),
    Decoding(max_pixels=_MAX_PIXELS, allow_truncated=True),
)


def _read_picture(content: bytes, folder: Path) -> str:
    decoding = _DECODINGS[len(content) % len(_DECODINGS)]
    try:
        picture = images.load(content, decoding, size=_PREPROCESS.size)
        prepared = pixels.prepare(picture.image, _PREPROCESS, box=picture.box)
    except PictureError as error:
        assert error.code in PICTURE_ERROR_CODES, error.code
        return f"{error.code} {_refusal(error)}"
    assert prepared.shape == (3, 32, 32) and np.isfinite(prepared).all(), prepared.shape
    assert picture.frames is None or picture.frames > 1, picture.frames
    return f"{picture.image.mode} {picture.box is None} {picture.frames is None}"


def _read_labels(content: bytes, folder: Path) -> str:
    path = folder / "labels.txt"
    path.write_bytes(content)
    try:
        names = _labels_in(path)
    except LabelError as error:
        return _refusal(error)
    path.write_text("\n".join(names), encoding="utf-8-sig")
    assert _labels_in(path) == names, "other labels after writing them"
    return "labels"


def _labels_in(path: Path) -> list[str]:
    return [found.label for found in labels.unique(labels.from_file(path))]


def _read_templates(content: bytes, folder: Path) -> str:
    return "; ".join(
        _read_template_file(folder / name, content) for name in ("templates.txt", "templates.yaml")
    )


def _read_template_file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    try:
        found = prompts.load_templates(str(path))
    except UsageError as error:
        return _refusal(error)
    assert found.templates, "no templates"
    for prompt in prompts.expand([("{0.__class__}",)], found)[0]:
        assert prompt.count("{0.__class__}") == 1, prompt
    return "templates"


def _read_head(content: bytes, folder: Path) -> str:
    path = folder / "head.safetensors"
    path.write_bytes(content)
    try:
        head = load_head(path)
    except HeadError as error:
        return _refusal(error)
    assert np.isfinite(head.weight).all() and np.isfinite(head.bias).all()
    assert len(head.class_names) == len(head.weight) == len(head.bias) > 0
    "\n".join((*head.class_names, *head.provenance.templates)).encode()
    head.save(path)
    assert load_head(path).digest == head.digest, "another head after saving it"
    try:
        return f"head {head.model_name() is not None}"
    except HeadError as error:
        return _refusal(error)


def _refusal(error: ZsclipError) -> str:
    """The form of a message, without the numbers and names in it; it must be one line."""
    assert "\n" not in error.message, error.message
    return re.sub(r"'.*'|\".*\"|\d+|[^ -~]", "", error.message)[:80]


TARGETS = {
    "pictures": Target(
        _read_picture,
        seeds.pictures,
        (
            b"\xff\xd8\xff\xe0", b"\xff\xc0\x00\x11", b"\xff\xda", b"\xff\xd9", b"Exif\x00\x00",
            b"\x89PNG\r\n\x1a\n", b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT",
            b"zTXt", b"iCCP", b"eXIf", b"IEND", b"GIF89a", b"\x21\xf9\x04", b"NETSCAPE2.0",
            b"II*\x00", b"MM\x00*", b"II+\x00", b"RIFF", b"WEBP", b"VP8 ", b"VP8L", b"VP8X",
            b"ANIM", b"ANMF", b"ftypavif", b"ispe", b"jP  \r\n\x87\n", b"\xff\x4f\xff\x51",
            b"BM", b"\x00\x00\x01\x00", b"P6 ", b"P4\n", b"Pf\n",
        ),
        20_000,
    ),
    "labels": Target(
        _read_labels,
        seeds.labels,
        (
            b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b"\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80",
            b"\x00", b"{}", b"<end_of_text>", b"\xc2\xa0", b"\x1b[", b"cat\n",
        ),
        2_000,
    ),
    "templates": Target(
        _read_templates,
        seeds.templates,
        (
            b"{}", b"{label}", b"{object}", b"{{", b"templates:", b"- ", b"? ", b": ", b"&a ",
            b"*a", b"!!python/", b"<<: ", b"|\n ", b">-\n ", b"%YAML 1.1\n", b"---\n", b"...\n",
            b"[", b"]", b'"\\x00', b"\t", b"#", b"\xef\xbb\xbf",
        ),
        2_000,
    ),
    "heads": Target(
        _read_head,
        seeds.heads,
        (
            b'{"', b'":', b'"dtype":"F32"', b'"F16"', b'"BF16"', b'"F64"', b'"I64"', b'"C64"',
            b'"F8_E4M3"', b'"shape":[', b'"data_offsets":[', b'"__metadata__"', b"zsclip-head",
            b"class_names", b"scale", b"NaN", b"1e999", b"null", b"[[[[", b"\\\\ud800", b'\\"',
        ),
        4_000,
    ),
}  # fmt: skip
