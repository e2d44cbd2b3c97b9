"""What `jaxsep health` shows: the latest numbers of each layer as a table, all as a picture."""

import math
import operator
from collections.abc import Mapping
from typing import Any

from etils import epath
from rich import box
from rich.console import Console
from rich.table import Table

from jaxsep.console import printable
from jaxsep.files import parse_json
from jaxsep.training import health
from jaxsep.training.log import HEALTH, METRICS

# By column: the numbers in it, and how they are written.
COLUMNS = {
    "in\nrms / max": (("in_rms", "in_max"), "{:.2g}"),
    "out\nrms / max": (("out_rms", "out_max"), "{:.2g}"),
    "dead\nReLUs": (("dead",), "{:.0%}"),
    "satu-\nrated": (("saturated",), "{:.0%}"),
    "largest\ncell": (("cell_max",), "{:.2g}"),
    "gradient\nnorm": (("grad_norm",), "{:.2g}"),
    "parameter\nnorm": (("param_norm",), "{:.3g}"),
    "update /\nparameters": (("update_ratio",), "{:.1e}"),
}
WIDTH = 120


class NoMetricsError(Exception):
    """The folder holds no numbers of a training."""


def read_metrics(workdir: epath.Path) -> dict[int, dict[str, float]]:
    """Reads a training's numbers by step.

    Of a step that was repeated after an interruption, the last number counts. What wasn't finite
    is NaN.

    Raises:
      NoMetricsError: if there are none.
    """
    file = workdir / METRICS
    if not file.exists():
        raise NoMetricsError(f"{workdir}: no {METRICS} in it; give the workdir of a training")
    steps: dict[int, dict[str, float]] = {}
    for line in file.read_bytes().splitlines():
        try:
            numbers = parse_json(line)
            step = operator.index(numbers.pop("step"))
            numbers = {n: math.nan if v is None else float(v) for n, v in numbers.items()}
        except (ValueError, KeyError, AttributeError, TypeError):
            continue  # a line cut off when the process was killed, or damaged
        steps.setdefault(step, {}).update(numbers)
    return steps


def layers_at(numbers: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns the numbers of each layer, in the order of the forward pass; none if not looked at.

    Args:
      numbers: of a step.
    """
    layers: dict[str, dict[str, float]] = {}
    for name, value in numbers.items():
        match name.split("/"):
            case [kind, *layer, number] if kind == HEALTH and layer:
                layers.setdefault("/".join(layer), {})[number] = value
    return layers


def print_metrics(steps: Mapping[int, Mapping[str, float]]) -> None:
    """Prints where a training stands."""
    console = _console()
    needed = {"train/loss", "train/grad_norm", "train/learning_rate"}
    trained = [step for step, numbers in steps.items() if needed <= numbers.keys()]
    if trained:
        last = steps[max(trained)]
        values = {name.removeprefix("train/"): value for name, value in last.items()}
        shares = ("clipped", "skipped", "data_wait")
        shown = [f"{n.replace('_', ' ')} {values[n]:.1%}" for n in shares if n in values]
        console.print(
            f"step {max(trained)}: loss {values['loss']:.4g}, gradient norm"
            f" {values['grad_norm']:.3g}, learning rate {values['learning_rate']:.2g};"
            f" since the line before: {', '.join(shown)}"
        )
    scores = {step: numbers["validation/sdr"] for step, numbers in steps.items()
              if "validation/sdr" in numbers}  # fmt: skip
    if scores:
        best = max(scores, key=scores.__getitem__)
        console.print(
            f"validation: {scores[max(scores)]:.2f} dB SDR at step {max(scores)}, best"
            f" {scores[best]:.2f} dB at step {best}"
        )


def print_layers(layers: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """Prints a table of the layers' numbers, and what is conspicuous about them."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer")
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    notes = []
    for layer, numbers in layers.items():
        cells = [
            " / ".join(form.format(numbers[name]) for name in names if name in numbers)
            for names, form in COLUMNS.values()
        ]
        name = printable(layer)
        table.add_row(name, *cells)
        notes += [f"  {name}: {', '.join(found)}" for found in [health.remarks(numbers)] if found]
    console = _console()
    console.print(table)
    if notes:
        console.print("conspicuous (rules of thumb):", *notes, sep="\n")


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    console.width = max(console.width, WIDTH)
    return console
