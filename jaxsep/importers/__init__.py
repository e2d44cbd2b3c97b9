"""Weights that others trained and published, made into checkpoints of jaxsep."""
