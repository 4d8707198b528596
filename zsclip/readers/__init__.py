"""Data sets on disk -> labelled pictures: known sets, folders, manifests, shards, the hub's."""
