"""One unidirectional LSTM layer and three dense layers.

python train.py --config=configs/lstm.py --config.data_dir=DATA
python train.py --config=configs/lstm.py:mir1k --config.data_dir=DATA   # 16 kHz, mono
python train.py --config=configs/lstm.py:four                           # four stems

Record, 2026-11-23, two cores of an AMD EPYC that other jobs shared:
* :mir1k on MIR-1K's training clips (data_prep.mir1k --remixes=12): 26 minutes, 18 to 40 examples/s.
  GNSDR of the voice on the four dev clips (jaxsep evaluate) 9.0 dB after the last step, and 9.1 dB
  at step 1,250, where these very clips, which are also what it validates on, scored best. After 700
  steps with the schedule of so few: 8.7 dB (docs/study.md). With frames of 64 ms and --remixes=4,
  1,500 steps gave 9.36 dB; on a singer never heard they were the worse ones.
* A stereo album, 400 steps of the full recipe: 11 minutes.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(variant: str = "full") -> ConfigDict:
    config = default.get_config()
    config.model = ConfigDict(
        {
            "name": "lstm",
            "hidden_size": 512,
            "num_layers": 1,
            "bidirectional": False,
            # Seconds the running level looks back that frees the masks of the song's loudness.
            "level_seconds": 10.0,
            # Bring the magnitudes to one level and standardise them; False feeds them as they are.
            "normalise": True,
            # Power of the normalised magnitudes, such as 0.5; 0 takes their logarithm.
            "exponent": 0.0,
            # Steps of the LSTM's scan in one iteration of its loop; changes speed alone.
            "unroll": 1,
        }
    )
    if variant == "mir1k":
        config.full_train_steps = 2_500
        config.crop_frames = 125
    elif variant == "four":
        config.targets = "vocals,drums,bass,other"
        config.demo_train_steps = 150
    elif variant != "full":
        raise ValueError(f"configs/lstm.py:{variant} is unknown; use configs/lstm.py[:mir1k|:four]")
    return config
