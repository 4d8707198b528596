"""Score `zsclip calibrate` on drawings: `python score_calibration.py OPENMOJI NOTO`.

Both are folders by make_folders.py: of the unseen artist, and of one that training has seen. Prints
the two tables of docs/calibration.md: calibrated on an artist's own drawings, and on another's.
Every figure is a mean over twenty deals of the drawings into parts, with the lowest and highest.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import zsclip
from zsclip import calibration, conformal, labelled_features
from zsclip.calibrate import Calibrated, calibrate
from zsclip.encoders import Model
from zsclip.evaluate import matched
from zsclip.heads import Head
from zsclip.labelled_features import LabelledFeatures
from zsclip.readers.folder import read_folder

SEEDS = range(20)
COVERAGE = 0.9


def encode(folder: Path, model: Model, head: Head | None = None) -> tuple[LabelledFeatures, Head]:
    """Return the features of class folders, and a head of their names unless one is given."""
    pictures = read_folder(folder)
    head = head or zsclip.build_head([n[0] for n in pictures.class_names], model=model)
    return labelled_features.embed(matched(pictures, head), model=model), head


def deals(features: LabelledFeatures, head: Head, model: Model) -> list[Calibrated]:
    """Return the head calibrated once for each seed."""
    classifier = zsclip.Classifier(head, model=model)
    return [
        calibrate(features, classifier, coverages=[COVERAGE], seed=seed, draws=2) for seed in SEEDS
    ]


def shown(values: Sequence[float], *, digits: int = 1, sign: bool = False) -> str:
    """Return the mean and, behind it, the lowest and highest of several deals."""
    form = f"{'+' if sign else ''}.{digits}f"
    mean, low, high = (format(f(values), form) for f in (np.mean, np.min, np.max))
    return mean if low == high else f"{mean} ({low} to {high})"


OWN: dict[str, tuple[Callable[[Calibrated], float], dict]] = {
    "temperature": (lambda c: c.temperature, {"digits": 2}),
    "right, %": (lambda c: 100 * c.accuracy.value, {}),
    "mean score before, %": (lambda c: 100 * c.before.confidence.value, {}),
    "mean score after, %": (lambda c: 100 * c.after.confidence.value, {}),
    "calibration error before, %": (lambda c: 100 * c.before.calibration.error, {}),
    "calibration error after, %": (lambda c: 100 * c.after.calibration.error, {}),
    "change of NLL": (lambda c: c.nll_change.value, {"digits": 3, "sign": True}),
    "change of Brier": (lambda c: c.brier_change.value, {"digits": 3, "sign": True}),
    "sets of 0.9 hold the truth, %": (lambda c: 100 * c.label_sets[0].reached.value, {}),
    "labels in a set": (lambda c: c.label_sets[0].size.value, {}),
}


def measure(features: LabelledFeatures, head: Head, model: Model) -> tuple[float, ...]:
    """Return error, NLL, and where the head has sets how often they hold the truth, and their size.

    The first and third are in per cent.
    """
    scores, _ = zsclip.Classifier(head, model=model).score(features.features)
    own = scores[np.arange(len(scores)), features.labels]
    found = calibration.calibration(
        scores.max(axis=1),
        scores.argmax(axis=1) == features.labels,
        truth_score=own,
        squared=np.zeros(len(scores)),  # the Brier score is not asked for
    )
    figures = (100 * found.error, found.nll)
    if not head.coverage:
        return figures
    inside = conformal.members(scores, head.set_threshold(COVERAGE))
    held = inside[np.arange(len(inside)), features.labels]
    return (*figures, 100 * held.mean(), inside.sum(axis=1).mean())


def print_own(openmoji: Path, model: Model) -> None:
    """Print what calibrating does on held-out drawings of the same artist."""
    columns = [deals(*encode(openmoji / part, model), model) for part in ("train", "nouns")]
    for name, (figure, form) in OWN.items():
        cells = [shown([figure(deal) for deal in column], **form) for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")
    for part, column in zip(("train", "nouns"), columns, strict=True):
        better = sum(deal.nll_change.value < 0 for deal in column)
        print(f"\n{part}: the NLL fell in {better} deals of {len(column)}")


def print_other(openmoji: Path, noto: Path, model: Model) -> None:
    """Print what a calibration is worth on drawings of another artist."""
    tests = {"test": [noto / "train", openmoji / "train"], "nouns": [noto / "nouns"]}
    for part, sources in tests.items():
        features, head = encode(openmoji / part, model)
        error, nll = measure(features, head, model)
        print(
            f"| {openmoji / part}, {len(features.labels)} | nothing | | {error:.1f} | {nll:.3f} |"
        )
        for source in sources:
            fitted, head = encode(source, model)
            calibrated = deals(fitted, head, model)
            features, _ = encode(openmoji / part, model, head)
            rows = [measure(features, deal.head, model) for deal in calibrated]
            errors, nlls, held, sizes = zip(*rows, strict=True)
            cells = [
                shown([deal.temperature for deal in calibrated], digits=2),
                shown(errors),
                shown(nlls, digits=3),
                shown(held),
                shown(sizes),
            ]
            print(f"| | {source} | {' | '.join(cells)} |")


def main(argv: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("openmoji", type=Path)
    parser.add_argument("noto", type=Path)
    arguments = parser.parse_args(argv)
    model = zsclip.load_model("tiny")
    print_own(arguments.openmoji, model)
    print()
    print_other(arguments.openmoji, arguments.noto, model)


if __name__ == "__main__":
    main()
