"""The model in the package: three LSTM layers, trained on mixtures made meanwhile.

python -m recipes.box --output=DIR        # from gathering the sources to the model
python train.py --config=configs/box.py --config.data_dir=DATA \\
  --config.mix_on_device=True --config.model.unroll=8 --workdir=START     # on a GPU that DATA fits
python train.py --config=configs/box.py:finish --config.data_dir=DATA --config.start_from=START \\
  --workdir=WORKDIR

DATA is made with --representation=waveform. The songs' voices are few, so what they are mixed with
matters most: any backing, at any level, at other speeds, in other rooms, and now and then two of
them. That needs the steps of a GPU: in a tenth of them, plain mixtures teach more (docs/ideas.md
has the figures), and nearly plain ones are what the training ends with (`:finish`). Bands instead
of bins above 2.8 kHz save a quarter of the parameters, and are better. The loss counts in decibels,
so that quiet voices weigh as much as loud ones, and pieces without a voice matter to the end.
"""

from ml_collections import ConfigDict

from configs import lstm


def get_config(variant: str = "full") -> ConfigDict:
    config = lstm.get_config()
    config.update_from_flattened_dict(
        {
            "model.num_layers": 3,
            "model.dropout": 0.2,
            "model.fine_bins": 256,
            "mixing.silent": 0.15,
            "mixing.alone": 0.08,
            "mixing.second": 0.2,
            "mixing.second_rest": 0.4,
            "mixing.speed": 1.2,
            "mixing.cut_off": 0.2,
            "mixing.reverb": 0.25,
            "mixing.mono": 0.2,
        }
    )
    config.full_train_steps = 10_500
    config.batch_size = 64
    config.crop_frames = 256
    config.loss = "log_phase_sensitive"
    config.schedule = "linear"
    config.ema_decay = 0.999
    config.eval_every_steps = 1_000
    if variant == "finish":
        _finish(config)
    elif variant != "full":
        raise ValueError(f"configs/box.py:{variant} is unknown; use configs/box.py[:finish]")
    return config


def _finish(config: ConfigDict) -> None:
    """Makes it the last part of the training: few steps, of mixtures that are varied little."""
    config.update_from_flattened_dict(
        {
            "mixing.silent": 0.2,
            "mixing.alone": 0.1,
            "mixing.second": 0.1,
            "mixing.second_rest": 0.1,
            "mixing.speed": 1.0,
            "mixing.equaliser_db": 2.0,
            "mixing.cut_off": 0.1,
            "mixing.reverb": 0.0,
        }
    )
    config.full_train_steps = 360
    config.batch_size = 16
    config.learning_rate = 2e-4
    config.warmup_steps = 20
    config.ema_decay = 0.97
    config.eval_every_steps = 120
