"""What each idea in the recipe of the model in the package brings.

    python -m benchmarks.ideas --data=DATA --work=DIR [--music FILE ...] [--only IDEA ...]
                               [--steps=300] [--frames=128] [--batch=16] [--seeds 0]
                               [--layers=N] [--on_device]

Trains `configs/box.py` from scratch on DATA, a data set of waveforms, and then again for each idea
with that one thing changed, all else equal. Prints the SDR of the vocals on DATA's validation split
(mean over its songs), what is found in music without a voice (--music; median), the parameters, and
seconds of training. A training that is finished in DIR isn't done again.

Of DATA with another STFT (`--n_fft`, `--hop_length`) examples are as long and bands as wide.
DATA of magnitudes tries `--remixes`, and DATA of the same songs' waveforms what mixing brings.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import jax

from benchmarks.one_sided import share
from benchmarks.table import Table
from benchmarks.trial import train
from configs import box
from jaxsep.data.records import PAIR, load_dataset
from jaxsep.separation.separator import Separator
from jaxsep.stft_config import StftConfig

PLAIN = {
    "mixing.speed": 1.0,
    "mixing.pan_db": 0.0,
    "mixing.equaliser_db": 0.0,
    "mixing.cut_off": 0.0,
    "mixing.reverb": 0.0,
    "mixing.second": 0.0,
    "mixing.second_rest": 0.0,
}
IDEAS: dict[str, dict[str, Any]] = {
    "the recipe": {},
    "nothing varied": PLAIN,
    "same speed": {"mixing.speed": 1.0},
    "no panning": {"mixing.pan_db": 0.0},
    "no equalisers": {"mixing.equaliser_db": 0.0},
    "no rooms": {"mixing.reverb": 0.0},
    "no cut-offs": {"mixing.cut_off": 0.0},
    "no second voices and backings": {"mixing.second": 0.0, "mixing.second_rest": 0.0},
    "neither mono nor swapped channels": {"mixing.mono": 0.0, "mixing.flip": False},
    "every voice over its own backing": {"mixing.paired": 1.0},
    "no pieces without voice or backing": {"mixing.silent": 0.0, "mixing.alone": 0.0},
    "loss: energies, not decibels": {"loss": "phase_sensitive"},
    "loss: magnitudes": {"loss": "magnitude"},
    "loss: compressed magnitudes": {"loss": "compressed"},
    "loss: magnitudes, L1": {"loss": "absolute"},
    "loss: magnitudes, mean square": {"loss": "mean_square"},
    "no average of the parameters": {"ema_decay": 0.0},
    "no normalisation": {"model.normalise": False},
    "all 2,049 bins": {"model.fine_bins": 0},
    "128 fine bins": {"model.fine_bins": 128},
    "masks up to 2": {"model.mask_limit": 2.0},
    "256 units": {"model.hidden_size": 256},
    "1,024 units": {"model.hidden_size": 1024},
    "one layer": {"model.num_layers": 1},
    "two layers": {"model.num_layers": 2},
    "no dropout": {"model.dropout": 0.0},
    "both directions": {"model.bidirectional": True},
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a data set of waveforms")
    parser.add_argument("--work", type=Path, required=True, help="folder for the trainings")
    parser.add_argument("--music", type=Path, nargs="+", default=[], help="without a voice")
    parser.add_argument("--only", nargs="+", choices=tuple(IDEAS), default=tuple(IDEAS))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--frames", type=int, default=128, help="of an example, 1,024 samples each")
    parser.add_argument("--batch", type=int, default=16, help="examples of a step")
    parser.add_argument("--layers", type=int, help="of each training but those with another idea")
    parser.add_argument("--on_device", action="store_true", help="as on a GPU: mix, unroll")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    stft = load_dataset(args.data).stft
    columns = ("changed", "seed", "SDR, dB", "found in music, dB", "parameters", "time, s")
    examples = f"{args.steps} steps of {args.batch} examples of {args.frames} frames"
    about = f"{jax.devices()[0].device_kind}; {examples}; {stft}"
    with Table(*columns, about=about) as table:
        for idea in args.only:
            for seed in args.seeds:
                config = make_config(args, stft, IDEAS[idea] | {"seed": seed})
                name = f"{Path(args.data).name} {examples} {args.layers or ''} {idea} {seed}"
                name = "".join(letter if letter.isalnum() else "-" for letter in name)
                try:
                    summary = train(config, args.work / name)
                except KeyboardInterrupt:
                    print("interrupted; the same command goes on", file=sys.stderr)
                    return 130
                separator = Separator.restore(summary["checkpoint"])
                found = [share(separator, path, PAIR[0]) for path in args.music]
                leak = statistics.median(found) if found else ""
                sizes = (f"{summary['parameters'] / 1e6:.1f} M", summary["seconds"])
                table.row(idea, str(seed), summary["sdr"], leak, *sizes)
    return 0


def make_config(args: argparse.Namespace, stft: StftConfig, changes: dict[str, Any]) -> Any:
    """Makes the recipe's config for a short training on data of this STFT, with some changes."""
    config: Any = box.get_config()
    config.update(
        data_dir=args.data,
        num_train_steps=args.steps,
        batch_size=args.batch,
        crop_frames=args.frames * StftConfig.hop_length // stft.hop_length,
        eval_every_steps=args.steps,
        ema_decay=max(0.0, 1 - 10 / args.steps),  # as large a share as the recipe
    )
    if args.on_device:  # configs/box.py's command for a GPU
        config.mix_on_device = True
        config.model.unroll = 8
    if args.layers:
        config.model.num_layers = args.layers
    config.update_from_flattened_dict(changes)
    config.model.fine_bins = config.model.fine_bins * stft.n_fft // StftConfig.n_fft
    return config


if __name__ == "__main__":
    sys.exit(main())
