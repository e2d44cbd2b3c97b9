"""Makes the model in the package: from gathering free sources to the model that ships.

usage: python -m recipes.box --output=DIR [--stems=ALBUM ...] [--songs=DIR] [--singing=DIR]
       [--speech=DIR]

Runs one after the other what can be run by itself: `recipes.gather`, `recipes.bands`,
`recipes.screen`, `recipes.sing`, `data_prep.stems_folder`, `train.py` and `jaxsep export`. DIR gets
`sources`, `data`, the workdirs `start` and `workdir`, `provenance.json` and `model`. Run again, it
goes on where it ended; what changes both parts of the training goes behind a `--`, as in
`-- --config.mix_on_device=True`.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxsep.files import read_json, write_json
from recipes.sources import make_parser

SEGMENT_SECONDS = 12  # twice a crop, so that crops vary
QUICK_SING = ("--minutes=0.1", "--take_seconds=6", "--treated=0")
QUICK_TRAINING = (
    *("--config.num_train_steps=2", "--config.batch_size=2", "--config.crop_frames=16"),
    *("--config.model.hidden_size=8", "--config.model.num_layers=1", "--config.log_every_steps=1"),
)


def main() -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder of all that is made")
    add("--stems", action="append", default=[], help="an album; can be repeated")
    add("--songs", help="collections of free songs, voice and backing together")
    add("--singing", help="collections of free singing")
    add("--speech", help="collections of free speech")
    add("--band_minutes", type=float, default=180.0, help="of made bands; they need fluidsynth")
    add("--screen_model", default="spleeter-2stems", help="finds voices in music and songs")
    add("--quick", action="store_true", help="no packages, two steps: to see that all of it runs")
    add("training", nargs="*", metavar="--config.FIELD=VALUE", help="changes to the training")
    args = parser.parse_args()
    try:
        for command in commands(args):
            print(f"$ {shlex.join(['python', *command])}", flush=True)
            if code := subprocess.run([sys.executable, *command]).returncode:
                print(f"{parser.prog}: that failed; run it again to go on", file=sys.stderr)
                return code
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def commands(args: argparse.Namespace) -> Iterator[list[str]]:
    """Yields what is run, arguments of Python; each command when those before have been run."""
    sources, data, workdir = (str(args.output / name) for name in ("sources", "data", "workdir"))
    folders = [f"--stems={album}" for album in args.stems]
    kinds = ("songs", "singing", "speech")
    folders += [f"--{kind}={path}" for kind in kinds if (path := getattr(args, kind))]
    folders.append(f"--model={args.screen_model}")
    packages = ["--packages"] if args.quick else []
    yield ["-m", "recipes.gather", f"--output={sources}", *folders, *packages]
    if args.band_minutes and not args.quick:
        yield ["-m", "recipes.bands", f"--output={sources}", f"--minutes={args.band_minutes}"]
    yield ["-m", "recipes.screen", f"--sources={sources}", f"--model={args.screen_model}"]
    sing = ["-m", "recipes.sing", f"--speech={sources}/voices", f"--output={sources}"]
    yield [*sing, *(QUICK_SING if args.quick else ())]
    yield [
        *("-m", "data_prep.stems_folder", f"--root={sources}", f"--output={data}"),
        *("--name=free", "--licence=see provenance", "--representation=waveform"),
        f"--segment_seconds={SEGMENT_SECONDS}",
    ]
    changes = [*(QUICK_TRAINING if args.quick else ()), *args.training]
    start = str(args.output / "start")
    changes = [f"--config.data_dir={data}", *changes]
    yield ["train.py", "--config=configs/box.py", *changes, f"--workdir={start}"]
    finish = [f"--config.start_from={start}", f"--workdir={workdir}"]
    yield ["train.py", "--config=configs/box.py:finish", *changes, *finish]
    model, provenance = args.output / "model", args.output / "provenance.json"
    write_json(provenance, summarise(read_json(f"{sources}/licences.json")))
    if not model.exists():
        export = ["-m", "jaxsep.cli", "export", workdir, f"--output={model}"]
        yield [*export, f"--provenance={provenance}"]


def summarise(licences: dict[str, dict]) -> dict[str, list]:
    """Sums up `licences.json` for a checkpoint: each source once, under each of its licences."""
    seen = {
        (entry.get("source", ""), entry.get("version", ""), entry["licence"], entry["kind"])
        for entry in licences.values()
    }
    fields = ("source", "version", "licence", "kind")
    return {"sources": [dict(zip(fields, values, strict=True)) for values in sorted(seen)]}


if __name__ == "__main__":
    sys.exit(main())
