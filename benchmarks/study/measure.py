"""Trains one cell of the study and measures it."""

import datetime
import importlib
import json
import math
import os
import statistics
from pathlib import Path
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from benchmarks.input_pipeline import Benchmark
from benchmarks.machine import describe_machine
from benchmarks.study.masks import look_at_masks
from benchmarks.study.plan import MODELS, PUBLISHED, SONGS, STABILITY, STABILITY_STEPS, Cell
from benchmarks.trial import train
from jaxsep.collections.mir1k import Mir1k
from jaxsep.collections.open import open_collection
from jaxsep.convert.published import resolve
from jaxsep.data.records import PAIR, load_dataset
from jaxsep.evaluation import tables
from jaxsep.evaluation.bsseval import V3, V4
from jaxsep.evaluation.evaluate import choose_split, evaluate
from jaxsep.evaluation.methods import IDEAL, make_methods
from jaxsep.models.load import load_model
from jaxsep.models.orbax_reader import FOLDER
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.prepare import prepare
from jaxsep.separation.separator import Separator
from jaxsep.training.health_report import layers_at, read_metrics

SEGMENT_SECONDS = 6.0
ROUNDS = 7
MODEL = "model"  # among the methods of a score: the one that isn't a baseline


class Study:
    """Where the study's music is and where its work is done.

    Args:
      data: Folder of all music.
      work: Folder for data sets, trainings and scores; what is there is continued.
      quick: Whether to take a few steps of small models, to see that all of it runs.
    """

    def __init__(self, data: Path, work: Path, *, quick: bool):
        self.data, self.work, self.quick = data, work, quick

    def measure(self, cell: Cell) -> dict[str, Any]:
        """Trains a cell, or goes on with it, and measures it.

        Returns:
          What is kept of it; see `docs/study/runs`.
        """
        try:
            return self._published(cell) if cell.model in PUBLISHED else self._trained(cell)
        finally:
            jax.clear_caches()

    def _published(self, cell: Cell) -> dict[str, Any]:
        return self._describe(cell, self.config(cell)) | self._judge(
            cell, str(resolve(PUBLISHED[cell.model]))
        )

    def _trained(self, cell: Cell) -> dict[str, Any]:
        config = self.config(cell)
        config.data_dir = str(self.dataset(cell.songs))
        workdir = self.work / "trainings" / cell.name
        summary = train(config, workdir)
        result = self._describe(cell, config) | {
            "steps": summary["steps"],
            "minutes": summary["seconds"] / 60,
            "parameters": summary["parameters"],
            "clipped": summary["clipped"],
            "ended": summary["ended"],
            "cause": summary["cause"],
            "curves": _curves(workdir, layers=cell.watch),
        }
        if not cell.watch:
            # Not the best, which would be chosen by validation: some of it is scored here as well.
            result |= self._judge(cell, str(workdir / FOLDER / str(summary["steps"])))
        return result

    def _describe(self, cell: Cell, config: ConfigDict) -> dict[str, Any]:
        return {
            "songs": cell.songs,
            "model": cell.model,
            "seed": cell.seed,
            "config": plain(config),
            "date": datetime.date.today().isoformat(),
            "machine": describe_machine(),
            "devices": [device.device_kind for device in jax.devices()],
        }

    def _judge(self, cell: Cell, model: str) -> dict[str, Any]:
        """Scores a model and looks at its masks."""
        variables = load_model(model).variables
        roots = {name: self.find(root) for name, root in SONGS[cell.songs].test.items()}
        return {
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
            "scores": {name: self._score(cell, model, root) for name, root in roots.items()},
            "masks": {name: self._look(model, root) for name, root in roots.items()},
        }

    def measure_cost(self, songs: str) -> dict[str, Any]:
        """Times a training step of all models, in turns, so that a busy machine slows all alike.

        Returns:
          `examples_per_second` by model, medians of `ROUNDS` rounds, and where and when.
        """
        benchmarks = {}
        for model in MODELS:
            config = self.config(Cell(songs, model, 0))
            config.data_dir = str(self.dataset(songs))
            benchmarks[model] = Benchmark(config, load_dataset(config.data_dir))
        rounds = [{name: b.step_rate() for name, b in benchmarks.items()} for _ in range(ROUNDS)]
        rates = {name: statistics.median(r[name] for r in rounds) for name in benchmarks}
        jax.clear_caches()
        return {
            "songs": songs,
            "date": datetime.date.today().isoformat(),
            "machine": describe_machine(),
            "examples_per_second": {name: _number(rate) for name, rate in rates.items()},
        }

    def find(self, path: str) -> Path:
        """Returns a folder of music, of those given or of those made of links."""
        made = self.work / path
        return made if made.exists() else self.data / path

    def config(self, cell: Cell) -> ConfigDict:
        """Returns a cell's config, in which only the data set is missing."""
        if cell.model in PUBLISHED:
            return ConfigDict({"model": PUBLISHED[cell.model]})
        songs = SONGS[cell.songs]
        model = (STABILITY if cell.watch else MODELS)[cell.model]
        recipe = importlib.import_module(f"configs.{model.recipe}")
        config = recipe.get_config(songs.variant)
        config.update_from_flattened_dict(model.changes)
        config.seed = cell.seed
        config.num_train_steps = STABILITY_STEPS if cell.watch else songs.steps
        config.eval_every_steps = 100
        if cell.watch:
            config.health_every_steps = config.log_every_steps = 5
            config.eval_every_steps = config.num_train_steps
        if self.quick:
            config.model.hidden_size = 8
            config.num_train_steps = config.batch_size = 2
            config.warmup_steps = config.log_every_steps = config.health_every_steps = 1
        return config

    def dataset(self, songs: str) -> Path:
        """Prepares the songs of a plan, or finds them prepared."""
        plan = SONGS[songs]
        output = self.work / "data" / songs
        settings = Settings(
            plan.stft,
            PAIR,
            plan.stft.frames_in(SEGMENT_SECONDS),
            0 if self.quick else plan.remixes,
            seed=0,
        )
        source = open_collection(self.find(plan.root))
        prepare(source, output, settings, workers=os.cpu_count() or 1)
        return output

    def _score(self, cell: Cell, model: str, root: Path) -> dict[str, Any]:
        """Scores a cell's model, with the baselines, on the songs of a folder."""
        source = open_collection(root)
        tracks = choose_split(source.tracks(), None)
        output = self.work / "scores" / root.name
        methods = make_methods({cell.name: model})
        version = V3 if isinstance(source, Mir1k) else V4
        workers = os.cpu_count() or 1
        problems = evaluate(source, tracks, methods, output, version=version, workers=workers)
        if problems:
            raise OSError("; ".join(problems))
        names, known = (
            [method.name for method in methods],
            {cell.name: MODEL, methods[-1].name: IDEAL},
        )
        scores = tables.read_scores(output, names, tracks)
        return {
            "tables": [
                {
                    "metric": table.metric,
                    "stem": table.stem,
                    "average": table.average,
                    "columns": table.columns,
                    "rows": {
                        known.get(n, n): [*map(_number, row)] for n, row in table.rows.items()
                    },
                }
                for table in tables.make_tables(scores, tracks[0].split)
            ],
            "vocals SDR": {
                known.get(method, method): {
                    track: _number(document["jaxsep"]["stems"]["vocals"]["SDR"])
                    for track, document in tracks.items()
                }
                for method, tracks in scores.items()
            },
        }

    def _look(self, model: str, root: Path) -> dict[str, float]:
        source = open_collection(root)
        # Also what validates: the two test songs of the album have no bass.
        tracks = [track for track in source.tracks() if track.split != "train"]
        return look_at_masks(Separator.restore(model), source, tracks)


# Fields that are younger than some runs, with the values by which they change nothing.
LATER = {
    "start_from": None,
    "weight_decay": 0.0,
    "targets": "vocals",
    "stft": dict.fromkeys(("n_fft", "hop_length", "win_length", "padding")),
    "optimizer": "adam",
    "adam_b1": 0.9,
    "adam_b2": 0.999,
    "one_network_each": False,
}
LATER_IN_MODEL = {"exponent": 0.0}


def is_of(run: dict[str, Any], config: ConfigDict) -> bool:
    """Returns whether a run's numbers are those of a config."""
    wanted, found = plain(config), run["config"]
    found = {name: LATER[name] for name in LATER if name in wanted} | found
    if isinstance(found["model"], dict):  # not one that others trained
        later = {name: value for name, value in LATER_IN_MODEL.items() if name in wanted["model"]}
        found["model"] = later | found["model"]
    return found == wanted


def plain(config: ConfigDict) -> dict[str, Any]:
    """Returns what JSON keeps of a config, without what doesn't touch a study's training."""
    without = ("data_dir", "full_train_steps", "demo_train_steps", "demo_representation")
    without += ("mixing", "mix_on_device")
    fields = {name: value for name, value in config.to_dict().items() if name not in without}
    return json.loads(json.dumps(fields))


def _curves(workdir: Path, *, layers: bool) -> dict[str, Any]:
    """Returns a training's numbers over its steps; what isn't finite is None."""
    metrics = read_metrics(epath.Path(workdir))
    curves: dict[str, Any] = {}
    for name in ("train/loss", "train/grad_norm", "validation/sdr"):
        points = {step: numbers[name] for step, numbers in metrics.items() if name in numbers}
        curves[name] = {"steps": list(points), "values": [_number(v) for v in points.values()]}
    if layers:
        looks = {step: found for step in metrics if (found := layers_at(metrics[step]))}
        curves["layers"] = {
            layer: {
                name: [_number(look.get(layer, {}).get(name)) for look in looks.values()]
                for name in ("grad_norm", "update_ratio", "out_rms", "saturated", "cell_max")
                if name in numbers
            }
            for layer, numbers in next(iter(looks.values())).items()
        }
        curves["layer_steps"] = list(looks)
    return curves


def _number(value: float | None) -> float | None:
    """Shortens a number for a file that people keep under version control."""
    return float(f"{value:.5g}") if value is not None and math.isfinite(value) else None
