"""How a masker is scored on held-out tracks, and which of them is pictured."""

import numpy as np
from etils import epath

from jaxsep import sharding
from jaxsep.data.tfrecord import RecordSource
from jaxsep.data.training_data import TrainingData
from jaxsep.models.masker import Traits
from jaxsep.preparation.prepare import prepare
from jaxsep.training import validation
from jaxsep.training.step import make_eval_step
from tests.helpers import TINY_STFT, tiny_band, tiny_settings


class ConstantMasker:
    """Gives every bin the same mask."""

    stft, targets, traits = TINY_STFT, ("vocals",), Traits()

    def __init__(self, mask: float):
        self._mask = mask

    def initial_carry(self, batch):
        return None

    def apply(self, variables, mixture, carry, *, valid=None):
        return self._mask + 0 * mixture[:, None], carry


def decoded(dataset, split):
    return [dataset.codec.decode(payload) for payload in RecordSource(dataset.shards(split))]


def energy(examples, stem) -> float:
    return sum(float(np.square(example[stem].astype(np.float64)).sum()) for example in examples)


def test_the_score_is_the_mean_over_tracks_of_energies_over_all_their_segments(tmp_path):
    dataset = prepare(tiny_band(8), tmp_path / "data", tiny_settings(), workers=1)
    mesh, examples = sharding.make_mesh(), decoded(dataset, "validation")
    silence, mixture = [], []
    for name in dataset.track_names("validation"):
        own = [example for example in examples if example["track"] == name]
        assert len(own) == 3
        silence.append(0.0)
        mixture.append(10 * np.log10(energy(own, "vocals") / energy(own, "accompaniment")))
    for mask, expected in ((0.0, silence), (1.0, mixture)):
        step = make_eval_step(ConstantMasker(mask), mesh=mesh)
        fields = {"targets": ["vocals"], "batch_size": 2, "mesh": mesh}
        found = validation.validate(step, {}, TrainingData((dataset,)), **fields)
        means = [np.mean(expected), np.mean(mixture)]
        np.testing.assert_allclose([found.sdr, found.sdr_mixture], means, atol=1e-3)


def test_the_picture_is_of_the_held_out_segment_with_the_loudest_vocals(
    tiny_dataset, tmp_path, monkeypatch
):
    drawn = {}

    def save(path, pictures, stft, *, title):
        drawn.update(pictures, title=title, path=path, stft=stft)

    monkeypatch.setattr(validation.figures, "save_spectrograms", save)
    data = TrainingData((tiny_dataset,))
    validation.draw_example(epath.Path(tmp_path), data, ConstantMasker(0.25), {})
    examples = decoded(tiny_dataset, "validation")
    loudest = max(examples, key=lambda example: energy([example], "vocals"))
    vocals = loudest["vocals"].astype(np.float32)
    mixture = loudest["mixture"].astype(np.float32)
    np.testing.assert_array_equal(drawn["vocals, reference"], vocals)
    np.testing.assert_array_equal(drawn["mixture"], mixture)
    np.testing.assert_array_equal(drawn["vocals, estimate"], mixture / 4)
    start = float(loudest["start"])
    assert drawn["title"] == f"{loudest['track']} (validation), from {start:.1f} s"
