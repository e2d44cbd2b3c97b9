"""The training of a masker, from a config to checkpoints.

For others: `loop.train_and_evaluate`, `setup`, `validation.validate`, `losses.Loss`, `health`
and `failed_steps` (what went wrong, and where).
"""
