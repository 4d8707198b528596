"""Draw one colour x shape picture: ours, so its names are true by construction.

Knows nothing about training, and nothing about which pairs are held out.
"""

import math
import random

from concepts import COLOURS
from PIL import Image, ImageColor, ImageDraw

SIDE = 288


def draw_shape(colour: str, shape: str, *, seed: int) -> Image.Image:
    """Return a transparent RGBA drawing of the shape; the seed varies tint, stretch and outline."""
    random_ = random.Random(f"{colour} {shape} {seed}")
    fill = jitter(ImageColor.getrgb(COLOURS[colour]), random_, amount=0 if seed == 0 else 22)
    image = Image.new("RGBA", (SIDE, SIDE))
    pen = ImageDraw.Draw(image)
    light = colour in ("white", "yellow")
    outline = random_.choice(("black", "#444444")) if light or random_.random() < 0.25 else None
    width = random_.randint(4, 12) if outline else 0
    shade = (*fill, 255)
    if shape in ("circle", "oval", "ring", "crescent", "semicircle"):
        draw_round(pen, shape, shade, outline=outline, width=width, random_=random_)
    else:
        points = [(SIDE / 2 + 130 * x, SIDE / 2 + 130 * y) for x, y in outline_of(shape, random_)]
        pen.polygon(points, fill=shade, outline=outline, width=width)
    return image.rotate(random_.uniform(-12, 12) if seed else 0, Image.BICUBIC)


def jitter(rgb: tuple[int, ...], random_: random.Random, *, amount: int) -> tuple[int, ...]:
    """Return a colour near the one given."""
    return tuple(min(255, max(0, c + random_.randint(-amount, amount))) for c in rgb)


def draw_round(
    pen: ImageDraw.ImageDraw,
    shape: str,
    fill: tuple,
    *,
    outline: str | None,
    width: int,
    random_: random.Random,
) -> None:
    """Draw a shape made of ellipses."""
    low, high = 14, SIDE - 14
    box = (low, low, high, high)
    if shape == "oval":
        inset = random_.randint(45, 80)
        box = (low, low + inset, high, high - inset)
        if random_.random() < 0.4:
            box = (low + inset, low, high - inset, high)
    if shape == "semicircle":
        turn = random_.choice((0, 90, 180, 270))
        pen.pieslice(box, turn, turn + 180, fill=fill, outline=outline, width=width)
        return
    pen.ellipse(box, fill=fill, outline=outline, width=width)
    if shape == "ring":
        inset = random_.randint(35, 75)
        inner = (low + inset, low + inset, high - inset, high - inset)
        pen.ellipse(inner, fill=(0, 0, 0, 0), outline=outline, width=width)
    if shape == "crescent":
        shift = random_.choice((-1, 1)) * random_.randint(60, 95)
        inner = (low + shift + 22, low + 22, high + shift - 22, high - 22)
        pen.ellipse(inner, fill=(0, 0, 0, 0))


def outline_of(shape: str, random_: random.Random) -> list[tuple[float, float]]:
    """Return the corners of a polygon shape in [-1, 1]."""
    corners = {"triangle": 3, "pentagon": 5, "hexagon": 6, "octagon": 8}
    if shape in corners:
        turn = math.pi / 8 if shape == "octagon" else 0.0
        return regular(corners[shape], turn=turn)
    if shape == "square":
        return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    if shape == "rectangle":
        half = random_.uniform(0.4, 0.62)
        box = [(-1, -half), (1, -half), (1, half), (-1, half)]
        return box if random_.random() < 0.6 else [(y, x) for x, y in box]
    if shape == "diamond":
        half = random_.uniform(0.6, 0.9)
        return [(0, -1), (half, 0), (0, 1), (-half, 0)]
    if shape == "star":
        inner = random_.uniform(0.38, 0.5)
        tips, dents = regular(5, turn=0.0), regular(5, turn=math.pi / 5)
        return [
            p for t, d in zip(tips, dents, strict=True) for p in (t, (d[0] * inner, d[1] * inner))
        ]
    if shape == "cross":
        a = random_.uniform(0.24, 0.36)
        return [
            (-a, -1),
            (a, -1),
            (a, -a),
            (1, -a),
            (1, a),
            (a, a),
            (a, 1),
            (-a, 1),
            (-a, a),
            (-1, a),
            (-1, -a),
            (-a, -a),
        ]
    if shape == "arrow":
        a = random_.uniform(0.2, 0.32)
        arrow = [(-1, -a), (0.1, -a), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, a), (-1, a)]
        turns = random_.randint(0, 3)
        for _ in range(turns):
            arrow = [(-y, x) for x, y in arrow]
        return arrow
    return heart()


def regular(corners: int, *, turn: float) -> list[tuple[float, float]]:
    """Return a regular polygon with one corner on top."""
    angles = [2 * math.pi * i / corners - math.pi / 2 + turn for i in range(corners)]
    return [(math.cos(a), math.sin(a)) for a in angles]


def heart() -> list[tuple[float, float]]:
    """Return the heart curve x = 16 sin^3 t as a polygon."""
    curve = []
    for i in range(64):
        t = 2 * math.pi * i / 64
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        curve.append((math.sin(t) ** 3, -y / 16))
    return curve
