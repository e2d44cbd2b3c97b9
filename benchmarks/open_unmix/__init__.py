"""jaxsep beside Open-Unmix, in turns on the same machine.

    pip install torch==2.13.0 && pip install --no-deps openunmix     # beside jaxsep
    python -m benchmarks.open_unmix step|hop|file|start

Open-Unmix's published weights are downloads, so both sides have random ones: 512 units, the layers
of `SHAPES`. The rest is not quite the same: Open-Unmix has batch normalisation, leaves out what is
above 16 kHz at the entrance and may amplify; jaxsep takes logarithms and a running level.
"""

from typing import NamedTuple


class Shape(NamedTuple):
    """LSTM layers that both sides have."""

    num_layers: int
    bidirectional: bool


SHAPES = {
    "LSTM 1": Shape(1, False),
    "LSTM 3": Shape(3, False),
    "BLSTM 3": Shape(3, True),
}
HIDDEN_SIZE = 512
