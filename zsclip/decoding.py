"""How files become pictures, and those squares, as users choose it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from PIL import ImageColor

from zsclip.errors import UsageError

DECODES = ("exact", "fast")
FITS = ("crop", "pad", "squash", "views")
MAX_PIXELS = 89_478_485  # Pillow's own warning limit
MAX_BYTES = 500_000_000
BACKGROUND = "white"

Box: TypeAlias = tuple[float, float, float, float]
"""(left, upper, right, lower) in pixels."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a file becomes a picture, and that the square of a model; see docs/pixels.md.

    Attributes:
        decode: `exact`, or `fast`: a large JPEG is decoded at a half, quarter or eighth of its
            size, never below twice what is needed.
        exact: as open_clip loads a picture: in its own mode, neither turned upright nor laid over
            a background, and 16-bit grey cut off at 255.
        background: what transparent pixels lie over: a colour name or `#rrggbb`.
        max_pixels: a larger picture fails before it is decoded.
        max_bytes: a larger file fails before it is read.
        allow_truncated: take what there is of a cut JPEG, PNG, GIF, BMP or JPEG 2000.
        fit: `crop`, as the model was trained (most cut the longer side), or all of the picture:
            `pad`, `squash`, or `views`, the average of several squares.

    Raises:
        UsageError: a word, colour or number that is none, or choices that contradict each other.
    """

    decode: str = "exact"
    exact: bool = False
    background: str = BACKGROUND
    max_pixels: int = MAX_PIXELS
    max_bytes: int = MAX_BYTES
    allow_truncated: bool = False
    fit: str = "crop"

    def __post_init__(self) -> None:
        if self.decode not in DECODES:
            raise UsageError(f"decode {self.decode!r} is not one of {', '.join(DECODES)}")
        if self.fit not in FITS:
            raise UsageError(f"fit {self.fit!r} is not one of {', '.join(FITS)}")
        for name, limit in (("max_pixels", self.max_pixels), ("max_bytes", self.max_bytes)):
            if limit < 1:
                raise UsageError(f"{name} {limit} is not at least 1")
        colour = self.colour
        if self.exact and self.decode != "exact":
            raise UsageError("--exact and --decode fast contradict each other")
        if self.exact and colour != ImageColor.getrgb(BACKGROUND):
            raise UsageError("--exact uses no background; leave out --background")

    @property
    def colour(self) -> tuple[int, int, int]:
        """The background's red, green and blue, 0 to 255."""
        try:
            red, green, blue = ImageColor.getrgb(self.background)
        except ValueError:
            raise UsageError(
                f"background {self.background!r} is not a colour", tip="write a name or '#rrggbb'"
            ) from None
        return red, green, blue

    @property
    def most_views(self) -> int:
        """Into how many squares one picture is made, at most."""
        return 4 if self.fit == "views" else 1

    def but(
        self,
        *,
        decode: str | None = None,
        exact: bool | None = None,
        background: str | None = None,
        max_pixels: int | None = None,
        max_bytes: int | None = None,
        allow_truncated: bool | None = None,
        fit: str | None = None,
    ) -> Decoding:
        """The same with other values where they are given."""
        return Decoding(
            self.decode if decode is None else decode,
            self.exact if exact is None else exact,
            self.background if background is None else background,
            self.max_pixels if max_pixels is None else max_pixels,
            self.max_bytes if max_bytes is None else max_bytes,
            self.allow_truncated if allow_truncated is None else allow_truncated,
            self.fit if fit is None else fit,
        )


DEFAULT = Decoding()
