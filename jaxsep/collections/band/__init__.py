"""The built-in band: a deterministic little studio that needs no recordings.

Every seed is one song with its own key, tempo, chords, form, singer, instruments and mix. First
the song is composed (`score`), then each player turns it into notes and the notes into sound
(`voice`, `drums`, `instruments`), and `mixing` puts the stems together.
"""

from jaxsep.collections.band.mixing import STEMS, VOCALS_DB, render_song

__all__ = ["STEMS", "VOCALS_DB", "render_song"]
