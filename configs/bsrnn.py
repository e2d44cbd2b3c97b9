"""A band-split recurrent network: it looks along time, then along bands of frequencies.

python train.py --config=configs/bsrnn.py --config.data_dir=DATA          # as published
python train.py --config=configs/bsrnn.py:causal --config.data_dir=DATA   # for streams
python train.py --config=configs/bsrnn.py:small                           # for a laptop
python train.py --config=configs/bsrnn.py:mir1k --config.data_dir=DATA    # 16 kHz, mono

DATA is made with --representation=waveform. The masks are complex. Those of :mir1k are real, and it
sees magnitudes: that was the best in short trainings.

Record, 2026-11-29, two cores of an AMD EPYC that other jobs shared. One singer of MIR-1K trained
(amy, 130 clips), the other was scored (abjones, 41 clips; not run the other way round), one run of
each network. Mean SDR of the validation in dB after 100, 200, 300, 400 and 500 steps, by --config=
configs/bsrnn.py:mir1k --config.num_train_steps=500 --config.eval_every_steps=100:
* :mir1k: 3.74, 3.75, 3.78, 3.89, 3.87.
* configs/lstm.py:mir1k with this one's stft, mixing and loss, and model.normalise=False: 3.52,
  4.20, 4.37, 4.72, 4.69.
* Complex masks by spectrum_l1+waveform_l1, of real and imaginary parts that were normalised in each
  band: 1.32, 1.59, 1.58, 1.61, 1.62. Since then the network sees magnitudes beside them; so, and by
  mean_square, it had -1.2 dB after 100 steps and was stopped.
At this scale the network doesn't pay, and complex masks cost much. On clips of the trained singer
the first two have 8.1 and 10.2 dB: one voice is too little to learn what voices are.
"""

from ml_collections import ConfigDict

from configs import default

SMALL = {"features": 48, "hidden_size": 64, "num_layers": 3, "mask_size": 64}
CAUSAL = {"bidirectional": False, "across": "dense"}
VARIANTS = {
    "full": {},
    "causal": {**CAUSAL, "features": 96, "hidden_size": 192, "num_layers": 6, "mask_size": 192},
    "small": {**CAUSAL, **SMALL},
    "mir1k": {**CAUSAL, **SMALL, "sees": "magnitude", "answers": "real", "normalise": False},
}


def get_config(variant: str = "full") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(
            f"configs/bsrnn.py:{variant} is unknown; use configs/bsrnn.py[:causal|:small|:mir1k]"
        )
    config = default.get_config()
    config.demo_representation = "waveform"
    config.model = ConfigDict(
        {
            "name": "bsrnn",
            # Table of bands: "vocals", "drums", "bass" or "other".
            "bands": "vocals",
            "features": 128,
            # Units of an LSTM in one direction.
            "hidden_size": 256,
            "num_layers": 12,
            "mask_size": 512,
            "bidirectional": True,
            # Along bands: a bidirectional LSTM ("lstm"), or dense layers across them ("dense").
            "across": "lstm",
            # "spectrum" or "magnitude"; masks of magnitudes are real.
            "sees": "spectrum",
            # "complex" or "real" masks.
            "answers": "complex",
            # Bring what the network sees to one level; False feeds it as it is.
            "normalise": True,
            # Power of the normalised magnitudes, such as 0.5; 0 takes their logarithm.
            "exponent": 0.0,
            # Seconds the running level looks back that frees the masks of the song's loudness.
            "level_seconds": 10.0,
            # Share of the features that are dropped behind each layer.
            "dropout": 0.0,
            **VARIANTS[variant],
        }
    )
    config.update_from_flattened_dict({"stft.n_fft": 2048, "stft.hop_length": 512})
    if variant in ("causal", "small"):
        config.update_from_flattened_dict({"stft.n_fft": 4096, "stft.hop_length": 1024})
        config.crop_frames = 128
        config.demo_train_steps = 150
    elif variant == "mir1k":
        config.update_from_flattened_dict({"stft.n_fft": 1024})
        config.full_train_steps = 2_500
        config.crop_frames = 125
        # Plain mixtures: on MIR-1K variety didn't help singers that were never heard.
        plain = dict.fromkeys(
            ("silent", "alone", "reverb", "pan_db", "equaliser_db", "cut_off"), 0.0
        )
        plain |= {"paired": 0.1, "min_db": -3.0, "max_db": 3.0, "speed": 1.0}
        config.update_from_flattened_dict({f"mixing.{name}": x for name, x in plain.items()})
    config.loss = "mean_square" if variant == "mir1k" else "spectrum_l1+waveform_l1"
    config.grad_clip_norm = 1.0
    return config
