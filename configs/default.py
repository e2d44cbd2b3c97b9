"""Every field of a training, with its unit and meaning. The recipes start from here."""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()

    # Folder of a data set made by data_prep. Unset: the built-in band.
    config.data_dir = config_dict.placeholder(str)
    # Decides initial parameters, order of the data, crops and swapped channels.
    config.seed = 0

    # The recipe's masker: `name`, one of jaxsep.models.MASKERS, and the masker's own fields.
    config.model = ConfigDict()

    # Updates. Unset: `full_train_steps` on a named data set, `demo_train_steps` on the built-in
    # band.
    config.num_train_steps = config_dict.placeholder(int)
    config.full_train_steps = 20_000
    config.demo_train_steps = 250
    # Examples in an update, over all devices.
    config.batch_size = 16
    # Frames of an example; longer segments are cropped at random. Unset: whole segments.
    config.crop_frames = config_dict.placeholder(int)

    # One of jaxsep.losses.LOSSES.
    config.loss = "phase_sensitive"
    # Adam's rate after `warmup_steps`; falls to 1 % of it along a cosine.
    config.learning_rate = 1e-3
    config.warmup_steps = 50
    # Largest norm of the whole gradient; float("inf") doesn't clip.
    config.grad_clip_norm = 0.1
    # Updates in a row whose gradient isn't finite, before the training stops.
    config.max_skipped_in_row = 20

    # Steps between lines in metrics.jsonl, and between validations, each with a checkpoint.
    config.log_every_steps = 10
    config.eval_every_steps = 250

    return config
