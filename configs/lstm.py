"""One unidirectional LSTM layer and three dense layers.

python train.py --config=configs/lstm.py --config.data_dir=DATA
python train.py --config=configs/lstm.py:mir1k --config.data_dir=DATA   # 16 kHz, mono
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "full") -> ConfigDict:
    config = default.get_config()
    config.model.name = "lstm"
    config.model.hidden_size = 512
    config.model.num_layers = 1
    config.model.bidirectional = False
    # Time constant of the running level that makes the masks independent of the song's level.
    config.model.level_seconds = 10.0
    # Steps of the LSTM's scan in one iteration of its loop; changes speed alone.
    config.model.unroll = 1
    if variant == "mir1k":
        config.full_train_steps = 4_000
        config.crop_frames = 250
    elif variant != "full":
        raise ValueError(f"configs/lstm.py:{variant} is unknown; use configs/lstm.py[:mir1k]")
    return config
