"""Fetch free drawing sets by package name and rasterise each once.

Every artist is one `.npz` of 96 px premultiplied RGBA pictures, cut to the drawing, with the
concept each one shows. Knows nothing about training.
Needs npm, apt-get and dpkg on the machine and `pip install resvg-py==0.5.0`.
"""

import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from concepts import COLOURS, SHAPES, SYMBOL_GROUPS, Concept, plain_code, read_lines
from PIL import Image, ImageDraw, ImageFont
from shapes import draw_shape

RASTER_SIZE = 96
NAMES_PACKAGE = "npm:emojibase-data@17.0.0"
SUFFIXES = re.compile(
    r"(-(fill|filled|bold|light|thin|duotone|outline|outlined|rounded|sharp|solid|line|linear|"
    r"broken|regular|flat|duo|alt|variant|[0-9]+px|0?[0-9]|1[0-9]|2[0-9]|48))+$"
)
AMBIGUOUS = {
    "apple", "mouse", "crane", "seal", "nut", "bug", "pool", "orange", "watch", "note", "server",
    "package", "box", "link", "pin", "bank", "fan", "chick", "coach", "palm", "cup", "letter",
    "chips", "seat", "present", "gift card", "present box", "search", "play", "ruler", "cast",
    "office", "sign", "mail", "books and pen", "ring", "battery", "floppy", "ram", "python",
    "crown and anchor", "spoon", "club", "wave", "leaf", "lock", "football", "jet", "bat",
    "monitor", "keyboard", "court", "mirror", "plunger", "toolbox", "cd", "gear", "hook",
}  # fmt: skip

CLIPART_FOLDERS = {"animals", "buildings", "containers", "computer", "education", "electronics",
                   "food", "office", "plants", "recreation", "science", "tools",
                   "transportation"}  # fmt: skip


@dataclass(frozen=True)
class Artist:
    """One set of drawings: where it is fetched, by which names, and under which licence.

    `read` is how names are found: iconify and named (a Unicode name), hexcode, font, icons and
    clipart (only a noun's name counts), shapes (drawn here).
    """

    name: str
    package: str  # npm:NAME@VERSION or apt:NAME
    read: str
    look: str  # colour or mono
    licence: str
    author: str
    inside: str = ""

    @property
    def is_whole(self) -> bool:
        """Tell a whole emoji set, drawn on purpose for its name, from a set of icons."""
        return self.read not in ("icons", "clipart")


UNSEEN_ARTIST = "openmoji"  # share-alike: for the final test only, never trained on


def read_artists() -> dict[str, Artist]:
    """Return name -> artist from the table beside this file, the unseen one included."""
    rows = (line.split("\t") for line in read_lines("artists.tsv"))
    return {row[0]: Artist(*row) for row in rows}


def fetch(package: str, work: Path) -> Path:
    """Download one package by name into the work folder and return the archive."""
    kind, _, name = package.partition(":")
    folder = work / "packages" / re.sub(r"[^\w.-]+", "_", name)
    archives = list(folder.glob("*.tgz")) + list(folder.glob("*.deb"))
    if archives:
        return archives[0]
    folder.mkdir(parents=True, exist_ok=True)
    command = ["npm", "pack", "--silent", name] if kind == "npm" else ["apt-get", "download", name]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return fetch(package, work)


def open_members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of every file of a .tgz or .deb archive."""
    plain = archive.read_bytes()
    if archive.suffix == ".deb":
        command = ["dpkg-deb", "--fsys-tarfile", archive]
        plain = subprocess.run(command, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for member in tar:
            if member.isfile():
                yield member.name, tar.extractfile(member).read()


def render_svg(svg: str, *, colour: str = "#000000") -> Image.Image:
    """Rasterise one SVG; `currentColor` becomes the colour given."""
    import resvg_py

    svg = svg.replace("currentColor", colour)
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * RASTER_SIZE))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def cut_to_drawing(image: Image.Image) -> np.ndarray | None:
    """Return the drawing in a square of 96 px, premultiplied (96, 96, 4), or None if empty."""
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    if box is None or max(box[2] - box[0], box[3] - box[1]) < 12:
        return None
    part = image.crop(box)
    side = max(part.size)
    square = Image.new("RGBA", (side, side))
    square.paste(part, ((side - part.width) // 2, (side - part.height) // 2))
    rgba = np.asarray(square.convert("RGBa").resize((RASTER_SIZE, RASTER_SIZE), Image.LANCZOS))
    return rgba.copy()


def read_iconify(archive: Path) -> dict[str, str]:
    """Return name -> SVG text of an Iconify set, aliases included."""
    files = dict(open_members(archive))
    icons = json.loads(files["package/icons.json"])
    width, height = icons.get("width", 16), icons.get("height", 16)
    svgs = {}
    for name, icon in icons["icons"].items():
        box = (
            icon.get("left", 0),
            icon.get("top", 0),
            icon.get("width", width),
            icon.get("height", height),
        )
        view = " ".join(map(str, box))
        svgs[name] = (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{view}" width="{box[2]}" height="{box[3]}">{icon["body"]}</svg>'
        )
    for alias, target in icons.get("aliases", {}).items():
        if set(target) == {"parent"} and target["parent"] in svgs:
            svgs.setdefault(alias, svgs[target["parent"]])
    return svgs


def slug(text: str) -> str:
    """Return a name as sets spell it, without blanks and signs: `hotdog`."""
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def name_index(concepts: Sequence[Concept], *, strict: bool) -> dict[str, str]:
    """Return slug -> key; names win over keywords, and strict keeps nouns' names only."""
    index: dict[str, str] = {}
    shared: set[str] = set()
    for concept in concepts:
        if concept.group >= 0:
            index[slug(concept.names[0])] = concept.key
    for concept in concepts:
        if concept.group < 0 or (strict and concept.group in SYMBOL_GROUPS):
            continue
        for name in concept.names[1:] if strict else (*concept.names[1:], *concept.keywords):
            if index.get(slug(name), concept.key) != concept.key:
                shared.add(slug(name))
            index.setdefault(slug(name), concept.key)
    if strict:
        wrong = {c.key for c in concepts if c.group in SYMBOL_GROUPS}
        banned = {slug(word) for word in AMBIGUOUS}
        return {s: key for s, key in index.items() if key not in wrong and s not in banned}
    return index


def find_clipart(path: str, index: dict[str, str]) -> str | None:
    """Return the concept of an Open Clip Art file, named in the first words of its file name."""
    folder, _, name = path.partition("/")
    words = [word for word in re.split(r"[^a-z]+", name.rsplit("/", 1)[-1].lower()) if word]
    if folder not in CLIPART_FOLDERS:
        return None
    for first in range(min(3, len(words))):
        for count in (3, 2, 1):
            text = "".join(words[first : first + count])
            if len(text) > 2 and text in index and text not in ("star", "hotel", "knot"):
                return index[text]
    return None


def pictures_of(artist: Artist, work: Path, concepts: Sequence[Concept]) -> Iterator[tuple]:
    """Yield (key, RGBA picture) of one artist for the concepts given."""
    if artist.read == "shapes":
        yield from draw_all_shapes()
        return
    archive = fetch(artist.package, work)
    by_code = {concept.key: concept.key for concept in concepts}
    if artist.read in ("iconify", "icons"):
        index = name_index(concepts, strict=artist.read == "icons")
        for name, svg in read_iconify(archive).items():
            plain = SUFFIXES.sub("", name) if artist.read == "icons" else name
            key = index.get(slug(plain)) or index.get(slug(name))
            if key:
                yield key, lambda svg=svg: render_svg(svg)
        return
    index = name_index(concepts, strict=artist.read == "clipart")
    pattern = re.compile(artist.inside)
    for path, content in open_members(archive):
        match = pattern.fullmatch(path)
        if match is None:
            continue
        if artist.read == "font":
            yield from draw_font(content, concepts)
            continue
        name = match[1]
        if artist.read == "clipart":
            key = find_clipart(name, index)
        elif artist.read == "named":
            key = index.get(slug(name))
        else:
            key = by_code.get(plain_code(name))
        if key:
            yield key, opener(path, content)


def opener(path: str, content: bytes) -> Callable[[], Image.Image]:
    """Return a function that decodes one file, so that unwanted files cost nothing."""
    if path.endswith(".svg"):
        return lambda: render_svg(content.decode("utf-8", "replace"))
    return lambda: Image.open(io.BytesIO(content)).convert("RGBA")


def draw_font(content: bytes, concepts: Sequence[Concept]) -> Iterator[tuple]:
    """Yield every concept of one code point that a font can draw, in black."""
    from fontTools.ttLib import TTFont

    known = TTFont(io.BytesIO(content)).getBestCmap()
    font = ImageFont.truetype(io.BytesIO(content), 2 * RASTER_SIZE)
    for concept in concepts:
        if "-" in concept.key or concept.group < 0 or int(concept.key, 16) not in known:
            continue
        image = Image.new("RGBA", (4 * RASTER_SIZE, 4 * RASTER_SIZE))
        ImageDraw.Draw(image).text((64, 64), chr(int(concept.key, 16)), font=font, fill="black")
        yield concept.key, lambda image=image: image


def draw_all_shapes() -> Iterator[tuple]:
    """Yield twelve drawings of every colour x shape pair, the held-out ones included."""
    for colour in COLOURS:
        for shape in SHAPES:
            for number in range(12):
                yield (
                    f"{colour}-{shape}",
                    lambda c=colour, s=shape, n=number: draw_shape(c, s, seed=n),
                )


def rasterise(artist: Artist, work: Path, concepts: Sequence[Concept]) -> Path:
    """Write the artist's pictures once as `rasters/NAME.npz` and return the path."""
    target = work / "rasters" / f"{artist.name}.npz"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    keys, pictures = [], []
    for key, open_picture in pictures_of(artist, work, concepts):
        try:
            picture = cut_to_drawing(open_picture())
        except (ValueError, OSError):  # a few clip arts are broken
            continue
        if picture is not None:
            keys.append(key)
            pictures.append(picture)
    partial = target.with_suffix(".part.npz")
    np.savez(partial, keys=np.array(keys), pictures=np.stack(pictures))
    os.replace(partial, target)
    return target


def fetch_names(work: Path) -> Path:
    """Unpack Unicode's names and keywords and return their folder."""
    folder = work / "names" / "package"
    if not (folder / "package.json").exists():
        with tarfile.open(fetch(NAMES_PACKAGE, work)) as tar:
            tar.extractall(work / "names", filter="data")
    return folder


def load(names: Iterable[str], work: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return artist -> (keys (N,), pictures (N, 96, 96, 4)) from the rasters on disk."""
    sets = {}
    for name in names:
        with np.load(work / "rasters" / f"{name}.npz") as raster:
            sets[name] = (raster["keys"], raster["pictures"])
    return sets
