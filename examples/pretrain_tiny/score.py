"""Score a model folder on an artist it has not seen: `python score.py --work WORK FOLDER...`.

Choices are made with `--artist` set to a training artist that was left out; OpenMoji, the default,
is scored once per final seed. Several folders are seeds of one recipe: the table has their mean,
the lowest and highest seed, and a 95 % bootstrap interval over pictures.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import artists
import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from concepts import (
    HELD_OUT_SHAPES,
    Concept,
    read_emoji,
    read_held_out,
    read_nouns,
    shape_concept,
    shape_pairs,
)
from model import encode_text
from pictures import on_white

TEMPLATE_SETS = {
    "imagenet80": tuple(t("{}") for t in open_clip.OPENAI_IMAGENET_TEMPLATES),
    "imagenet7": tuple(t("{}") for t in open_clip.SIMPLE_IMAGENET_TEMPLATES),
    "photo": ("a photo of a {}.",),
    "none": ("{}",),
}
USUAL_SHARE, SMALL_SHARE = 0.85, 0.6  # part of the frame that the drawing fills


class Scorer:
    """One model and the features of one artist's drawings."""

    def __init__(self, folder: Path, keys: np.ndarray, pictures: np.ndarray) -> None:
        name = f"local-dir:{folder}"
        self.model, _, _ = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)
        self.keys = keys
        self.pictures = torch.from_numpy(pictures)
        self.scale = self.model.logit_scale.exp().item()

    @torch.inference_mode()
    def image_features(self, rows: Sequence[int], *, share: float = USUAL_SHARE) -> torch.Tensor:
        """Return (B, D) features of some drawings on white."""
        parts = [
            self.model.encode_image(on_white(chunk, share=share), normalize=True)
            for chunk in self.pictures[list(rows)].split(256)
        ]
        return torch.cat(parts)

    @torch.inference_mode()
    def class_features(self, names: Sequence[str], templates: str = "imagenet80") -> torch.Tensor:
        """Return (C, D): unit length per prompt, mean over templates, unit length."""
        template_set = TEMPLATE_SETS[templates]
        prompts = [t.replace("{}", name) for name in names for t in template_set]
        features = [
            F.normalize(encode_text(self.model, self.tokenizer(prompts[i : i + 1024])), dim=1)
            for i in range(0, len(prompts), 1024)
        ]
        features = torch.cat(features).view(len(names), len(template_set), -1)
        return F.normalize(features.mean(1), dim=1)

    def cosines(
        self,
        rows: Sequence[int],
        names: Sequence[str],
        *,
        templates: str = "imagenet80",
        share: float = USUAL_SHARE,
    ) -> torch.Tensor:
        """Return (B, C)."""
        features = self.image_features(rows, share=share)
        return features @ self.class_features(names, templates).T


def is_right(cosines: torch.Tensor, truth: Sequence[int]) -> np.ndarray:
    """Return (B,) 1 where the best class is the true one."""
    return (cosines.argmax(1) == torch.tensor(truth)).float().numpy()


def score_nouns(scorer: Scorer) -> dict[str, np.ndarray]:
    """Score the 100 nouns: per picture, by template set, small, in pairs, and on wrong labels."""
    nouns = read_nouns()
    place = {code: number for number, codes in enumerate(nouns.values()) for code in codes}
    rows = [i for i, key in enumerate(scorer.keys.tolist()) if key in place]
    truth = [place[scorer.keys[i]] for i in rows]
    names = list(nouns)
    scores = {
        f"100 nouns, {templates}": is_right(scorer.cosines(rows, names, templates=templates), truth)
        for templates in TEMPLATE_SETS
    }
    small = scorer.cosines(rows, names, share=SMALL_SHARE)
    scores["100 nouns, drawing shrunk to 0.6"] = is_right(small, truth)
    cosines = scorer.cosines(rows, names)
    own = cosines[torch.arange(len(rows)), truth].unsqueeze(1)
    scores["all two-label pairs"] = ((own > cosines).float().sum(1) / (len(names) - 1)).numpy()
    scores["largest softmax on 2 wrong labels"] = wrong_pair(cosines, truth, scorer.scale)
    return scores


def wrong_pair(cosines: torch.Tensor, truth: Sequence[int], scale: float) -> np.ndarray:
    """Return (B,) the mean larger softmax over 50 draws of two labels that are both wrong."""
    generator = np.random.default_rng(0)
    larger = []
    for row, true in zip(cosines, truth, strict=True):
        wrong = np.delete(np.arange(len(row)), true)
        pairs = np.stack([generator.choice(wrong, 2, replace=False) for _ in range(50)])
        larger.append(torch.softmax(scale * row[torch.from_numpy(pairs)], 1).amax(1).mean().item())
    return np.array(larger)


def score_concepts(scorer: Scorer, concepts: Sequence[Concept]) -> dict[str, np.ndarray]:
    """Score all emoji: seen among seen, unseen among unseen, and both among all."""
    held_out = read_held_out()
    number = {concept.key: i for i, concept in enumerate(concepts)}
    rows = [i for i, key in enumerate(scorer.keys.tolist()) if key in number]
    truth = np.array([number[scorer.keys[i]] for i in rows])
    cosines = scorer.cosines(rows, [concept.names[0] for concept in concepts])
    unseen_class = torch.tensor([concept.key in held_out for concept in concepts])
    unseen = unseen_class.numpy()[truth]
    among_seen = cosines.masked_fill(unseen_class, -2.0)
    among_unseen = cosines.masked_fill(~unseen_class, -2.0)
    scores = {
        "all concepts: seen among seen": is_right(among_seen, truth)[~unseen],
        "seen among all": is_right(cosines, truth)[~unseen],
    }
    if unseen.any():
        scores["60 unseen concepts among themselves"] = is_right(among_unseen, truth)[unseen]
        scores["unseen among all"] = is_right(cosines, truth)[unseen]
    return scores


def score_cats_and_dogs(scorer: Scorer, concepts: Sequence[Concept]) -> dict[str, np.ndarray]:
    """Score every cat and dog drawing for the two labels `cat` and `dog`."""
    kinds = {
        c.key: 0 if "cat" in c.names[0].split() else 1
        for c in concepts
        if c.names[0] == "poodle"
        or ({"cat", "dog"} & set(c.names[0].split()) and c.names[0] != "hot dog")
    }
    rows = [i for i, key in enumerate(scorer.keys.tolist()) if key in kinds]
    truth = [kinds[scorer.keys[i]] for i in rows]
    names = {concept.key: concept.names[0] for concept in concepts}
    right = is_right(scorer.cosines(rows, ["cat", "dog"]), truth)
    wrong = [names[scorer.keys[row]] for row, ok in zip(rows, right, strict=True) if not ok]
    if wrong:
        print("cat,dog wrong:", ", ".join(wrong))
    return {"cat,dog": right}


def score_shapes(folder: Path, keys: np.ndarray, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Score the held-out colour x shape pairs among all pairs."""
    names = [f"{colour} {shape}" for colour, shape in shape_pairs()]
    rows = [i for i, key in enumerate(keys.tolist()) if key.replace("-", " ") in HELD_OUT_SHAPES]
    truth = [names.index(keys[i].replace("-", " ")) for i in rows]
    scorer = Scorer(folder, keys, pictures)
    return {
        "20 unseen colour x shape pairs among 192": is_right(scorer.cosines(rows, names), truth)
    }


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean over pictures."""
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(values), (4000, len(values)))
    low, high = np.percentile(values[picks].mean(1), (2.5, 97.5))
    return float(low), float(high)


def summarise(runs: Sequence[dict[str, np.ndarray]]) -> dict[str, dict]:
    """Return measure -> mean, interval over pictures, lowest and highest seed, count."""
    table = {}
    for measure in runs[0]:
        values = np.stack([run[measure] for run in runs])  # (seeds, pictures)
        low, high = interval(values.mean(0))
        seeds = values.mean(1)
        table[measure] = {
            "mean": float(seeds.mean()),
            "low": low,
            "high": high,
            "seeds": [round(float(s), 4) for s in seeds],
            "pictures": values.shape[1],
        }
    for other in ("imagenet7", "photo", "none"):
        gain = np.stack([run["100 nouns, imagenet80"] - run[f"100 nouns, {other}"] for run in runs])
        low, high = interval(gain.mean(0))
        table[f"gain of the 80 over {other}, paired"] = {
            "mean": float(gain.mean()),
            "low": low,
            "high": high,
            "seeds": [round(float(s), 4) for s in gain.mean(1)],
            "pictures": gain.shape[1],
        }
    return table


def render(table: dict[str, dict]) -> str:
    """Return the table in Markdown, in percent."""
    lines = ["| measure | mean | 95 % over pictures | seeds | pictures |", "|---|---|---|---|---|"]
    for measure, row in table.items():
        seeds = ", ".join(f"{100 * seed:.1f}" for seed in row["seeds"])
        lines.append(
            f"| {measure} | {100 * row['mean']:.1f} | {100 * row['low']:.1f} to "
            f"{100 * row['high']:.1f} | {seeds} | {row['pictures']} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Score every folder and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--artist", default=artists.UNSEEN_ARTIST)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args(argv)
    emoji = read_emoji(artists.fetch_names(arguments.work))
    shapes = [shape_concept(colour, shape) for colour, shape in shape_pairs()]
    for name in (arguments.artist, "shapes"):
        artists.rasterise(artists.read_artists()[name], arguments.work, [*emoji, *shapes])
    sets = artists.load([arguments.artist, "shapes"], arguments.work)
    runs = []
    for folder in arguments.folders:
        scorer = Scorer(folder, *sets[arguments.artist])
        runs.append(
            {
                **score_nouns(scorer),
                **score_concepts(scorer, emoji),
                **score_cats_and_dogs(scorer, emoji),
                **score_shapes(folder, *sets["shapes"]),
            }
        )
    table = summarise(runs)
    print(render(table))
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
