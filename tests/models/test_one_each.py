"""A network for each target: which networks go together, and what the whole promises."""

import pytest

from jaxsep import models
from tests.helpers import TINY_STFT

MLP = {"name": "mlp", "hidden_size": 4}
LSTM = {"name": "lstm", "hidden_size": 4, "dropout": 0.25}
BATCH_NORM = {"name": "openunmix", "hidden_size": 4, "low_bins": 50}
BSRNN = {"name": "bsrnn", "features": 4, "hidden_size": 4, "num_layers": 1, "mask_size": 4}
BOTH_WAYS = {"bidirectional": True}


def each(*networks):
    return models.create(
        "one_each", TINY_STFT, networks={f"t{n}": one for n, one in enumerate(networks)}
    )


def test_the_whole_wants_what_any_of_its_networks_wants():
    plain = each(MLP, LSTM).traits
    assert (plain.windows, plain.dropout, plain.mixes_examples) == (None, 0.25, False)
    both = each(LSTM, {**BATCH_NORM, "dropout": 0.5}, MLP)
    assert (both.traits.dropout, both.traits.mixes_examples) == (0.5, True)
    assert both.traits.windows == both.maskers["t1"].traits.windows
    assert both.only(["t0", "t2"]).traits == plain
    assert each(BSRNN, BSRNN).traits.answers == "complex"


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ((MLP, BSRNN), "same sees, not magnitude and spectrum"),
        ((BSRNN, {**BSRNN, "answers": "real"}), "same answers, not complex and real"),
        (({**LSTM, **BOTH_WAYS}, BATCH_NORM), "same windows, not Windows"),
        (({**LSTM, "targets": ["vocals"]},), "targets"),
        (({**LSTM, "name": "one_each", "networks": {"vocals": MLP}},), "no field"),
        (({"name": "spleeter"},), "targets.* is no field of SpleeterMasker"),
        (({"name": "gru"},), "model.name='gru' is unknown"),
        (({"name": ["mlp"]},), "unhashable"),
    ],
)
def test_networks_that_do_not_go_together_are_refused(networks, message):
    with pytest.raises(ValueError, match=message):
        each(*networks)


def test_a_matrix_product_has_the_same_type_in_all_networks():
    masker = models.create("one_each", TINY_STFT, dtype="bfloat16", networks={"a": MLP, "b": LSTM})
    assert {one.dtype.name for one in masker.maskers.values()} == {"bfloat16"}
