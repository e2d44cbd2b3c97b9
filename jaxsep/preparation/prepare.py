"""Writes a collection of songs as a data set: in parallel, restartable, the same bytes always.

The training, validation and test tracks are divided into groups of about one shard. A group is
done when its marker (a JSON file, written last and renamed into place) is there; an interrupted
preparation continues with the groups that have none. In the end the finished shards get their
final names and the manifest makes them a data set.
"""

import concurrent.futures
import math
import os
import shutil
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets.public_api as tfds
from etils import epath
from filelock import FileLock, Timeout
from tqdm import tqdm

from jaxsep.collections.source import (
    SPLITS,
    PreparationError,
    Source,
    Track,
    stems_beside,
)
from jaxsep.data import bin_statistics, records, tfrecord
from jaxsep.data.mix_plan import draw_partners
from jaxsep.files import read_json, sha256_of, write_json
from jaxsep.preparation.examples import Settings
from jaxsep.preparation.job import claim_folder, describe_job
from jaxsep.preparation.shards import (
    SHARD_BYTES,
    BadTrackError,
    Group,
    write_group,
)
from jaxsep.processes import ignored_interrupts, worker_pool
from jaxsep.stems import ACCOMPANIMENT
from jaxsep.version import __version__

MOST_NAMES = 12  # of stems in a message
PROGRESS_BAR = "{l_bar}{bar}| {n}/{total} s of music [{elapsed}, {remaining} left]"


def prepare(
    source: Source, output: Path, settings: Settings, *, workers: int, skip_bad: bool = False
) -> records.Dataset:
    """Prepares a data set, or finishes its interrupted preparation.

    Args:
      source: The collection.
      output: Folder of the data set; made if need be.
      settings: Settings of the examples.
      workers: Number of processes; the result doesn't depend on it.
      skip_bad: Whether to leave out tracks that can't be used, instead of stopping at the first.

    Raises:
      PreparationError: if a track can't be used, no song has a target, `output` holds something
        else, or the disk is too small.
    """
    tracks = source.tracks()
    if not any(track.split == "train" for track in tracks):
        raise PreparationError(f"{source.root}: no training tracks; they belong in its train/")
    if settings.remixes and sum(track.split == "train" for track in tracks) < 2:
        raise PreparationError("remixes need at least two training tracks; use --remixes=0")
    _check_targets(tracks, settings)
    job = describe_job(source, settings, tracks)
    if claim_folder(output, job):
        return records.load_dataset(output)
    groups = _plan(tracks, settings)
    try:
        with FileLock(output / records.UNFINISHED / "lock", blocking=False):
            for part in (output / records.UNFINISHED).glob(".*.part-*"):
                part.unlink()  # of a run that was killed
            todo = [group for group in groups if not _marker(output, group).exists()]
            _check_disk(output, todo, settings)
            _run(source, output / records.UNFINISHED, settings, todo, workers, skip_bad)
            _finish(source, output, settings, groups, job)
    except Timeout as error:
        raise PreparationError(f"{output}: another preparation is at work here") from error
    shutil.rmtree(output / records.UNFINISHED)
    return records.load_dataset(output)


def _check_targets(tracks: list[Track], settings: Settings) -> None:
    """Raises PreparationError if what is asked for is in no song, as far as that is known."""
    counts = Counter(stem for track in tracks for stem in track.stems)
    names = ", ".join(name for name, _ in counts.most_common(MOST_NAMES))
    missing = [name for name in settings.targets if name not in (*counts, ACCOMPANIMENT)]
    if counts and missing:
        raise PreparationError(
            f"no song has a stem {missing[0]!r}; choose targets among those there are: {names}"
        )
    trained = {stem for track in tracks if track.split == "train" for stem in track.stems}
    if settings.representation == records.WAVEFORM and len(trained) == 1:
        raise PreparationError(
            f"the training songs have {trained.pop()} alone; add what sounds beside it, as other"
            " files of theirs or as songs of its own"
        )


def _plan(tracks: list[Track], settings: Settings) -> list[Group]:
    """Divides the tracks of each split and pass into groups of about one shard."""
    groups = []
    for split in SPLITS:
        here = [track for track in tracks if track.split == split]
        for remix in range(1 + (settings.remixes if split == "train" else 0)):
            partners: list[Track | None] = [None] * len(here)
            if remix:
                rng = np.random.default_rng([settings.seed, remix])
                partners = [here[number] for number in draw_partners(len(here), rng)]
            size, batches = math.inf, []
            for track, partner in zip(here, partners, strict=True):
                if size + _expected_bytes(track, settings) > SHARD_BYTES:
                    batches.append([])
                    size = 0.0
                batches[-1].append((track, partner))
                size += _expected_bytes(track, settings)
            for members in batches:
                name = f"{split}-{remix}-{len(groups):05d}"
                groups.append(Group(name, split, remix, tuple(members)))
    return groups


def _expected_bytes(track: Track, settings: Settings) -> float:
    stft = settings.stft
    if settings.representation == records.WAVEFORM:
        stems = len(settings.targets) + bool(stems_beside(track.stems, settings.targets))
        values = track.seconds * stft.sample_rate * stft.channels * stems
        return 1.001 * values * np.dtype(np.int16).itemsize
    frames = track.seconds * stft.sample_rate / stft.hop_length + 1
    values = frames * stft.channels * stft.bins * (1 + len(settings.targets) + len(settings.rests))
    return 1.001 * values * np.dtype(np.float16).itemsize  # names and framing add a little


def _check_disk(output: Path, todo: list[Group], settings: Settings) -> None:
    needed = sum(_expected_bytes(track, settings) for group in todo for track, _ in group.tracks)
    free = shutil.disk_usage(output).free
    if needed * 1.02 > free:
        raise PreparationError(
            f"{output}: about {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free; make room or"
            " choose another --output"
        )


def _run(
    source: Source,
    folder: Path,
    settings: Settings,
    todo: list[Group],
    workers: int,
    skip_bad: bool,
) -> None:
    """Writes the groups in worker processes, showing the progress in seconds of music."""
    seconds = {group: round(sum(t.seconds for t, _ in group.tracks)) for group in todo}
    try:
        with worker_pool(workers) as executor:
            with ignored_interrupts():
                futures = {
                    executor.submit(write_group, source, folder, settings, group, skip_bad): group
                    for group in todo
                }
            total = sum(seconds.values())
            with tqdm(total=total, desc="preparing", bar_format=PROGRESS_BAR) as progress:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
                    progress.update(seconds[futures[future]])
    except BrokenProcessPool as error:
        raise PreparationError(
            "a worker process died, most likely for want of memory; use fewer --workers"
        ) from error
    except BadTrackError as error:
        raise PreparationError(f"{error} (--skip_bad leaves such tracks out)") from None


def _marker(output: Path, group: Group) -> Path:
    return output / records.UNFINISHED / f"{group.name}.json"


def _finish(
    source: Source, output: Path, settings: Settings, groups: list[Group], job: dict[str, Any]
) -> None:
    """Gives the shards their final names and writes metadata, statistics and the manifest."""
    markers = {group: read_json(_marker(output, group)) for group in groups}
    splits = {}
    for split in SPLITS:
        here = [markers[group] for group in groups if group.split == split]
        shards = [shard for marker in here for shard in marker["shards"]]
        tracks = [track for marker in here for track in marker["tracks"]]
        if not tracks:
            continue
        for number, shard in enumerate(shards):
            unfinished = output / records.UNFINISHED / shard["file"]
            shard["file"] = tfrecord.shard_name(source.name, split, number, len(shards))
            if unfinished.exists():  # else an interrupted run has renamed it
                os.replace(unfinished, output / shard["file"])
        splits[split] = {
            "num_tracks": len(tracks),
            "num_examples": sum(shard["records"] for shard in shards),
            "seconds": sum(track["seconds"] for track in tracks),
            "shards": shards,
        }
        if settings.representation == records.WAVEFORM:
            splits[split]["stem_records"] = [r for marker in here for r in marker["stem_records"]]
    skipped = {s["track"]: s for marker in markers.values() for s in marker["skipped"]}
    if "train" not in splits:
        raise PreparationError("no training track could be used: " + "; ".join(skipped))
    statistics = [marker["statistics"] for group, marker in markers.items()]
    write_json(output / records.STATISTICS, bin_statistics.merge(statistics))
    _write_tfds_metadata(source, output, settings, splits)
    manifest = {
        **job,
        "jaxsep_version": __version__,
        "statistics_sha256": sha256_of(output / records.STATISTICS),
        "scaling": "none: librosa's convention, a full-scale sine has magnitude n_fft / 4",
        "splits": splits,
        "sources": [track for marker in markers.values() for track in marker["tracks"]],
        "skipped": list(skipped.values()),
    }
    write_json(output / records.MANIFEST, records.sign(manifest))


def _write_tfds_metadata(
    source: Source, output: Path, settings: Settings, splits: dict[str, Any]
) -> None:
    """Writes what `tfds.builder_from_directory` needs."""
    template, stems = records.FILE_TEMPLATE, (*settings.targets, *settings.rests)
    split_infos = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[shard["records"] for shard in info["shards"]],
            num_bytes=sum(shard["bytes"] for shard in info["shards"]),
            filename_template=tfds.core.ShardedFileTemplate(
                data_dir=epath.Path(output),
                template=template,
                dataset_name=source.name,
                split=split,
                filetype_suffix="tfrecord",
            ),
        )
        for split, info in splits.items()
    ]
    tfds.folder_dataset.write_metadata(
        data_dir=str(output),
        features=records.example_features(settings.stft, stems, settings.representation),
        split_infos=split_infos,
        filename_template=template,
        check_data=False,
    )
