"""Imports point one way, and light parts stay light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the top; a room imports from those below its own floor alone.
FLOORS = (
    ("train", "data_prep", "configs", "jaxsep"),
    ("cli",),
    ("evaluation", "studio", "preparation"),
    ("training", "convert", "separation"),
    ("data", "collections", "models", "plots"),
    ("audio",),
    ("vocabulary",),
)
LIGHT = ("jaxsep", "jaxsep.cli.main", "jaxsep.data.records", "jaxsep.data.tfrecord")
LIGHT += ("jaxsep.audio.reader", "jaxsep.preparation.prepare")
DOORS = ("musdb18", "stems_folder", "mir1k", "synthetic")


def room_of(module: str) -> str:
    """Names the room of a module: `audio` for `jaxsep.audio.reader`.

    What lies flat in `jaxsep/` is the vocabulary; the package itself is a door.
    """
    first, *rest = module.split(".")
    if first != "jaxsep" or not rest:
        return first
    return rest[0] if (ROOT / "jaxsep" / rest[0]).is_dir() else "vocabulary"


def imports_of(path: Path) -> Iterator[str]:
    """Yields what of this repository a file imports anywhere, in functions too: `module.name`."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        yield from (name for name in names if name.split(".")[0] in FLOORS[0])


def modules() -> dict[str, Path]:
    """Lists the modules below the doors by their dotted names."""
    files = [*ROOT.glob("jaxsep/**/*.py"), *ROOT.glob("data_prep/*.py"), ROOT / "train.py"]
    names = [file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files]
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_room_imports_from_lower_floors_alone(module):
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    here = room_of(module)
    rooms = {room_of(name) for name in imports_of(modules()[module])}
    assert [room for room in rooms if room != here and floor[room] <= floor[here]] == []


def test_no_room_has_a_circle():
    known = modules()
    graph = {
        module: {name if name in known else name.rpartition(".")[0] for name in imports_of(file)}
        & known.keys()
        for module, file in known.items()
    }
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in finished:
            for target in graph[module]:
                visit(target, (*path, module))
            finished.add(module)

    for module in graph:
        visit(module, ())


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


@pytest.mark.parametrize("module", [*LIGHT, *(f"data_prep.{name}" for name in DOORS)])
def test_it_needs_no_jax(module):
    assert "jax" not in modules_after(f"import {module}")


def test_nothing_below_the_door_sees_a_config():
    names = "jaxsep.models.files, jaxsep.separation.separator, jaxsep.data.input_pipeline"
    names += ", jaxsep.training.step, jaxsep.training.optimizer, jaxsep.training.losses"
    assert "ml_collections" not in modules_after(f"import {names}")


def test_importing_touches_no_device():
    names = "jaxsep.training.loop, jaxsep.separation.separator"
    statement = f"import {names}, jax._src.xla_bridge as bridge"
    assert modules_after(f"{statement}; assert not bridge._backends")
