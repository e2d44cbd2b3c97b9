"""The model in the package: one LSTM layer between dense layers, on mixtures made while training.

python -m recipes.box --output=DIR        # from gathering the sources to the model
python train.py --config=configs/box.py --config.data_dir=DATA   # --representation=waveform

The songs' voices are few, so what they are mixed with, and how, matters most: see `config.mixing`.
Bands instead of bins above 2.8 kHz halve the parameters and the time. The rate stays as it is and
an average of the parameters is what separates: a training can be stopped, or go on, at any time.
"""

from ml_collections import ConfigDict

from configs import lstm


def get_config() -> ConfigDict:
    config = lstm.get_config()
    config.update_from_flattened_dict({"model.fine_bins": 256})
    config.full_train_steps = 20_000
    config.crop_frames = 256
    config.schedule = "constant"
    config.ema_decay = 0.998
    config.eval_every_steps = 250
    return config
