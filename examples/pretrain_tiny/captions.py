"""Write a caption for a concept and turn it into token ids.

Trains on a compacted vocabulary: only tokens that some caption can contain have a row.
`expand` puts the rows back into CLIP's 49,408.
"""

import random
from collections.abc import Sequence

import open_clip
import torch
from concepts import Concept, draw_text

CONTEXT_LENGTH = 32
VOCAB_SIZE = 49408
START, END = 49406, 49407
IMAGENET_TEMPLATES = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
OTHER_TEMPLATES = (
    "a drawing of a {}.", "an emoji of a {}.", "an icon of a {}.", "clip art of a {}.",
    "a picture of a {}.", "an image of a {}", "this is a {}.", "a simple drawing of a {}.",
    "a {}", "an {}", "the {}", "{} emoji", "{} icon", "a photo of {}.", "a small {}",
    "a photo of a {}, an emoji.", "a silhouette of a {}.", "line art of a {}.",
)  # fmt: skip


def draw_template(random_: random.Random) -> str:
    """Return a template: the plain name, CLIP's usual one, one of the 80, or another."""
    roll = random_.random()
    if roll < 0.25:
        return "{}"
    if roll < 0.35:
        return "a photo of a {}."
    return random_.choice(IMAGENET_TEMPLATES if roll < 0.8 else OTHER_TEMPLATES)


class Captions:
    """Every text of the training concepts, its tokens, and which concepts it is true of."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self.concepts = concepts
        self.texts = sorted({word for concept in concepts for word in concept.words})
        self._number = {text: number for number, text in enumerate(self.texts)}
        self._tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=CONTEXT_LENGTH)
        templates = ("{}", *IMAGENET_TEMPLATES, *OTHER_TEMPLATES)
        self._around = {t: tuple(map(self._encode, t.split("{}"))) for t in templates}
        self._ids = {text: self._encode(text) for text in self.texts}
        used = {i for ids in self._ids.values() for i in ids} | {0, START, END}
        used |= {i for pair in self._around.values() for ids in pair for i in ids}
        self.kept = torch.tensor(sorted(used))  # row of the compact table -> CLIP's token id
        self._row = {token: row for row, token in enumerate(self.kept.tolist())}
        self.truth = torch.zeros(len(concepts), len(self.texts), dtype=torch.bool)
        for row, concept in enumerate(concepts):
            self.truth[row, [self._number[word] for word in concept.words]] = True

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text.strip())

    def tokenize(self, text: str, template: str = "{}") -> list[int]:
        """Return CLIP's token ids of a prompt, padded with 0 to the context length."""
        before, after = self._around[template]
        ids = [*[START, *before, *self._ids[text], *after][: CONTEXT_LENGTH - 1], END]
        return ids + [0] * (CONTEXT_LENGTH - len(ids))

    def draw(
        self, rows: Sequence[int], random_: random.Random, *, plain_share: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return compact tokens (B, 32) of one caption per concept, and which pairs are true.

        The second is (B, B) bool: entry i, j is true where caption j is also true of picture i.
        A share of the captions is just the concept's first name: the text tower finds its
        footing sooner when a sentence around the name comes later.
        """
        texts, prompts = [], []
        for row in rows:
            is_plain = random_.random() < plain_share
            concept = self.concepts[row]
            texts.append(concept.names[0] if is_plain else draw_text(concept, random_))
            template = "{}" if is_plain else draw_template(random_)
            prompts.append(self.tokenize(texts[-1], template))
        tokens = torch.tensor([[self._row[i] for i in prompt] for prompt in prompts])
        columns = torch.tensor([self._number[text] for text in texts])
        return tokens, self.truth[torch.as_tensor(rows)][:, columns]

    def expand(self, table: torch.Tensor) -> torch.Tensor:
        """Return the full token table (49408, W); rows that were never trained are zero."""
        full = torch.zeros(VOCAB_SIZE, table.shape[1], dtype=table.dtype)
        full[self.kept] = table
        return full
