"""The study's report: tables, pictures, and the page that they stand in."""

import json
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from etils import epath

from benchmarks.study import pictures
from benchmarks.study.measure import MODEL
from benchmarks.study.plan import COSTS, MODELS, PUBLISHED, SONGS, STABILITY, Cell
from benchmarks.table import fill
from jaxsep.evaluation.methods import IDEAL, MIXTURE
from jaxsep.evaluation.tables import METRICS, WHOLE, format_db, markdown_table
from jaxsep.files import write_text

NOT_RUN = "not run"

# One number of a run, or several.
Pick = Callable[[dict[str, Any]], Any]


def write_report(output: Path) -> None:
    """Writes `OUTPUT.md` and the pictures in OUTPUT from `OUTPUT/runs`.

    In the page, what stands between `<!-- NAME -->` and `<!-- end -->` is replaced by the table of
    that name; all other words stay. Without a page one is made of the tables alone.
    """
    runs = Runs(output / "runs")
    tables = runs.tables()
    page = output.with_suffix(".md")
    if page.exists():
        text = page.read_text()
    else:
        blocks = (f"<!-- {name} -->\n<!-- end -->\n" for name in tables)
        text = "# The study\n\n" + "\n".join(blocks)
    for name in re.findall(r"<!-- (?!end)(.+) -->\n", text):
        if name not in tables:
            raise ValueError(f"the page has a place for {name!r}; there are {', '.join(tables)}")
        text = fill(text, name, tables[name].strip())
    write_text(page, text)
    folder = epath.Path(output)
    if trainings := runs.of("mir1k", 0):
        pictures.save_curves(folder / "curves.png", trainings)
    if watched := runs.watched():
        pictures.save_gradients(folder / "gradients.png", watched)
        pictures.save_layers(folder / "layers.png", watched)


class Runs:
    """All that has been run.

    Args:
      folder: Folder of the JSON files that `measure.Study` left.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def read(self, name: str) -> dict[str, Any] | None:
        path = self._folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def of(self, songs: str, seed: int) -> dict[str, dict[str, Any]]:
        """Returns the runs on some songs with one seed, by model."""
        found = {model: self.read(Cell(songs, model, seed).name) for model in MODELS}
        return {model: run for model, run in found.items() if run}

    def watched(self) -> dict[str, dict[str, Any]]:
        """Returns the runs whose layers were watched."""
        found = {name: self.read(Cell("mir1k", name, 0, watch=True).name) for name in STABILITY}
        return {name: run for name, run in found.items() if run}

    def tables(self) -> dict[str, str]:
        """Returns all tables in Markdown, by name."""
        tables = {"runs": self._inventory()}
        for songs, plan in SONGS.items():
            for test in plan.test:
                for stem in ("vocals", "accompaniment"):
                    tables[f"scores {songs} {test} {stem}"] = self._scores(songs, test, stem)
                tables[f"masks {songs} {test}"] = self._masks(songs, test)
        tables["excerpts"] = self._by_track("album", "excerpts")
        tables["stability"] = self._stability()
        for songs in COSTS:
            tables[f"price {songs}"] = self._price(songs)
        return tables

    def _rows(self, songs: str, picks: Sequence[Pick]) -> list[list[str]]:
        """Returns a row for each model: numbers picked from its runs, averaged over the seeds."""
        rows = []
        for model in (*MODELS, *PUBLISHED):
            seeds = SONGS[songs].seeds if model in MODELS else (0,)
            runs = [self.read(Cell(songs, model, seed).name) for seed in seeds]
            runs = [run for run in runs if run]
            cells = [_join([pick(run) for run in runs]) if runs else NOT_RUN for pick in picks]
            rows.append([model, *cells])
        return rows

    def _inventory(self) -> str:
        rows = []
        for songs, plan in SONGS.items():
            for seed in plan.seeds:
                runs = self.of(songs, seed)
                for model in MODELS:
                    run = runs.get(model)
                    told = (
                        [f"{run['steps']:,}", f"{run['minutes']:.1f}", run["date"], run["machine"]]
                        if run
                        else [NOT_RUN, "", "", ""]
                    )
                    rows.append([plan.title, model, str(seed), *told])
        columns = ("trained on", "model", "seed", "steps", "minutes", "date", "machine")
        return markdown_table(columns, rows)

    def _scores(self, songs: str, test: str, stem: str) -> str:
        runs = list(self.of(songs, SONGS[songs].seeds[0]).values())
        if not runs:
            return NOT_RUN + "\n"
        first = _table(runs[0], test, stem, 0)
        last = _table(runs[0], test, stem, -1)  # means of whole tracks
        columns = [
            "method",
            *first["columns"],
            *(f"{column}, whole track" for column in last["columns"]),
            "parameters",
        ]

        def picked(table: int, column: int) -> Pick:
            return lambda run: _table(run, test, stem, table)["rows"][MODEL][column]

        picks: list[Pick] = [picked(0, column) for column in range(len(first["columns"]))]
        picks += [picked(-1, column) for column in range(len(last["columns"]))]
        rows = self._rows(songs, [*picks, lambda run: f"{run['parameters'] / 1e6:.1f} M"])
        for place, name in ((0, MIXTURE), (len(rows) + 1, IDEAL)):
            numbers = [*first["rows"][name], *last["rows"][name]]
            rows.insert(place, [name, *map(_decibels, numbers), ""])
        title = (
            f"{METRICS[first['metric']]}, {first['average']}; last two: {METRICS[WHOLE]},"
            f" {last['average']}. Of the {stem}, dB"
        )
        return f"{title}:\n\n{markdown_table(columns, rows)}"

    def _masks(self, songs: str, test: str) -> str:
        runs = list(self.of(songs, SONGS[songs].seeds[0]).values())
        if not runs:
            return NOT_RUN + "\n"
        names = list(runs[0]["masks"][test])
        parts = [name.removeprefix("leaked ") for name in names if name.startswith("leaked ")]
        columns = [
            "model",
            *(f"{part} leaked, dB" for part in parts),
            "voice lost, dB",
            "flicker, %",
        ]
        picks: list[Pick] = [
            lambda run, part=part: run["masks"][test][f"passed {part}"] for part in parts
        ]
        picks.append(lambda run: run["masks"][test]["lost"])
        picks.append(lambda run: 100 * run["masks"][test]["flicker"])
        rows = self._rows(songs, picks)
        ideal = _decibels(100 * runs[0]["masks"][test]["ideal flicker"])
        rows.append([IDEAL, *[""] * (len(parts) + 1), ideal])
        return markdown_table(columns, rows)

    def _by_track(self, songs: str, test: str) -> str:
        runs = self.of(songs, 0)
        if not runs:
            return NOT_RUN + "\n"
        published = {model: self.read(Cell(songs, model, 0).name) for model in PUBLISHED}
        runs |= {model: run for model, run in published.items() if run}
        first = next(iter(runs.values()))["scores"][test]["vocals SDR"]
        columns = {
            MIXTURE: first[MIXTURE],
            **{model: run["scores"][test]["vocals SDR"][MODEL] for model, run in runs.items()},
            IDEAL: first[IDEAL],
        }
        rows = [
            [track, *(_decibels(scores[track]) for scores in columns.values())]
            for track in first[MIXTURE]
        ]
        return markdown_table(["excerpt", *columns], rows)

    def _stability(self) -> str:
        rows = []
        for name in STABILITY:
            run = self.read(Cell("mir1k", name, 0, watch=True).name)
            if not run:
                rows.append([name, NOT_RUN, "", "", "", ""])
                continue
            norms = [v for v in run["curves"]["train/grad_norm"]["values"] if v is not None]
            losses = [v for v in run["curves"]["train/loss"]["values"] if v is not None]
            rows.append(
                [
                    name,
                    f"{run['ended']}, step {run['steps']}",
                    f"{statistics.mean(losses[-5:]):.3f}" if losses else "-",
                    f"{statistics.median(norms):.3g}" if norms else "-",
                    f"{max(norms):.3g}" if norms else "-",
                    f"{100 * run['clipped']:.0f} %",
                ]
            )
        columns = ("training", "ended", "loss at the end", "gradient norm, median", "largest")
        return markdown_table([*columns, "clipped"], rows)

    def _price(self, songs: str) -> str:
        """Tells what each model costs: parameters, and time of a step relative to the fastest."""
        cost = self.read(f"cost-{songs}")
        rates = (cost or {}).get("examples_per_second", {})
        rows, fastest = [], max(rates.values(), default=None)
        for model in MODELS:
            runs = [self.read(Cell(songs, model, seed).name) for seed in SONGS[songs].seeds]
            runs = [run for run in runs if run]
            time = f"{fastest / rates[model]:.1f}" if fastest else NOT_RUN
            if not runs:
                rows.append([model, NOT_RUN, time, *[NOT_RUN] * len(SONGS[songs].test)])
                continue
            scores = [
                _join([_table(run, test, "vocals", 0)["rows"][MODEL][0] for run in runs])
                for test in SONGS[songs].test
            ]
            rows.append([model, f"{runs[0]['parameters'] / 1e6:.1f} M", time, *scores])
        tests = [
            f"{'GNSDR' if songs != 'album' else 'SDR'} on {test}" for test in SONGS[songs].test
        ]
        table = markdown_table(["model", "parameters", "time of a step", *tests], rows)
        return table + (f"\nTimed {cost['date']}, {cost['machine']}.\n" if cost else "")


def _table(run: dict[str, Any], test: str, stem: str, index: int) -> dict[str, Any]:
    return [table for table in run["scores"][test]["tables"] if table["stem"] == stem][index]


def _join(values: Iterable[Any]) -> str:
    """Averages numbers over seeds, with half their range; words are the same for all seeds."""
    values = list(values)
    if isinstance(values[0], str):
        (word,) = set(values)
        return word
    numbers = [value for value in values if value is not None]
    if not numbers:
        return "-"
    spread = (max(numbers) - min(numbers)) / 2
    return _decibels(statistics.mean(numbers)) + (f" ± {spread:.2f}" if len(numbers) > 1 else "")


def _decibels(value: float | None) -> str:
    return format_db(float("nan") if value is None else value)
