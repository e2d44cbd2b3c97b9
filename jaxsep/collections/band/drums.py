"""The drummer: a kit, and grooves to play on it."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from jaxsep.collections.band import sound
from jaxsep.collections.band.score import BEATS, DYNAMICS, Song, strokes

GROOVES = (("X.......X.x.....", "....X.......X..."), ("X...X...X...X...", "....X.......X..."),
           ("X.....x...x.....", "....X..o.o..X..."), ("X..x..x.X..x..x.", "....X.......X..o"),
           ("X.........x.....", "........X......."), ("X..x....x.X.....", "....X..o....X..."),
)  # fmt: skip
HATS = ("x.x.x.x.x.x.x.x.", "X.o.X.o.X.o.X.o.", "xoxoxoxoxoxoxoxo", "..X...X...X...X.")
FILLS = ("........x.x.xxXX", "............xxXX", "........X..x..X.", "....x.x.X.X.xxxx")


def drums(song: Song, rng: Generator) -> NDArray:
    """A groove with ghost notes, and a fill at the end of each section: stereo [samples, 2]."""
    kit = _build_kit(song.sample_rate, rng)
    (kick, snare), hat = rng.choice(GROOVES), rng.choice(HATS)
    open_chance, ghost_chance = rng.uniform(0, (0.6, 0.1))
    hits = []  # beat, drum, level
    for bar, section in song.bars("drums"):
        level = DYNAMICS[section]
        lines = {"kick": kick, "snare": snare, "hat": hat}
        if song.sections[bar + 1 : bar + 2] != [section]:
            fill = rng.choice(FILLS)
            rest = len(fill) - len(fill.lstrip("."))
            lines = {drum: line[:rest].ljust(16, ".") for drum, line in lines.items()}
            drum = rng.choice(["snare", "tom"])
            lines[drum] = lines.get(drum, "." * 16)[:rest] + fill[rest:]
        if bar == 0 or song.sections[bar - 1] != section:
            hits.append((bar * BEATS, "crash", level))
        for drum, line in lines.items():
            for beat, _, stroke in strokes(line, bar):
                opens = drum == "hat" and beat % 2 == 1.5 and rng.random() < open_chance
                hits.append((beat, "open" if opens else drum, level * stroke))
        for step in np.flatnonzero(rng.random(16) < ghost_chance):
            hits.append((bar * BEATS + step / 4, "snare", 0.2 * level))
    track = np.zeros((song.samples, 2), np.float32)
    for beat, drum, level in hits:
        start = song.seconds(beat) + rng.normal(0, sound.TIMING_SECONDS / 2)
        take = kit[drum][rng.integers(3)]
        sound.add(track, level * rng.uniform(0.8, 1.0) * take, start, song.sample_rate)
    return np.tanh(track)  # the bus compresses the loudest hits


def _build_kit(sample_rate: int, rng: Generator) -> dict[str, list[NDArray]]:
    """Builds a few takes of each drum, as no two hits are the same: stereo [samples, 2]."""
    partials = rng.uniform(3000, 9000, 8)  # of the cymbals, Hz
    tom_place, hat_place, crash_place = rng.uniform(-0.5, 0.5, 3)

    def strike(
        place: float, head: tuple[float, ...], noise: tuple[float, ...], metal: float = 0.0
    ) -> list[NDArray]:
        """Strikes a head (level, Hz, drop in Hz, decay) with noise (level, low, high, decay)."""
        (thump, pitch, drop, decay), (level, low, high, noise_decay) = head, noise
        seconds = 5 * max(decay, noise_decay)  # by then it is 43 dB down
        time = np.arange(int(seconds * sample_rate)) / sample_rate
        settle = 0.03  # s in which the pitch of a struck head falls
        phase = pitch * time - settle * drop * np.exp(-time / settle)
        body = thump * np.sin(2 * np.pi * phase) * np.exp(-time / decay)
        ring = metal * np.sign(np.sin(2 * np.pi * np.outer(time, partials))).mean(axis=1)
        edges = np.minimum(time / 0.0005, 1) * np.minimum((seconds - time) / 0.02, 1)
        takes = []
        for _ in range(3):
            hiss = sound.band_pass(ring + rng.standard_normal(len(time)), low, high, sample_rate)
            rattle = level * hiss * np.exp(-time / noise_decay)
            takes.append(sound.pan(edges * (body + rattle), place))
        return takes

    draw = rng.uniform
    snare, no_head = (1.0, draw(160, 240), 60, draw(0.05, 0.12)), (0.0, 1.0, 0.0, 0.01)
    hats = draw(0.15, 0.45)
    return {
        "kick": strike(0.0, (1.0, draw(42, 62), draw(80, 260), draw(0.08, 0.2)),
                       (draw(0.05, 0.4), 1500, 9000, 0.004)),
        "snare": strike(0.05, snare, (draw(0.3, 1.2), 1200, 15000, draw(0.05, 0.15))),
        "tom": strike(tom_place, (0.8, draw(80, 140), 60, 0.2), (0.2, 200, 8000, 0.01)),
        "hat": strike(hat_place, no_head, (hats, 6000, 18000, draw(0.02, 0.05)), metal=1.0),
        "open": strike(hat_place, no_head, (hats, 6000, 18000, draw(0.1, 0.25)), metal=1.0),
        "crash": strike(crash_place, no_head, (draw(0.1, 0.4), 3000, 18000, 0.5), metal=0.5),
    }  # fmt: skip
