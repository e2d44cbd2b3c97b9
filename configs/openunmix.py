"""Open-Unmix, trained as its authors train it: the peer, as one more masker.

python -m data_prep.musdb18 --root=MUSDB18 --output=DATA \\
  --representation=waveform --segment_seconds=12 --targets=vocals,drums,bass,other
python train.py --config=configs/openunmix.py --config.data_dir=DATA
python train.py --config=configs/openunmix.py:unidirectional --config.data_dir=DATA
python train.py --config=configs/openunmix.py:large --config.data_dir=DATA   # 1,024 units (umxl)

The recipe's are the layers and their dropout, batch normalisation, the scaling at the entrance
that begins with the data set's statistics, the squared error of magnitudes, Adam with L2, batches
of 16 times 255 frames in which any voice meets any drums, bass and rest, and what is done 80 and
140 validations after the best one. What differs:

* Levels. Open-Unmix multiplies each stem by a random 0.25 to 1.25. Here a voice gets a random level
  against its backing (`config.mixing`), and the others stay as they are.
* Flips. Half of the stems have their channels swapped, in both; here half have their polarity
  turned as well.
* Order. Open-Unmix draws a track and a place in it for each stem, with replacement, 64 times the
  number of tracks in an epoch. Here that holds for the backing, while every segment with a voice
  has its turn in each pass. An epoch of MUSDB18 (344 steps) is what lies between validations.
* Validation. Open-Unmix watches the loss on whole tracks; here it is the SDR, phase included, on
  the segments that have a voice. Having lowered the rate, its schedule looks away for 10 epochs;
  this one doesn't.
* Statistics at the entrance. Of the mixtures' channels; Open-Unmix's are of the channels' mean.
* Initial weights. Dense and LSTM layers begin as in the other recipes, with open forget gates.
  PyTorch's LSTM has two biases for the sum that is felt, each with Adam's full step.

From the same weights, with the same batches and without dropout and decay, both sides have the same
losses: `python -m benchmarks.open_unmix.training parity`. With the whole recipe on both sides, both
get as far (README): `... training recipe`.
"""

from ml_collections import ConfigDict

from configs import default

VARIANTS = {
    "full": {},
    "unidirectional": {"bidirectional": False},
    "large": {"hidden_size": 1024},
}


def get_config(variant: str = "full") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(
            f"configs/openunmix.py:{variant} is unknown; use"
            " configs/openunmix.py[:unidirectional|:large]"
        )
    config = default.get_config()
    config.model = ConfigDict(
        {
            "name": "openunmix",
            "hidden_size": 512,
            "num_layers": 3,
            "bidirectional": True,
            # Bins that the network sees: those up to 16 kHz, of frames of 4096 at 44.1 kHz.
            "low_bins": 1487,
            # Share of an LSTM layer's outputs that the next one doesn't get.
            "dropout": 0.4,
            # Steps of the LSTM's scan in one iteration of its loop; changes speed alone.
            "unroll": 1,
            **VARIANTS[variant],
        }
    )
    config.full_train_steps = 344_000
    config.crop_frames = 255
    # Any voice over any backing, as they were recorded but for swapped channels and the level.
    names = ("paired", "silent", "alone", "pan_db", "equaliser_db", "cut_off", "reverb")
    plain = {f"mixing.{name}": 0.0 for name in names}
    config.update_from_flattened_dict({**plain, "mixing.speed": 1.0})
    config.loss = "mean_square"
    config.schedule = "constant"
    config.warmup_steps = 0
    config.grad_clip_norm = float("inf")
    config.weight_decay = 1e-5
    config.eval_every_steps = 344
    config.plateau_patience = 80
    config.early_stopping_patience = 140
    return config
