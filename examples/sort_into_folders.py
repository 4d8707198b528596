"""Copy the pictures of a folder into one folder per label: how the Python API reads.

`zsclip sort` does it with care: it overwrites nothing, goes on after a kill, and can be undone.

python examples/sort_into_folders.py examples/images /tmp/sorted cat dog pizza
"""

import shutil
import sys
from pathlib import Path

import zsclip


def sort(folder: Path, target: Path, labels: list[str], model: str) -> None:
    """Copy every picture that can be read to `target/LABEL/`."""
    classifier = zsclip.Classifier(labels, model=model)
    pictures = sorted(path for path in folder.iterdir() if path.is_file())
    for result in classifier.classify(pictures):
        if result.label is None:
            print(f"{result.path}: {result.error.message}", file=sys.stderr)
            continue
        place = target / result.label
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy2(result.path, place)


if __name__ == "__main__":
    sort(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:], model="tiny")
