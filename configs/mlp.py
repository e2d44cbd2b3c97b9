"""Three dense layers on each frame alone: the baseline.

python train.py --config=configs/mlp.py --config.data_dir=DATA
python train.py --config=configs/mlp.py:mir1k --config.data_dir=DATA   # 16 kHz, mono

Record, 2026-11-23, two cores of an AMD EPYC:
* :mir1k on MIR-1K's training clips (data_prep.mir1k --remixes=12): GNSDR of the voice on the four
  dev clips 8.35 dB after 700 steps (docs/study.md). With frames of 64 ms and --remixes=4, 2,000
  steps in 5 minutes gave 8.50 dB.
* A stereo album, 400 steps of the full recipe: 8 minutes.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "full") -> ConfigDict:
    config = default.get_config()
    config.model = ConfigDict(
        {
            "name": "mlp",
            "hidden_size": 512,
            # Standardise the magnitudes; False feeds them as they are.
            "normalise": True,
            # Power of the normalised magnitudes, such as 0.5; 0 takes their logarithm.
            "exponent": 0.0,
        }
    )
    if variant == "mir1k":
        config.full_train_steps = 2_000
        config.crop_frames = 125
    elif variant != "full":
        raise ValueError(f"configs/mlp.py:{variant} is unknown; use configs/mlp.py[:mir1k]")
    return config
