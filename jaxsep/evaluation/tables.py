"""Tables of scores, each with its metric, its tracks and its way of averaging in the title."""

import dataclasses
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import museval
import numpy as np

from jaxsep.collections.source import Track
from jaxsep.evaluation.bsseval import MUSEVAL, V3, V4, read_score
from jaxsep.files import write_text

INFINITE = 119  # dB: what is left is rounding
WHOLE = "whole tracks"
METRICS = {
    V4: f"{V4} (museval {MUSEVAL})",
    V3: f"{V3} (museval {MUSEVAL}, bss_eval_sources; NSDR: SDR less the mixture's)",
    WHOLE: "Whole tracks (SDR: energy of the true stem over that of the error; SI-SDR likewise,"
    " after the best scaling)",
}
REPORT, MARK = "scores.md", "<!-- by jaxsep evaluate -->\n\n"
AVERAGES = {"median": np.nanmedian, "mean": np.nanmean}

# Documents of `bsseval.score_track`, by method and track.
Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers in dB.

    Attributes:
      metric: One of `METRICS`.
      stem: Stem that was scored.
      average: Description of the average.
      columns: Names of the metric's parts.
      rows: Numbers by method, one for each column; NaN where there is none.
      notes: Remarks for the reader.
    """

    metric: str
    stem: str
    average: str
    columns: tuple[str, ...]
    rows: dict[str, list[float]]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        title = f"**{METRICS[self.metric]}, of the {self.stem}, dB: {self.average}**\n\n"
        rows = [[name, *map(format_db, values)] for name, values in self.rows.items()]
        notes = "".join(f"\n{note}\n" for note in self.notes)
        return title + markdown_table(["method", *self.columns], rows) + notes


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown, ending with a line break."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def format_db(value: float) -> str:
    if not abs(value) < INFINITE:
        return "-" if np.isnan(value) else f"{'-' if value < 0 else ''}inf"
    return f"{round(value, 2) + 0.0:.2f}"  # no -0.00


def write_report(output: Path, methods: Sequence[str], tracks: Sequence[Track]) -> str:
    """Writes `OUTPUT/scores.md` and returns what is in it: nothing if no track was scored.

    Other methods that were scored there earlier on all these tracks are in it as well.

    Args:
      output: Folder of `evaluate.evaluate`.
      methods: Names of the scored methods; the first is the unprocessed mixture.
      tracks: Tracks of one split; those that some method has no score of are left out.
    """
    scores = read_scores(output, methods, tracks)
    others = sorted(path.name for path in output.iterdir() if (path / tracks[0].split).is_dir())
    kept = set.intersection(*(set(documents) for documents in scores.values()))
    if not kept:
        return ""
    for name, documents in read_scores(output, others, tracks).items():
        if documents.keys() >= kept:
            scores.setdefault(name, documents)
    text = MARK + "\n\n".join(t.markdown() for t in make_tables(scores, tracks[0].split))
    write_text(output / REPORT, text)
    return text.removeprefix(MARK)


def check_report(output: Path) -> None:
    """Raises OSError if there is a file in the report's place that isn't one."""
    path = output / REPORT
    if path.exists() and not (path.is_file() and path.read_bytes().startswith(MARK.encode())):
        raise OSError(f"{path} isn't of this command; move it away, or choose another output")


def read_scores(
    output: Path, methods: Sequence[str], tracks: Sequence[Track]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Reads scores as `evaluate.evaluate` wrote them: by method and name of the track."""
    return {
        method: {
            track.name: read_score(path)
            for track in tracks
            if (path := output / method / track.split / f"{track.name}.json").exists()
        }
        for method in methods
    }


def make_tables(scores: Scores, split: str) -> list[Table]:
    """Summarises scores.

    Args:
      scores: Scores by method, the unprocessed mixture first. Tracks that all of them have count.
      split: Split of the tracks.

    Returns:
      For MIR-1K's clips the tables of its literature; else BSSEval v4's, as museval aggregates it.
      Then those of whole tracks. Each for every stem and, of more than two, for their mean.
    """
    common = set.intersection(*(set(documents) for documents in scores.values()))
    scores = {
        method: {track: document for track, document in documents.items() if track in common}
        for method, documents in scores.items()
    }
    where = f"{len(common)} tracks ({split})"
    is_v3 = any(V3 in d["jaxsep"] for documents in scores.values() for d in documents.values())
    tables = []
    stems = list(next(iter(next(iter(scores.values())).values()))["jaxsep"]["stems"])
    for stem in stems:
        if is_v3:
            tables.append(_v3_table(scores, stem, where))
        else:
            tables += [_v4_table(scores, stem, where, average) for average in AVERAGES]
        tables += [_whole_table(scores, stem, where, average) for average in AVERAGES]
    return tables if len(stems) <= 2 else [*tables, *_mean_tables(tables, len(stems))]


def _mean_tables(tables: Sequence[Table], num_stems: int) -> list[Table]:
    """Averages the tables of several stems, which come in turns."""
    kinds = len(tables) // num_stems
    means = []
    for kind in range(kinds):
        same = tables[kind::kinds]
        rows = {
            method: np.mean([table.rows[method] for table in same], axis=0).tolist()
            for method in same[0].rows
        }
        first = same[0]
        means.append(Table(first.metric, "stems' mean", first.average, first.columns, rows))
    return means


def _v4_table(scores: Scores, stem: str, where: str, average: str) -> Table:
    columns = ("SDR", "SIR", "ISR", "SAR")
    values = {
        method: _median_windows(documents, stem)[list(columns)].to_numpy()
        for method, documents in scores.items()
    }
    return _average(V4, stem, f"median over windows of 1 s, then {average}", where, columns, values)


def _median_windows(documents: Mapping[str, Mapping[str, Any]], stem: str) -> Any:
    """Returns each track's medians over its windows, a data frame `[tracks, metrics]`."""
    store = museval.EvalStore(frames_agg="median")
    for track, document in documents.items():
        store.add_track(museval.json2df(document, track))
    medians: Any = store.agg_frames_scores()  # a series of museval's
    return medians.unstack("metric").xs(stem, level="target")


def _whole_table(scores: Scores, stem: str, where: str, average: str) -> Table:
    columns = ("SDR", "SI-SDR")
    values = {
        method: np.array(
            [[d["jaxsep"]["stems"][stem][c] for c in columns] for d in tracks.values()]
        )
        for method, tracks in scores.items()
    }
    return _average(WHOLE, stem, average, where, columns, values)


def _average(
    metric: str,
    stem: str,
    average: str,
    where: str,
    columns: tuple[str, ...],
    values: Mapping[str, np.ndarray],
) -> Table:
    over_tracks = AVERAGES[average.split()[-1]]
    rows = {
        method: [_over(column, over_tracks) for column in scores.T]
        for method, scores in values.items()
    }
    notes = _notes(columns, values)
    return Table(metric, stem, f"{average} over {where}", columns, rows, notes)


def _notes(columns: Sequence[str], values: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """Says how many tracks are missing from the averages, given scores `[tracks, columns]`."""
    notes = []
    for method, scores in values.items():
        counts = np.isnan(scores).sum(axis=0)
        for count in sorted(set(counts[counts > 0])):
            named = ", ".join(c for c, n in zip(columns, counts, strict=True) if n == count)
            notes.append(
                f"{method}: {count} of the tracks have no {named}, for silence in a true stem or an"
                " estimate, or want of a stem."
            )
    return tuple(notes)


def _over(values: Any, average: Any) -> float:
    with warnings.catch_warnings():  # the average of nothing is NaN, as it should be
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(average(np.asarray(values, float))) if len(values) else float("nan")


def _v3_table(scores: Scores, stem: str, where: str) -> Table:
    """Averages as the literature on MIR-1K does: weighted by the clips' lengths."""
    columns, values, rows = ("GNSDR", "GSIR", "GSAR"), {}, {}
    mixture = next(iter(scores.values()))
    for method, documents in scores.items():
        weights = np.array([document["jaxsep"]["seconds"] for document in documents.values()])
        values[method] = np.array(
            [
                [v3["SDR"] - mixture[track]["jaxsep"][V3][stem]["SDR"], v3["SIR"], v3["SAR"]]
                for track, document in documents.items()
                for v3 in [document["jaxsep"][V3][stem]]
            ]
        )
        rows[method] = [_weighted(column, weights) for column in values[method].T]
    average = f"means over {where}, weighted by length"
    return Table(V3, stem, average, columns, rows, _notes(columns, values))


def _weighted(values: np.ndarray, weights: np.ndarray) -> float:
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else math.nan
