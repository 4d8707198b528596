"""Synthetic photos of 12 megapixels, and the kinds of JPEG they come in."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

JPEGS: dict[str, dict[str, Any]] = {
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "progressive": {"subsampling": 2, "progressive": True},
    "grey": {},
    "CMYK": {},
}


def synthetic_photo(seed: int = 0) -> Image.Image:
    """Like a photo of 12 megapixels: noise at all scales (1/f), edges, thin lines, text."""
    generator = np.random.default_rng(seed)
    channels = []
    for _ in range(3):
        noise = Image.new("F", (4, 3), 128)
        while noise.width < 4000:
            octave = generator.standard_normal(noise.size[::-1], dtype=np.float32)
            noise = Image.fromarray(np.asarray(noise) + octave * (320 / noise.width))
            finer = (min(2 * noise.width, 4000), min(2 * noise.height, 3000))
            noise = noise.resize(finer, Image.Resampling.BILINEAR)
        channels.append(noise.convert("L"))
    image = Image.merge("RGB", channels)
    draw = ImageDraw.Draw(image)
    places = generator.integers(0, 3000, (60, 4)).tolist()
    colours = generator.integers(0, 256, (60, 3)).tolist()
    for (x, y, x2, y2), colour in zip(places, map(tuple, colours), strict=True):
        draw.ellipse((x, y, x + x2 // 6, y + y2 // 9), fill=colour)
        draw.line((x, y, x2, y2), fill=colour, width=1 + x2 % 30)
        draw.text(
            (y, x2), "zsclip EXIT 12", font=ImageFont.load_default(20 + y2 % 250), fill=colour
        )
    return image


def as_jpeg(photo: Image.Image, kind: str) -> bytes:
    """The photo as one of JPEGS, quality 90."""
    image = photo.convert({"grey": "L", "CMYK": "CMYK"}.get(kind, "RGB"))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **JPEGS[kind])
    return file.getvalue()
