"""A worker's part of a preparation: some tracks become finished shards."""

import dataclasses
import itertools
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxsep.collections.source import Source, Track, TrackError
from jaxsep.data import records, tfrecord
from jaxsep.data.bin_statistics import BinStatistics
from jaxsep.files import replacing, sha256_of, write_json
from jaxsep.preparation.examples import (
    Settings,
    remix_magnitudes,
    segment_magnitudes,
    segment_waveforms,
    to_format,
)

SHARD_BYTES = 128 * 2**20


class BadTrackError(Exception):
    """A track can't be used; the message names it and says why."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Some tracks whose examples fill about one shard, or one long track.

    Attributes:
      name: Beginning of its files' names, unique in the data set.
      split: Split of all its tracks.
      remix: Number of the remixing pass; 0 for the songs themselves.
      tracks: Tracks, each with its partner track in a remixing pass, whose accompaniment it gets.
    """

    name: str
    split: str
    remix: int
    tracks: tuple[tuple[Track, Track | None], ...]


def write_group(
    source: Source, folder: Path, settings: Settings, group: Group, skip_bad: bool
) -> None:
    """Writes a group's shards and then its marker, `NAME.json`: what was done, in JSON.

    Raises:
      BadTrackError: at the first track that can't be used, unless `skip_bad`.
    """
    stems = (*settings.targets, *settings.rests)
    codec = records.ExampleCodec(settings.stft, stems, settings.representation)
    statistics = BinStatistics(settings.stft)
    tracks, skipped, stem_records = [], [], []

    def payloads() -> Iterator[bytes]:
        for track, partner in group.tracks:
            try:
                waveforms = _load(source, track, settings)
                partner_waveforms = _load(source, partner, settings) if partner else None
                files = [_hash_file(source.root, file) for file in track.files]
            except BadTrackError as error:
                if not skip_bad:
                    raise
                use = f"{group.split}/{track.name}" + (f", remix {group.remix}" if partner else "")
                skipped.append({"track": use, "reason": str(error)})
                continue
            if partner is None:
                seconds = len(waveforms["mixture"]) / settings.stft.sample_rate
                entry = {"track": track.name, "split": group.split, "seconds": seconds}
                silent = [t for t in settings.targets if not np.any(waveforms.get(t, 0))]
                tracks.append({**entry, "files": files, **({"silent": silent} if silent else {})})
            key = f"pass {group.remix}, {track.name}"
            counted = statistics if group.split == "train" and group.remix == 0 else None
            for example in _examples(waveforms, partner_waveforms, key, settings, counted):
                if "stem" in example:
                    stem_records.append([track.name, example["stem"], example["start"]])
                yield codec.encode({**example, "track": track.name})

    marker = {
        "shards": write_shards(folder, group.name, payloads()),
        "tracks": tracks,
        "skipped": skipped,
        "stem_records": stem_records,
        "statistics": statistics.sums(),
    }
    write_json(folder / f"{group.name}.json", marker)


def _examples(
    waveforms: dict[str, np.ndarray],
    partner: dict[str, np.ndarray] | None,
    key: str,
    settings: Settings,
    statistics: BinStatistics | None,
) -> Iterator[dict[str, typing.Any]]:
    """Yields a track's examples, without its name, and counts its mixtures in the statistics."""
    if settings.representation == records.WAVEFORM:
        for start, stem, waveform in segment_waveforms(waveforms, settings):
            yield {"waveform": waveform, "stem": stem, "start": start}
        # Training makes other mixtures; that of the track's own stems is one of the kind.
        if statistics is not None:
            mixture = {"mixture": waveforms["mixture"]}
            for _, magnitudes in segment_magnitudes(mixture, settings):
                statistics.add(magnitudes["mixture"])
        return
    segments = (
        remix_magnitudes(waveforms, partner, key, settings)
        if partner
        else segment_magnitudes(waveforms, settings)
    )
    for start, magnitudes in segments:
        if statistics is not None:
            statistics.add(magnitudes["mixture"])
        yield {"start": start, **{name: m.astype(np.float16) for name, m in magnitudes.items()}}


def _load(source: Source, track: Track, settings: Settings) -> dict[str, np.ndarray]:
    try:
        return to_format(source.load(track), settings)
    except (TrackError, OSError) as error:
        reason = " ".join(str(error).split())
        raise BadTrackError(f"{track.split}/{track.name}: {reason}") from None


def write_shards(folder: Path, name: str, payloads: Iterator[bytes]) -> list[dict[str, typing.Any]]:
    """Writes records to files of about `SHARD_BYTES`, each whole or not there.

    Returns:
      Each file's name, `records`, `bytes` and `sha256`.
    """
    shards = []
    for first in payloads:
        shard: dict[str, typing.Any] = {"file": f"{name}-{len(shards):03d}.tfrecord"}
        records = bytes_written = 0
        with replacing(folder / shard["file"]) as part, open(part, "wb") as file:
            for payload in itertools.chain([first], payloads):
                bytes_written += tfrecord.write_record(file, payload)
                records += 1
                if bytes_written >= SHARD_BYTES:
                    break
        checksum = sha256_of(folder / shard["file"])
        shards.append(shard | {"records": records, "bytes": bytes_written, "sha256": checksum})
    return shards


def _hash_file(root: Path | None, file: str) -> dict[str, typing.Any]:
    path = (root or Path()) / file
    return {"file": file, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
