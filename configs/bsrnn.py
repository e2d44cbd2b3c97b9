"""A band-split recurrent network: it looks along time, then along bands of frequencies.

python train.py --config=configs/bsrnn.py --config.data_dir=DATA          # as published
python train.py --config=configs/bsrnn.py:causal --config.data_dir=DATA   # for streams
python train.py --config=configs/bsrnn.py:small                           # for a laptop
python train.py --config=configs/bsrnn.py:mir1k --config.data_dir=DATA    # 16 kHz, mono

Its masks are complex, so DATA is made with --representation=waveform.
"""

from ml_collections import ConfigDict

from configs import default

SMALL = {"features": 48, "hidden_size": 64, "num_layers": 3, "mask_size": 64}
CAUSAL = {"bidirectional": False, "across": "dense"}
VARIANTS = {
    "full": {},
    "causal": {**CAUSAL, "features": 96, "hidden_size": 192, "num_layers": 6, "mask_size": 192},
    "small": {**CAUSAL, **SMALL},
    "mir1k": {**CAUSAL, **SMALL},
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
    config.loss = "spectrum_l1+waveform_l1"
    config.grad_clip_norm = 1.0
    return config
