"""Score `none of these` and `several of these`: `python score_unknown.py --work WORK`.

Pictures are an artist's drawings of the 100 nouns. Some nouns are the labels, and a picture of any
other noun shows none of them. Then two drawings side by side, which show two. Choices were made
with `--artist twemoji` and `--artist fxemoji`, which training has seen; OpenMoji is the default.
Intervals are 95 % bootstrap intervals over pictures; label sets are drawn by lot, `SETS` of a size.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import artists
import numpy as np
import torch
import torch.nn.functional as F
from concepts import read_nouns
from pictures import IMAGE_SIZE, normalize, on_white

import zsclip
from zsclip import scoring
from zsclip.background import Background, Name, means_a_label, open_background
from zsclip.intervals import Interval, bootstrap_each, paired
from zsclip.metrics import Ranking, map11, rank_pictures, roc_auc

SIZES = (2, 5, 10, 20, 50)
SETS = 20
DRAWS = 500
PAIRS = 400
SIDE = 30
BATCH = 256
NOUNS = list(read_nouns())


@dataclass(frozen=True)
class Pictures:
    """Features (N, D) and which of the 100 nouns each picture shows, (N, 100) bool."""

    features: np.ndarray
    shows: np.ndarray


@dataclass(frozen=True)
class Cosines:
    """Of pictures to some of the nouns, (N, C), and to the names that compete with them, (N, M)."""

    labels: np.ndarray
    background: np.ndarray
    scale: float


def read_drawings(artist: str, work: Path) -> tuple[torch.Tensor, np.ndarray]:
    """Return drawings (N, 96, 96, 4) of the nouns and which noun each shows, (N,)."""
    keys, drawings = artists.load([artist], work)[artist]
    place = {code: i for i, codes in enumerate(read_nouns().values()) for code in codes}
    rows = [i for i, key in enumerate(keys.tolist()) if key in place]
    return torch.from_numpy(drawings[rows]), np.array([place[keys[i]] for i in rows])


def single(model: zsclip.Model, drawings: torch.Tensor, nouns: np.ndarray) -> Pictures:
    """Return each drawing on white, as score.py has them."""
    return Pictures(encode(model, on_white(drawings, share=0.85)), np.eye(100, dtype=bool)[nouns])


def pairs(model: zsclip.Model, drawings: torch.Tensor, nouns: np.ndarray) -> Pictures:
    """Return PAIRS pictures of two drawings of different nouns, side by side."""
    generator = np.random.default_rng(0)
    chosen: list[np.ndarray] = []
    while len(chosen) < PAIRS:
        pair = generator.integers(0, len(nouns), 2)
        if nouns[pair[0]] != nouns[pair[1]]:
            chosen.append(pair)
    left, right = np.array(chosen).T
    shows = np.eye(100, dtype=bool)[nouns[left]] | np.eye(100, dtype=bool)[nouns[right]]
    return Pictures(encode(model, side_by_side(drawings[left], drawings[right])), shows)


def side_by_side(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return pictures (B, 3, 64, 64) of two drawings each, on white."""
    canvas = torch.zeros(len(left), 4, IMAGE_SIZE, IMAGE_SIZE)
    top, margin = (IMAGE_SIZE - SIDE) // 2, (IMAGE_SIZE - 2 * SIDE) // 4
    for start, drawings in ((margin, left), (IMAGE_SIZE - SIDE - margin, right)):
        source = drawings.permute(0, 3, 1, 2).float().div(255)
        small = F.interpolate(
            source, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False
        )
        canvas[:, :, top : top + SIDE, start : start + SIDE] = small
    return normalize((canvas[:, :3] + 1 - canvas[:, 3:]).clamp(0, 1))


def encode(model: zsclip.Model, pictures: torch.Tensor) -> np.ndarray:
    """Return image_features (B, D)."""
    return np.concatenate([model.encode_image(part.numpy()) for part in pictures.split(BATCH)])


class Labels:
    """Heads and backgrounds of label sets, one model."""

    def __init__(self, model: zsclip.Model) -> None:
        self.model = model

    def draw(self, size: int) -> Iterator[np.ndarray]:
        """Yield SETS sets of nouns, drawn by lot; all of them where that is the size."""
        for seed in range(SETS if size < len(NOUNS) else 1):
            yield np.random.default_rng((size, seed)).permutation(len(NOUNS))[:size]

    def cosines(
        self, pictures: Pictures, chosen: np.ndarray, *, knows_nouns: bool = True
    ) -> Cosines:
        """Return what is scored; a background may be kept from knowing any of the nouns."""
        head = zsclip.build_head([NOUNS[i] for i in chosen], model=self.model)
        background = open_background(head, model=self.model)
        weight = background.weight if knows_nouns else without_nouns(background)
        return Cosines(pictures.features @ head.weight.T, pictures.features @ weight.T, head.scale)


def without_nouns(background: Background) -> np.ndarray:
    """Return the weight of the names that have no noun's words."""
    names = [Name(text, ()) for text in background.names]
    return background.weight[~means_a_label(names, NOUNS)]


def shares(cosines: Cosines) -> np.ndarray:
    """Return the labels' share (N,)."""
    return scoring.share(cosines.labels, cosines.background, scale=cosines.scale)


def shares_of_sums(cosines: Cosines) -> np.ndarray:
    """Return NegLabel's score (N,): sums in place of means."""
    both = np.concatenate([cosines.labels, cosines.background], axis=1)
    return scoring.softmax(cosines.scale * both)[:, : cosines.labels.shape[1]].sum(axis=1)


def shares_of_groups(cosines: Cosines) -> np.ndarray:
    """Return NegLabel's score in its grouped form (N,): the mean over ten parts of the names."""
    order = np.random.default_rng(0).permutation(cosines.background.shape[1])
    parts = [cosines.background[:, part] for part in np.array_split(order, 10)]
    each = [shares_of_sums(Cosines(cosines.labels, part, cosines.scale)) for part in parts]
    return np.mean(each, axis=0)


def max_softmax(cosines: Cosines) -> np.ndarray:
    """Return the best label's softmax score (N,)."""
    return scoring.softmax(cosines.scale * cosines.labels).max(axis=1)


def max_cosine(cosines: Cosines) -> np.ndarray:
    """Return the best label's cosine (N,)."""
    return cosines.labels.max(axis=1)


OURS, BLIND = "share (`--other`)", "share, the background knows none of the nouns"
MEASURES: dict[str, Callable[[Cosines], np.ndarray]] = {
    OURS: shares,
    "share, sums in ten groups": shares_of_groups,
    "largest softmax": max_softmax,
    "largest cosine": max_cosine,
}


def fpr95(ranking: Ranking, weights: np.ndarray) -> float:
    """Return which part of the others is let in where 95 % of the right ones are."""
    counts = weights[ranking.order]
    right, wrong = counts * ranking.relevant, counts * ~ranking.relevant
    if not right.sum() or not wrong.sum():
        return np.nan
    reached = np.searchsorted(np.cumsum(right)[ranking.ends], 0.95 * right.sum() - 1e-9)
    return float(np.cumsum(wrong)[ranking.ends][reached] / wrong.sum())


def score_none(labels: Labels, pictures: Pictures) -> list[str]:
    """Return the tables of pictures that show none of the labels."""
    found: dict[str, list[str]] = {name: [] for name in (*MEASURES, BLIND)}
    gains: dict[str, list[str]] = {name: [] for name in list(MEASURES)[1:]}
    answers: dict[str, list[str]] = {"means": [], "sums": []}
    for size in SIZES:
        sets = list(labels.draw(size))
        known = [pictures.shows[:, chosen].any(axis=1) for chosen in sets]
        cosines = [labels.cosines(pictures, chosen) for chosen in sets]
        blind = [labels.cosines(pictures, chosen, knows_nouns=False) for chosen in sets]
        rankings = {name: rank(MEASURES[name], cosines, known) for name in MEASURES}
        rankings[BLIND] = rank(shares, blind, known)
        for name, cells in found.items():
            cells.append(figures(rankings[name], len(pictures.features)))
        for name, cells in gains.items():
            cells.append(gain(rankings[name], rankings[OURS], len(pictures.features)))
        for name, share in (("means", shares), ("sums", shares_of_sums)):
            answers[name].append(at_half([share(c) for c in cosines], known))
    header = "| " + " | ".join(["labels", *map(str, SIZES)]) + " |"
    lines = [header, "|---" * (len(SIZES) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in found.items()]
    lines += ["", "AUROC of the share, less that of", "", header, lines[1]]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in gains.items()]
    lines += ["", "At 0.5: right pictures kept, others called so", "", header, lines[1]]
    lines += [f"| share of {name} | {' | '.join(cells)} |" for name, cells in answers.items()]
    return lines


def rank(
    measure: Callable[[Cosines], np.ndarray],
    cosines: Sequence[Cosines],
    known: Sequence[np.ndarray],
) -> Ranking:
    """Rank the pictures of all label sets together: one threshold has to do for all of them."""
    return rank_pictures(np.concatenate([measure(c) for c in cosines]), np.concatenate(known))


def figures(ranking: Ranking, count: int) -> str:
    """Return `99.1 (98.2 to 99.7); 3.4 (1.0 to 7.7)`: AUROC and FPR at 95 % TPR, in per cent."""
    sets = len(ranking.order) // count
    statistics = {
        "auroc": lambda weights: roc_auc(ranking, np.tile(weights, sets)),
        "fpr95": lambda weights: fpr95(ranking, np.tile(weights, sets)),
    }
    both = bootstrap_each(statistics, count, draws=DRAWS)
    return f"{percent(both['auroc'])}; {percent(both['fpr95'])}"


def gain(other: Ranking, ours: Ranking, count: int) -> str:
    """Return `3.1 (1.2 to 4.7)`: how much more AUROC one has, on the same draws."""
    sets = len(ours.order) // count
    auroc = [lambda w, r=r: roc_auc(r, np.tile(w, sets)) for r in (other, ours)]
    return percent(paired(*auroc, count, draws=DRAWS))


def at_half(shares_: Sequence[np.ndarray], known: Sequence[np.ndarray]) -> str:
    """Return `97, 95`: per cent of right pictures kept, and of others called so, at 0.5."""
    is_kept, is_known = np.concatenate(shares_) >= 0.5, np.concatenate(known)
    return f"{100 * is_kept[is_known].mean():.0f}, {100 * (~is_kept[~is_known]).mean():.0f}"


def percent(interval: Interval) -> str:
    """Return `99.1 (98.2 to 99.7)`."""
    low, value, high = (100 * x for x in (interval.low, interval.value, interval.high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def score_several(labels: Labels, pictures: Pictures, size: int) -> list[str]:
    """Return a table of pictures that may show several of the labels."""
    sets = list(labels.draw(size))
    cosines = [labels.cosines(pictures, chosen) for chosen in sets]
    truth = [pictures.shows[:, chosen] for chosen in sets]
    against = [scoring.versus(c.labels, c.background, scale=c.scale) for c in cosines]
    softmax = [scoring.softmax(c.scale * c.labels) for c in cosines]
    plain = [scoring.sigmoid(np.float32(c.scale) * c.labels) for c in cosines]
    rows = {
        "against the background, from 0.5": (against, 0.5),
        "against the background, from 0.95": (against, 0.95),
        "softmax, from 0.5": (softmax, 0.5),
        "sigmoid of scale x cosine, from 0.5": (plain, 0.5),
        "cosine, from 0.5": ([c.labels for c in cosines], 0.5),
    }
    lines = ["| scores | precision | recall | labels a picture | mAP |", "|---|---|---|---|---|"]
    for name, (scores, limit) in rows.items():
        given = [s >= limit for s in scores]
        found = bootstrap_each(
            {
                "precision": counted(given, truth, of=given),
                "recall": counted(given, truth, of=truth),
            },
            len(pictures.features),
            draws=DRAWS,
        )
        many = np.mean([g.sum(axis=1).mean() for g in given])
        cells = [percent(found["precision"]), percent(found["recall"]), f"{many:.2f}"]
        cells.append(f"{100 * mean_average_precision(scores, truth):.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def counted(
    given: Sequence[np.ndarray], truth: Sequence[np.ndarray], *, of: Sequence[np.ndarray]
) -> Callable[[np.ndarray], float]:
    """Return weights -> the share of `of` that is both given and true."""
    right = np.sum([(g & t).sum(axis=1) for g, t in zip(given, truth, strict=True)], axis=0)
    whole = np.sum([o.sum(axis=1) for o in of], axis=0)
    return lambda weights: float((weights * right).sum() / max((weights * whole).sum(), 1e-9))


def mean_average_precision(scores: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Return the 11-point mAP, the mean over label sets.

    Without an interval: draws with doubles have a higher one than the pictures that they are of.
    """
    found = []
    for of_set, shown in zip(scores, truth, strict=True):
        each = [rank_pictures(s, t) for s, t in zip(of_set.T, shown.T, strict=True)]
        found.append(map11(each, np.ones(len(shown))))
    return float(np.nanmean(found))


def main(argv: Sequence[str] | None = None) -> None:
    """Print all tables of one artist."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--artist", default=artists.UNSEEN_ARTIST)
    parser.add_argument("--model", default="tiny", help="a name or folder")
    arguments = parser.parse_args(argv)
    labels = Labels(zsclip.load_model(arguments.model, engine="torch"))
    drawings, nouns = read_drawings(arguments.artist, arguments.work)
    one = single(labels.model, drawings, nouns)
    two = pairs(labels.model, drawings, nouns)
    out = sys.stdout
    out.write(f"{arguments.artist}: {len(nouns)} drawings; AUROC; FPR at 95 % TPR, in per cent\n\n")
    out.write("\n".join(score_none(labels, one)) + "\n")
    for title, pictures in (("one drawing", one), ("two drawings", two)):
        for size in (10, 100):
            out.write(f"\n{title}, {size} labels\n\n")
            out.write("\n".join(score_several(labels, pictures, size)) + "\n")


if __name__ == "__main__":
    main()
