import numpy as np
import pytest

from jaxsep.training.validation import TrackEnergies


def test_tracks_without_vocals_do_not_count():
    energies = TrackEnergies()
    energies.add(
        np.array([0, 1, 2, -1]),  # sung, hummed, instrumental, filled up
        {
            "vocals": np.array([100.0, 100.0, 1e-9, 1.0]),
            "error": np.array([10.0, 1.0, 50.0, 1.0]),
            "mixture_error": np.array([100.0, 10.0, 50.0, 1.0]),
        },
    )
    assert energies.mean_sdr("error") == pytest.approx(15.0)
    assert energies.mean_sdr("mixture_error") == pytest.approx(5.0)
