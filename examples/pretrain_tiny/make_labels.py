"""Write labels files of the 100 nouns, with synonyms or context: `make_labels.py --work W DIR`.

`nouns.txt` has the nouns, `synonyms.yaml` other names of their emoji beside them, `context.yaml` a
wider word behind each. What these do to the figures of `tiny` is in docs/labels.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import artists
from concepts import Concept, read_emoji, read_nouns


def synonyms(noun: str, concepts: Iterable[Concept], taken: Iterable[str]) -> str:
    """A label with the names of its emoji that no other label has."""
    names = [name for concept in concepts for name in concept.names if name not in taken]
    return f"- label: {json.dumps(noun)}\n  names: {json.dumps([*dict.fromkeys([noun, *names])])}\n"


def context(noun: str, concepts: Sequence[Concept]) -> str:
    """A label and the first wider word of its emoji."""
    wider = concepts[0].wider[:1]
    meant = [f"  context: {json.dumps(f'a kind of {word}')}\n" for word in wider]
    return f"- label: {json.dumps(noun)}\n{''.join(meant)}"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args(argv)
    known = {concept.key: concept for concept in read_emoji(artists.fetch_names(arguments.work))}
    nouns = {noun: [known[code] for code in codes] for noun, codes in read_nouns().items()}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    files = {
        "nouns.txt": "".join(f"{noun}\n" for noun in nouns),
        "synonyms.yaml": "".join(synonyms(noun, those, nouns) for noun, those in nouns.items()),
        "context.yaml": "".join(context(noun, those) for noun, those in nouns.items()),
    }
    for name, text in files.items():
        (arguments.folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
