"""What the drawings show: names, keywords, wider words, captions, and what is kept out of training.

Reads Unicode's names and keywords (npm `emojibase-data`). Knows nothing about pixels or models.
A concept is one emoji (its hexcode is its key) or one colour x shape pair (`red-star`).
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
SYMBOL_GROUPS = (0, 1, 8)  # smileys, people, symbols: icons with such names show something else
SKIPPED_GROUPS = (None, 2, 9)  # regional indicators, skin tones, flags
COLOURS = {
    "red": "#dd2e44", "orange": "#f4900c", "yellow": "#fdcb58", "green": "#3ea34a",
    "blue": "#2f6fd6", "purple": "#8f5fc0", "pink": "#f58fb8", "brown": "#8a5233",
    "black": "#151515", "white": "#ffffff", "gray": "#8e9499", "cyan": "#35c9d8",
}  # fmt: skip
SHAPES = (
    "circle", "square", "triangle", "star", "heart", "diamond", "rectangle", "oval",
    "pentagon", "hexagon", "cross", "ring", "crescent", "arrow", "octagon", "semicircle",
)  # fmt: skip
HELD_OUT_SHAPES = (
    "red star", "green triangle", "blue pentagon", "purple star", "orange hexagon",
    "yellow ring", "pink triangle", "brown cross", "black crescent", "gray heart",
    "cyan square", "green oval", "blue arrow", "purple rectangle", "orange crescent",
    "red semicircle", "cyan star", "pink hexagon", "yellow octagon", "brown ring",
)  # fmt: skip
SHAPE_SYNONYMS = {"oval": ["ellipse"], "cross": ["plus sign"], "crescent": ["crescent moon shape"],
                  "diamond": ["rhombus"], "ring": ["hollow circle"],
                  "circle": ["disc", "round shape"],
                  "semicircle": ["half circle"], "gray": ["grey"], "purple": ["violet"],
                  "cyan": ["light blue"]}  # fmt: skip
HYPERNYMS = {
    "face-smiling": ["face", "smiley", "emoji"], "face-affection": ["face", "smiley"],
    "face-tongue": ["face", "smiley"], "face-hand": ["face", "smiley"],
    "face-neutral-skeptical": ["face", "smiley"], "face-sleepy": ["face", "smiley"],
    "face-unwell": ["face", "smiley"], "face-hat": ["face", "smiley"],
    "face-glasses": ["face", "smiley"], "face-concerned": ["face", "smiley", "sad face"],
    "face-negative": ["face"], "face-costume": ["face"], "cat-face": ["cat", "cat face"],
    "monkey-face": ["monkey", "animal"], "heart": ["heart", "love"], "emotion": ["symbol"],
    "hand-fingers-open": ["hand", "gesture"], "hand-fingers-partial": ["hand", "gesture"],
    "hand-single-finger": ["hand", "gesture"], "hand-fingers-closed": ["hand", "gesture"],
    "hands": ["hands", "gesture"], "hand-prop": ["hand"], "body-parts": ["body part"],
    "person": ["person"], "person-gesture": ["person"], "person-role": ["person"],
    "person-fantasy": ["person", "fantasy creature"], "person-activity": ["person"],
    "person-sport": ["person", "sport"], "person-resting": ["person"], "family": ["people"],
    "person-symbol": ["person"], "animal-mammal": ["animal", "mammal"],
    "animal-bird": ["animal", "bird"], "animal-amphibian": ["animal"],
    "animal-reptile": ["animal", "reptile"], "animal-marine": ["animal", "sea animal"],
    "animal-bug": ["animal", "insect", "bug"], "plant-flower": ["plant", "flower"],
    "plant-other": ["plant"], "food-fruit": ["food", "fruit"],
    "food-vegetable": ["food", "vegetable"], "food-prepared": ["food", "meal"],
    "food-asian": ["food", "asian food"], "food-marine": ["food", "seafood"],
    "food-sweet": ["food", "dessert", "sweets"], "drink": ["drink", "beverage"],
    "dishware": ["tableware"], "place-map": ["map"], "place-geographic": ["landscape", "place"],
    "place-building": ["building"], "place-religious": ["building", "place of worship"],
    "place-other": ["place"], "transport-ground": ["vehicle", "transport"],
    "transport-water": ["boat", "vehicle"], "transport-air": ["aircraft", "vehicle"],
    "hotel": ["hotel"], "time": ["time"], "sky-weather": ["weather", "sky"],
    "event": ["celebration"], "award-medal": ["award"], "sport": ["sport", "sports equipment"],
    "game": ["game", "toy"], "arts-crafts": ["art"], "clothing": ["clothing", "clothes"],
    "sound": ["sound"], "music": ["music"], "musical-instrument": ["musical instrument", "music"],
    "phone": ["phone", "device"], "computer": ["computer", "device"],
    "light-video": ["light or video device"], "book-paper": ["book or paper"], "money": ["money"],
    "mail": ["mail"], "writing": ["writing tool"], "office": ["office supplies"],
    "lock": ["lock or key"], "tool": ["tool"], "science": ["science"], "medical": ["medicine"],
    "household": ["household object"], "other-object": ["object"],
    "transport-sign": ["sign"], "warning": ["sign", "warning sign"], "arrow": ["arrow", "symbol"],
    "religion": ["religious symbol"], "zodiac": ["zodiac sign", "symbol"],
    "av-symbol": ["button", "symbol"], "gender": ["symbol"], "math": ["math symbol", "symbol"],
    "punctuation": ["punctuation mark", "symbol"], "currency": ["currency", "symbol"],
    "other-symbol": ["symbol"], "alphanum": ["button", "symbol"],
    "geometric": ["shape", "geometric shape"],
}  # fmt: skip


@dataclass(frozen=True)
class Concept:
    """One thing to draw: `names` come first in captions, `wider` words cover many concepts."""

    key: str
    names: tuple[str, ...]
    keywords: tuple[str, ...]
    wider: tuple[str, ...]
    group: int
    colour_matters: bool

    @property
    def is_pet(self) -> bool:
        """Tell a cat or a dog, the pair that the model mixes up most easily."""
        return self.group == 3 and bool({"cat", "dog"} & set(self.names))

    @property
    def words(self) -> frozenset[str]:
        """Every text that is true of this concept; two concepts that share one are no negatives."""
        return frozenset((*self.names, *self.keywords, *self.wider))


def read_lines(name: str) -> list[str]:
    """Return the lines of a list beside this file, without comments and blanks."""
    lines = (FOLDER / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def read_nouns() -> dict[str, list[str]]:
    """Return the 100 nouns of the test, each with the hexcodes of the emoji that show it."""
    rows = (line.split("\t") for line in read_lines("nouns100.txt"))
    return {noun: codes.split(",") for noun, codes in rows}


def read_held_out() -> dict[str, str]:
    """Return hexcode -> name of the concepts that training never sees."""
    return dict(line.split("\t") for line in read_lines("held_out.txt"))


def read_synonyms() -> dict[str, list[str]]:
    """Return name -> further names that people type, best first."""
    rows = (line.split(":") for line in read_lines("synonyms.txt"))
    return {name.strip(): [word.strip() for word in words.split(",")] for name, words in rows}


def clean(name: str) -> str:
    """Return a Unicode name the way people type it: lower case, plain letters and blanks."""
    name = name.lower().replace("’", "'").replace("_", " ").replace("“", "").replace("”", "")
    return re.sub(r"\s+", " ", re.sub(r"[:!()]", " ", name)).strip()


def is_wanted(entry: dict) -> bool:
    """Tell whether an emoji is a concept of its own (no flags, keycaps, tones or joined people)."""
    code = entry["hexcode"].split("-")
    label = entry["label"]
    if entry.get("group") in SKIPPED_GROUPS or label.startswith(("keycap", "family", "couple")):
        return False
    gendered = "200D" in code and ("2640" in code or "2642" in code)
    return not gendered and not ("200D" in code and code[0] in ("1F468", "1F469"))


def short_names(label: str, group: int) -> list[str]:
    """Return the names hidden in a Unicode label: `dog face` also shows a dog."""
    names = [label]
    if group == 3 and label.endswith(" face"):
        names.append(label.removesuffix(" face"))
    for before, after in ((" button", ""), (" with ", " ")):
        if before in label and group in (5, 6, 7):
            names.append(label.replace(before, after))
    return names


def read_emoji(folder: Path) -> list[Concept]:
    """Return the emoji concepts of an unpacked `emojibase-data`, in Unicode's order."""
    entries = json.loads((folder / "en/data.json").read_text(encoding="utf-8"))
    codes = json.loads((folder / "en/shortcodes/github.json").read_text(encoding="utf-8"))
    subgroups = subgroup_names(folder)
    synonyms = read_synonyms()
    concepts = []
    for entry in sorted(filter(is_wanted, entries), key=lambda entry: entry.get("order", 0)):
        label = clean(entry["label"])
        names = short_names(label, entry["group"])
        for name in list(names):
            names += synonyms.get(name, [])
        aliases = codes.get(entry["hexcode"], [])
        aliases = [aliases] if isinstance(aliases, str) else aliases
        tags = [clean(tag) for tag in (*entry.get("tags", ()), *aliases)]
        wider = HYPERNYMS.get(subgroups[entry["subgroup"]], ())
        colourful = any(word in COLOURS or word == "grey" for word in label.split())
        keywords = [tag for tag in tags if tag not in names and tag not in wider and len(tag) > 1]
        concepts.append(
            Concept(
                plain_code(entry["hexcode"]),
                tuple(dict.fromkeys(names)),
                tuple(dict.fromkeys(keywords)),
                tuple(wider),
                entry["group"],
                colourful,
            )
        )
    return concepts


def subgroup_names(folder: Path) -> dict[int, str]:
    """Return emojibase's numbers of the Unicode subgroups and their names."""
    groups = json.loads((folder / "meta/groups.json").read_text(encoding="utf-8"))
    return {int(number): name for number, name in groups["subgroups"].items()}


def plain_code(code: str) -> str:
    """Return a hexcode without variation selectors, as sets disagree on them."""
    return "-".join(part for part in code.upper().split("-") if part not in ("FE0F", "FE0E"))


def shape_pairs() -> list[tuple[str, str]]:
    """Return every colour x shape pair, the held-out ones included."""
    return [(colour, shape) for colour in COLOURS for shape in SHAPES]


def shape_concept(colour: str, shape: str) -> Concept:
    """Return the concept of one colour x shape pair."""
    names = [
        f"{c} {s}"
        for c in (colour, *SHAPE_SYNONYMS.get(colour, ()))
        for s in (shape, *SHAPE_SYNONYMS.get(shape, ()))
    ]
    keywords = (shape, *SHAPE_SYNONYMS.get(shape, ()), f"{colour} shape", f"{colour} thing")
    return Concept(f"{colour}-{shape}", tuple(names), keywords, ("shape", colour), -1, True)


def without_held_out(concepts: Sequence[Concept], held_out: dict[str, str]) -> list[Concept]:
    """Drop held-out concepts, and every keyword elsewhere that spells one of their names."""
    names = {clean(name) for name in held_out.values()}
    names |= {name + "s" for name in names}

    def is_free(text: str) -> bool:
        return text not in names

    kept = [concept for concept in concepts if concept.key not in held_out]
    return [
        Concept(
            c.key,
            tuple(filter(is_free, c.names)),
            tuple(filter(is_free, c.keywords)),
            tuple(filter(is_free, c.wider)),
            c.group,
            c.colour_matters,
        )
        for c in kept
    ]


def training_concepts(folder: Path) -> list[Concept]:
    """Return all that training may draw: emoji and shapes, less what is held out."""
    shapes = [shape_concept(c, s) for c, s in shape_pairs() if f"{c} {s}" not in HELD_OUT_SHAPES]
    return [*without_held_out(read_emoji(folder), read_held_out()), *shapes]


def draw_text(concept: Concept, random_: random.Random) -> str:
    """Return a true text for the concept: mostly a name, sometimes a keyword or a wider word."""
    roll = random_.random()
    if roll < 0.15 and concept.keywords:
        return random_.choice(concept.keywords)
    if roll < 0.21 and concept.wider:
        return random_.choice(concept.wider)
    if roll < 0.65:
        return concept.names[0]
    return random_.choice(concept.names)
