"""Channel layouts: which loudspeaker each channel belongs to.

A layout is a name that FFmpeg understands, such as "stereo", "5.1(side)" or "FL+FR+LFE". Where a
file doesn't say, it is "6 channels". Audio in memory always has WAV's order (front left, front
right, front centre, LFE, back left, back right, ...), whatever the codec stores.
"""

import av
import numpy as np

# What a bare number of channels usually means, in WAV's order.
_USUAL = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

# Ogg Vorbis knows these alone. Of each, the channels in WAV's order that it stores one by one.
# Reference: Vorbis I specification, 4.3.9.
VORBIS = {
    "mono": (0,),
    "stereo": (0, 1),
    "3.0": (0, 2, 1),
    "quad": (0, 1, 2, 3),
    "5.0": (0, 2, 1, 3, 4),
    "5.1": (0, 2, 1, 4, 5, 3),
    "6.1": (0, 2, 1, 5, 6, 4, 3),
    "7.1": (0, 2, 1, 6, 7, 4, 5, 3),
}
# Those that AAC comes back with; FFmpeg stores others without saying which they are.
_AAC = ("mono", "stereo", "2.1", "3.0", "quad", "4.0", "5.0", "5.1", "7.1")
_HELD = {"mp3": ("mono", "stereo"), "ogg": tuple(VORBIS), "m4a": _AAC}

# The same loudspeakers for a format that tells back from side only where both are there.
_ALIKE = {"5.0(side)": "5.0", "5.1(side)": "5.1", "quad(side)": "quad"}


def name_of(layout: av.AudioLayout) -> str:
    """Names a layout so that `av.AudioLayout` understands it."""
    names = [channel.name for channel in layout.channels]
    for name in (layout.name, "+".join(names)):
        try:
            known = av.AudioLayout(name)
        except ValueError:
            continue
        if [channel.name for channel in known.channels] == names and "NONE" not in names:
            return name
    return unknown(layout.nb_channels)


def unknown(channels: int) -> str:
    """Names the layout of a file that tells only the number of its channels."""
    return _USUAL[channels] if channels <= 2 else f"{channels} channels"


def stored_as(layout: str, audio_format: str) -> str | None:
    """Returns the layout as which a format stores another one, or None if it can't.

    Args:
      layout: Name of the layout.
      audio_format: One of `jaxsep.audio.writer.FORMATS`.
    """
    if audio_format == "wav":
        return layout
    channels = av.AudioLayout(layout).nb_channels
    if channels <= 2 or layout == unknown(channels):
        layout = _USUAL.get(channels, layout)
    held = _HELD.get(audio_format)
    if held is None:  # FLAC
        return layout if channels <= 8 else None
    layout = layout if layout in held else _ALIKE.get(layout, layout)
    return layout if layout in held else None


def from_vorbis(channels: int) -> tuple[str, tuple[int, ...]]:
    """Returns the layout of up to 8 channels of Ogg, and where each of WAV's channels is stored."""
    layout = _USUAL[channels]
    order = VORBIS[layout]
    return layout, tuple(order.index(channel) for channel in range(channels))


def reorder(samples: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Returns [samples, channels] with the channels in another order."""
    return samples if order == tuple(range(len(order))) else samples[:, order]
