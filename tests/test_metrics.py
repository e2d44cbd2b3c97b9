import numpy as np
import pytest

from jaxsep.training.validation import TrackEnergies


def test_tracks_without_a_target_do_not_count_for_it():
    energies = TrackEnergies(["vocals", "drums"])
    energies.add(
        np.array([0, 1, 2, -1]),  # sung, hummed, instrumental, filled up
        {
            "target": np.array([[100.0, 0], [100.0, 0], [1e-9, 0], [1.0, 0]]),
            "error": np.array([[10.0, 1], [1.0, 1], [50.0, 1], [1.0, 1]]),
            "mixture_error": np.array([[100.0, 1], [10.0, 1], [50.0, 1], [1.0, 1]]),
        },
    )
    assert energies.mean_sdr("error") == {"vocals": pytest.approx(15.0), "drums": None}
    assert energies.mean_sdr("mixture_error") == {"vocals": pytest.approx(5.0), "drums": None}
