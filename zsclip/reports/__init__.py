"""Results -> one HTML file to look at, of a classification, an evaluation or a few-shot curve."""
