"""Fields of models and formats have the types and ranges that their dataclasses say."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from jaxsep.fields import check_fields
from jaxsep.stft_config import StftConfig


@dataclasses.dataclass
class Model:
    hidden_size: int = 8
    num_layers: int = 1
    fine_bins: int = 0
    level_seconds: float = 1.0
    normalise: bool = True
    kind: str = "a"
    targets: tuple[str, ...] = ("vocals",)
    networks: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    rate: int | None = None
    extension: Literal["zeros", "average"] = "zeros"
    stft: StftConfig | None = None


GOOD = [
    {},
    {"hidden_size": 1, "num_layers": 64, "fine_bins": 0, "rate": None},
    {"hidden_size": 2**16, "level_seconds": 0, "rate": 5, "extension": "average"},
    {"level_seconds": 1e9, "normalise": False, "targets": ["a_1", "b-2", "Gesang"]},
    {"targets": ("é",), "networks": {"vocals": {}}, "stft": StftConfig()},
]
MANY: dict[str, dict] = {f"n{number}": {} for number in range(33)}
BAD = {
    "hidden_size": [-1, 0, 1.5, "x", None, True, 2**16 + 1, 10**400, [8], math.nan],
    "num_layers": [0, 65, 10**6],
    "fine_bins": [-5, False],
    "level_seconds": [math.nan, math.inf, -math.inf, -0.1, "1", None, True, 10**400, 1e10],
    "normalise": [1, 0, "yes", None],
    "kind": [1, None, "", "../x", "a b", "a\n", "x" * 65, ["a"]],
    "targets": [["a"] * 33, "vocals", None, 3, [1], [["a"]], ["../../etc"], ["a/b"], {"a": 1}],
    "networks": [None, [], {"a": 1}, {"a": [1]}, {1: {}}, {"../a": {}}, MANY],
    "rate": [0, "x", 1.0],
    "extension": ["ones", 1, None],
    "stft": [{}, 1],
    "layers": [3],
    "parent": [None],
    "a\x1b[31m": [1],
}


@pytest.mark.parametrize("fields", GOOD)
def test_what_a_model_can_have_is_taken(fields):
    check_fields(Model, fields)


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in BAD.items() for v in values])
def test_what_no_model_can_have_is_refused_in_one_line(name, value):
    with pytest.raises(ValueError) as refusal:
        check_fields(Model, {name: value})
    message = str(refusal.value)
    assert message.isprintable() and len(message) < 300
    assert ascii(name)[1:-1] in message


def test_huge_values_are_shown_in_short():
    deep: list = []
    for _ in range(10_000):
        deep = [deep, deep]
    with pytest.raises(ValueError) as refusal:
        check_fields(Model, {"hidden_size": deep})
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "fields",
    [
        {"sample_rate": 10**12},
        {"sample_rate": 999},
        {"sample_rate": 44100.0},
        {"channels": 0},
        {"channels": True},
        {"channels": 65},
        {"n_fft": 2**18},
        {"n_fft": math.inf},
        {"hop_length": "1024"},
    ],
)
def test_a_format_has_limits(fields):
    with pytest.raises(ValueError, match=r"must be a whole number from 1(000)? to"):
        StftConfig(**fields)
