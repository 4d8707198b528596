"""Show how one picture's scores depend on the prompt templates.

python examples/compare_templates.py examples/images/cat.png cat dog
"""

import sys

import zsclip


def compare(picture: str, labels: list[str], model: str) -> None:
    """Print the scores of one picture under three template sets; the model is loaded once."""
    loaded = zsclip.load_model(model)
    for templates in ("none", "photo", "imagenet80"):
        head = zsclip.build_head(labels, model=loaded, templates=templates)
        [result] = zsclip.Classifier(head, model=loaded).classify(picture)
        scores = "  ".join(f"{s.label} {s.score:.3f} ({s.cosine:.3f})" for s in result.scores)
        print(f"{templates:10}  {scores}")


if __name__ == "__main__":
    compare(sys.argv[1], sys.argv[2:], model="tiny")
