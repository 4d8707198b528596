"""What runs a model: see `base.Engine`."""
