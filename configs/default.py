"""Every field of a training, with its unit and meaning. The recipes start from here."""

import dataclasses

from ml_collections import ConfigDict, config_dict

from jaxsep.data.mixing import Mixing


def get_config() -> ConfigDict:
    config = ConfigDict()

    # Folder of a data set made by data_prep, or several with their shares of the examples:
    # "A:2,B:1", or "A,B" for equal ones. Stems are mixed within each data set. Validation goes
    # through the validation tracks of all, and each track counts the same. Unset: the built-in
    # band.
    config.data_dir = config_dict.placeholder(str)
    # How the built-in band is prepared: "magnitude", or "waveform" for recipes that need it.
    config.demo_representation = "magnitude"
    # Decides initial parameters, order of the data, crops, swapped channels and dropout.
    config.seed = 0

    # Names of the stems that the masker learns to find, joined by commas: any of the data set's.
    config.targets = "vocals"
    # Whether each target has a network of its own, all trained in one run; else they share one.
    config.one_network_each = False
    # Transform of the spectra, where the data set holds waveforms; unset: the data set's own, or
    # that of `start_from`. jaxsep.stft_config.StftConfig explains the fields.
    config.stft = ConfigDict(
        {
            "n_fft": config_dict.placeholder(int),
            "hop_length": config_dict.placeholder(int),
            "win_length": config_dict.placeholder(int),
            "padding": config_dict.placeholder(str),
        }
    )

    # The recipe's masker: `name`, one of jaxsep.models.MASKERS, and the masker's own fields.
    config.model = ConfigDict()
    # What the parameters are at first: a workdir, a checkpoint or a name, as `--model` takes them,
    # of the same masker. Unset: random.
    config.start_from = config_dict.placeholder(str)

    # Updates. Unset: `full_train_steps` on a named data set, `demo_train_steps` on the built-in
    # band.
    config.num_train_steps = config_dict.placeholder(int)
    config.full_train_steps = 20_000
    config.demo_train_steps = 250
    # Examples in an update, over all devices.
    config.batch_size = 16
    # Frames of an example; longer segments are cropped at random. Unset: whole segments.
    config.crop_frames = config_dict.placeholder(int)

    # How a data set of waveforms is mixed; jaxsep.data.mixing.Mixing explains the fields. A data
    # set of magnitudes was mixed when it was prepared.
    config.mixing = ConfigDict(dataclasses.asdict(Mixing()))

    # Keep the training split's waveforms in the memory of each device (176 kB a second of stereo at
    # 44.1 kHz; short segments count as whole) and mix there: the host then only draws numbers.
    config.mix_on_device = False

    # Parts that a batch is worked through in, one after another: less memory, same update, but for
    # what dropout draws. 1 with batch normalisation.
    config.grad_accum_steps = 1
    # Of the matrix products: "float32" or "bfloat16". Parameters, states and loss are float32.
    config.compute_dtype = "float32"

    # One of jaxsep.training.losses.LOSSES, or several joined by "+".
    config.loss = "phase_sensitive"
    # Adam's rate after `warmup_steps`. It falls to 1 % of that until the last step, along a
    # "cosine" or a line ("linear"), or stays ("constant").
    config.learning_rate = 1e-3
    config.warmup_steps = 50
    config.schedule = "cosine"
    # Validations in a row without a new best score, before the rate is multiplied by
    # `plateau_factor` once more. 0: never.
    config.plateau_patience = 0
    config.plateau_factor = 0.3
    # Validations in a row without a new best score, before the training ends. 0: never.
    config.early_stopping_patience = 0
    # Largest norm of the whole gradient; float("inf") doesn't clip.
    config.grad_clip_norm = 0.1
    # "adam", or "adamw", whose weight decay is decoupled and spares biases and norms.
    config.optimizer = "adam"
    # Decays of Adam's moving averages, of the gradient and of its square.
    config.adam_b1 = 0.9
    config.adam_b2 = 0.999
    # Of Adam: so much of each parameter is added to its gradient, behind the clipping (L2). Of
    # AdamW: so much of it, times the learning rate, is taken off it in each step.
    config.weight_decay = 0.0
    # Of the moving average of the parameters, which is then what is validated and separates;
    # 0.999 averages some 1,000 steps. 0: no average.
    config.ema_decay = 0.0
    # Updates in a row that fail (loss or gradient not finite, or gradient exactly 0), before the
    # training stops.
    config.max_failed_in_row = 20

    # Steps between lines in metrics.jsonl; between validations, each with a checkpoint; between
    # checkpoints; and between looks into the layers, each of which costs as much as a step.
    config.log_every_steps = 10
    config.eval_every_steps = 250
    config.checkpoint_every_steps = 100
    config.health_every_steps = 100

    return config
