"""jaxsep: split a song into its vocals and the rest, and train such separators in JAX.

Axes stand in one order everywhere:

* waveforms: `[..., samples, channels]`, full scale is +-1;
* spectrograms, magnitudes and masks: `[..., frames, channels, bins]`;
* a batch axis, where there is one, comes first.
"""

import typing

__version__ = "0.1.0"
__all__ = ["Separator", "Streamer", "__version__"]

if typing.TYPE_CHECKING:
    from jaxsep.separator import Separator
    from jaxsep.streaming import Streamer


def __getattr__(name: str) -> typing.Any:
    # Lazy, so that reading records or preparing data imports no JAX.
    if name == "Separator":
        from jaxsep.separator import Separator

        return Separator
    if name == "Streamer":
        from jaxsep.streaming import Streamer

        return Streamer
    raise AttributeError(f"module 'jaxsep' has no attribute {name!r}")
