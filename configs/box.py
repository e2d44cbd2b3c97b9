"""The model in the package: one LSTM layer between dense layers, on mixtures made while training.

python -m recipes.box --output=DIR        # from gathering the sources to the model
python train.py --config=configs/box.py --config.data_dir=DATA   # --representation=waveform

The songs' voices are few, so what they are mixed with matters most: any backing, at any level. But
speeds, panning, equalisers, rooms and cut-offs are left out: in the hours of training that there
were, they cost more than they brought (MODEL_CARD.md has the figures). Bands instead of bins above
2.8 kHz halve the parameters and the time. The loss counts in decibels, so that quiet voices weigh
as much as loud ones, and pieces without a voice matter to the end.
"""

from ml_collections import ConfigDict

from configs import lstm


def get_config() -> ConfigDict:
    config = lstm.get_config()
    config.update_from_flattened_dict(
        {
            "model.num_layers": 2,
            "model.dropout": 0.2,
            "model.fine_bins": 256,
            "mixing.instrumental": 0.15,
            "mixing.a_cappella": 0.08,
            "mixing.second_voice": 0.2,
            "mixing.second_backing": 0.4,
            "mixing.speed": 1.2,
            "mixing.cut_off": 0.2,
            "mixing.reverb": 0.25,
            "mixing.mono": 0.2,
        }
    )
    config.batch_size = 64
    config.crop_frames = 256
    config.loss = "log_phase_sensitive"
    config.schedule = "linear"
    config.ema_decay = 0.999
    config.eval_every_steps = 250
    return config
