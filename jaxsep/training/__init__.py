"""The training of a masker, from a config to checkpoints.

For others: `loop.train_and_evaluate`, `setup`, `validation.validate`, `losses.LOSSES`, `health`
and `failed_steps` (what went wrong, and where).
"""
