"""What transformers' pipeline does with one picture and its one template.

python benchmarks/plain_transformers.py FOLDER A,B PICTURE
"""

import json
import sys

from transformers import pipeline

folder, labels, picture = sys.argv[1:]
classifier = pipeline("zero-shot-image-classification", model=folder, device="cpu")
best = classifier(picture, candidate_labels=labels.split(","))[0]
print(json.dumps({"path": picture, "label": best["label"], "score": best["score"]}))
