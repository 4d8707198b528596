"""What `zsclip classify PICTURE --labels A,B --model FOLDER` does, with open_clip alone.

python benchmarks/plain_open_clip.py FOLDER PICTURE A,B
"""

import sys

import open_clip
import torch
from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES
from PIL import Image

folder, picture, labels = sys.argv[1], sys.argv[2], sys.argv[3].split(",")

model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
model.eval()
tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
with torch.inference_mode():
    weight = open_clip.build_zero_shot_classifier(
        model, tokenizer, labels, OPENAI_IMAGENET_TEMPLATES, num_classes_per_batch=None
    )
    image = Image.open(picture).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    pixels = preprocess(image).unsqueeze(0)
    image_features = model.encode_image(pixels, normalize=True)
    scores = (model.logit_scale.exp() * image_features @ weight).softmax(dim=-1)[0]
best = int(scores.argmax())
print(labels[best], f"{float(scores[best]):.6f}")
