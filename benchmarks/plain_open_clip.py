"""What `zsclip classify PICTURE... --labels A,B --model FOLDER` does, with open_clip alone.

python benchmarks/plain_open_clip.py FOLDER A,B PICTURE...
"""

import json
import sys

import open_clip
import torch
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES
from PIL import Image

BATCH_SIZE = 32


def load(folder, **options):
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}", **options)
    return model.eval(), preprocess


def build_weight(model, folder, labels):
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    return open_clip.build_zero_shot_classifier(
        model, tokenizer, labels, OPENAI_IMAGENET_TEMPLATES, device=model.logit_scale.device
    )


@torch.inference_mode()
def classify(paths, model, preprocess, weight):
    """Scores (B, C)."""
    like = model.visual.conv1.weight
    scores = []
    for start in range(0, len(paths), BATCH_SIZE):
        pictures = [preprocess(Image.open(path)) for path in paths[start : start + BATCH_SIZE]]
        pixels = torch.stack(pictures).to(like.device, like.dtype)
        image_features = model.encode_image(pixels, normalize=True)
        scores.append((model.logit_scale.exp() * image_features @ weight).softmax(dim=-1))
    return torch.cat(scores).float().cpu()


def main(folder, labels, *paths):
    labels = labels.split(",")
    model, preprocess = load(folder)
    weight = build_weight(model, folder, labels)
    scores, best = classify(paths, model, preprocess, weight).max(dim=-1)
    for path, score, i in zip(paths, scores.tolist(), best.tolist(), strict=True):
        print(json.dumps({"path": path, "label": labels[i], "score": score}))


if __name__ == "__main__":
    main(*sys.argv[1:])
