"""jaxsep: split a song into its vocals and the rest, and train such separators in JAX.

Axes stand in one order everywhere:

* waveforms: `[..., samples, channels]`, full scale is +-1;
* spectrograms, magnitudes and masks: `[..., frames, channels, bins]`;
* a batch axis, where there is one, comes first.
"""

from etils import epy

from jaxsep.version import __version__

with epy.lazy_api_imports(globals()):  # reading records or preparing data needs no JAX
    from jaxsep.separation.separator import Separator
    from jaxsep.separation.streamer import Streamer

__all__ = ["Separator", "Streamer", "__version__"]
