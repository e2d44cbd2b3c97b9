"""Every field of a training, with its unit and meaning. The recipes start from here."""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()

    # Folder of a data set made by data_prep. Unset: the built-in band.
    config.data_dir = config_dict.placeholder(str)
    # Decides initial parameters, order of the data, crops, swapped channels and dropout.
    config.seed = 0

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

    # How a data set of waveforms is mixed; one of magnitudes was mixed when it was prepared.
    config.mixing = ConfigDict()
    # Share of the mixtures whose voice keeps its own backing, where it has one, at its own level.
    config.mixing.paired = 0.4
    # Share of the voices that another one joins, and of the backings (each stem by itself) of other
    # songs than the voice's; it has its own level or is up to 12 dB below.
    config.mixing.second_voice = 0.0
    config.mixing.second_backing = 0.0
    # Level of a voice over another song's backing, in dB, pauses left out: from, to.
    config.mixing.min_vocals_db = -12.0
    config.mixing.max_vocals_db = 6.0
    # Shares of the mixtures without a voice, and without a backing.
    config.mixing.instrumental = 0.1
    config.mixing.a_cappella = 0.05
    # A stem is played up to so many times slower or faster, which changes its pitch as well.
    config.mixing.speed = 1.15
    # Each channel of a stem is louder or quieter by up to so many dB.
    config.mixing.pan_db = 3.0
    # Swap a stem's channels, and turn its polarity, at random.
    config.mixing.flip = True
    # Deviation of the gains of the bands of each stem's equaliser, in dB.
    config.mixing.equaliser_db = 3.0
    # Share of the mixtures that end at 9 to 20 kHz, as a codec or a microphone may leave them.
    config.mixing.cut_off = 0.25
    # Share of the voices that are put in a room.
    config.mixing.reverb = 0.2
    # Share of the mixtures whose channels are alike, as those of a mono recording.
    config.mixing.mono = 0.0

    # Keep the training split's waveforms in the memory of each device (176 kB a second of stereo at
    # 44.1 kHz; short segments count as whole) and mix there: the host then only draws numbers.
    config.mix_on_device = False

    # Parts that a batch is worked through in, one after another: less memory, same update. 1 with
    # dropout or batch normalisation.
    config.grad_accum_steps = 1
    # Of the matrix products: "float32" or "bfloat16". Parameters, states and loss are float32.
    config.compute_dtype = "float32"

    # One of jaxsep.training.losses.LOSSES.
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
    # So much of each parameter is added to its gradient, behind the clipping (L2).
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
