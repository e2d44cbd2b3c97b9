"""What a prepared data set is: its examples, its statistics and its manifest. Needs no JAX.

A data set is a folder with

* `NAME-SPLIT.tfrecord-00000-of-00002`, ...: the examples, one segment of one track each: the
  magnitudes of its mixture and stems or, in the other representation, one stem's waveform;
* `features.json`, `dataset_info.json`: tensorflow-datasets' own metadata;
* `statistics.json`: per-bin statistics of the training mixtures;
* `manifest.json`: how it was made and from what, with a checksum of itself. It is written last:
  without it, the rest is not a data set.
"""

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Sequence

import numpy as np
from etils import epath
from jaxtyping import Float32

from jaxsep.files import locate, parse_json, read_bytes, read_json
from jaxsep.stft_config import StftConfig

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**30  # bytes
CHECKSUM = "checksum"  # key in the manifest: SHA-256 of all else in it; older ones have none
# What an example holds: magnitudes of mixture and stems, or one stem as it sounds.
REPRESENTATIONS = MAGNITUDE, WAVEFORM = "magnitude", "waveform"
INT16_SCALE = 2**15  # full scale of a stored waveform
UNFINISHED = ".unfinished"  # folder in the data set's own for what isn't finished
# Two stems that are each other's rest.
PAIR = ("vocals", "accompaniment")
STATISTICS = "statistics.json"
STATISTICS_FIELDS = ("mean", "std", "log_mean", "log_std")
_WAY_OUT = "copy it again, or delete the data set and prepare it again"
FILE_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


class DatasetError(Exception):
    """A folder isn't a data set that this version of jaxsep can use."""


def example_features(
    stft: StftConfig, targets: Sequence[str], representation: str = MAGNITUDE
) -> typing.Any:
    """Describes one example as a tensorflow-datasets `FeaturesDict`.

    Magnitudes are float16 `[frames, channels, bins]`: `mixture` and one per target and rest, all of
    the same length. A waveform is int16 `[samples, channels]`, full scale 2**15, and `stem` says of
    what. `track` is a name and `start` the segment's place in the track, in seconds.

    Args:
      stft: Format of the data set.
      targets: Stems whose magnitudes there are, or the rests of some.
      representation: One of `REPRESENTATIONS`.
    """
    import tensorflow_datasets.public_api as tfds  # takes half a second, which inference can save

    tensor = functools.partial(tfds.features.Tensor, encoding="bytes")
    features: dict[str, typing.Any]
    if representation == WAVEFORM:
        features = {"waveform": tensor(shape=(None, stft.channels), dtype=np.int16)}
        features["stem"] = tfds.features.Text()
    else:
        magnitude = tensor(shape=(None, stft.channels, stft.bins), dtype=np.float16)
        features = dict.fromkeys(("mixture", *targets), magnitude)
    features |= {"track": tfds.features.Text(), "start": tfds.features.Scalar(np.float32)}
    return tfds.features.FeaturesDict(features)


class ExampleCodec:
    """Turns examples into record payloads (serialised `tf.train.Example`) and back.

    Args:
      stft: Format and transform of the data set.
      targets: Stems whose magnitudes there are.
      representation: One of `REPRESENTATIONS`.
    """

    def __init__(self, stft: StftConfig, targets: Sequence[str], representation: str = MAGNITUDE):
        # Private, for the public `FeaturesDict.serialize_example` leaves the order of a record's
        # fields to chance, and its message can't be had without TensorFlow.
        from tensorflow_datasets.core.example_serializer import ExampleSerializer

        self.features = example_features(stft, targets, representation)
        self._serializer = ExampleSerializer(self.features.get_serialized_info())

    def encode(self, example: dict[str, typing.Any]) -> bytes:
        """Serialises an example; equal examples give equal bytes."""
        message = self._serializer.get_tf_example(self.features.encode_example(example))
        return message.SerializeToString(deterministic=True)

    def decode(self, payload: bytes) -> dict[str, typing.Any]:
        """Parses a payload into arrays; `track` and `stem` become strings."""
        example = self.features.deserialize_example_np(payload)
        return {n: v.decode() if isinstance(v, bytes) else v for n, v in example.items()}


def rest_of(target: str, targets: Sequence[str]) -> str:
    """Names what a mixture holds beside a target: another target, or its rest."""
    for one, other in (PAIR, PAIR[::-1]):
        if target == one and other in targets:
            return other
    return f"no_{target}"


class StemRecord(typing.NamedTuple):
    """What a record of a data set of waveforms holds.

    Attributes:
      track: its name.
      stem: its name.
      start: the segment's place in the track, in seconds; silent ones aren't stored.
    """

    track: str
    stem: str
    start: float


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A prepared data set on disk.

    Attributes:
      path: Folder of the data set.
      manifest: Content of its manifest.
      manifest_sha256: SHA-256 of the manifest.
      recipe_stft: Transform of a recipe in place of the data set's; see `with_stft`.
    """

    path: epath.Path
    manifest: dict[str, typing.Any]
    manifest_sha256: str
    recipe_stft: StftConfig | None = None

    @property
    def stft(self) -> StftConfig:
        """Format, and the transform that examples are seen with."""
        return self.recipe_stft or self.own_stft

    @property
    def own_stft(self) -> StftConfig:
        """Format and transform that the data set was prepared with."""
        return StftConfig(**self.manifest["settings"]["stft"])

    @property
    def segment_frames(self) -> int:
        """Frames of an example; the last one of a track is shorter."""
        frames, own = self.manifest["settings"]["segment_frames"], self.own_stft
        if self.stft == own:
            return frames
        return max(1, frames * own.hop_length // self.stft.hop_length)

    @property
    def segment_samples(self) -> int:
        """Samples of an example, where they are waveforms."""
        return self.manifest["settings"]["segment_frames"] * self.own_stft.hop_length

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the stems."""
        return tuple(self.manifest["settings"]["targets"])

    @property
    def rests(self) -> tuple[str, ...]:
        """Names of the rests of targets that are stored beside them, see `rest_of`."""
        return tuple(self.manifest["settings"].get("rests", ()))

    def with_stft(self, stft: StftConfig) -> "Dataset":
        """Returns the data set as another transform shows it.

        Raises:
          DatasetError: The sample rate or the channels differ, or it holds magnitudes.
        """
        own = self.own_stft
        if (stft.sample_rate, stft.channels) != (own.sample_rate, own.channels):
            raise DatasetError(
                f"{self.path} holds {own.sample_rate} Hz and {own.channels} channels, not"
                f" {stft.sample_rate} and {stft.channels}; prepare it again with these"
            )
        if stft == own:
            return self
        if self.representation != WAVEFORM:
            raise DatasetError(
                f"{self.path} holds magnitudes of {own}, not of {stft}; prepare it again with this"
                " transform, or with --representation=waveform for any"
            )
        return dataclasses.replace(self, recipe_stft=stft)

    def check_targets(self, targets: Sequence[str]) -> None:
        """Checks that a masker for these targets can be trained here.

        Raises:
          DatasetError: A target or its rest isn't there.
        """
        there = {*self.targets, *self.rests}
        known = [
            target
            for target in self.targets
            if self.representation == WAVEFORM or rest_of(target, self.targets) in there
        ]
        if missing := [target for target in targets if target not in known]:
            raise DatasetError(
                f"{self.path} can't train {missing[0]!r}, but {', '.join(known)}; set"
                " --config.targets, or prepare it again with --targets"
            )

    @property
    def representation(self) -> str:
        return self.manifest["settings"].get("representation", MAGNITUDE)

    def stem_records(self, split: str) -> list[StemRecord]:
        """Lists the records of a split of waveforms, in their order."""
        here = self.manifest["splits"].get(split, {})
        return [StemRecord(*place) for place in here.get("stem_records", [])]

    def num_tracks(self, split: str) -> int:
        """Counts the tracks of a split; 0 where there is no such split."""
        return self.manifest["splits"].get(split, {}).get("num_tracks", 0)

    def track_names(self, split: str) -> list[str]:
        """Returns the names of a split's tracks."""
        return [s["track"] for s in self.manifest["sources"] if s["split"] == split]

    def shards(self, split: str) -> list[epath.Path]:
        """Returns the paths of a split's shards; none where there is no such split."""
        shards = self.manifest["splits"].get(split, {}).get("shards", [])
        return [self.path / shard["file"] for shard in shards]

    @functools.cached_property
    def codec(self) -> ExampleCodec:
        return ExampleCodec(self.own_stft, (*self.targets, *self.rests), self.representation)

    def statistics(self) -> dict[str, Float32[np.ndarray, " bins"]]:
        """Reads the training mixtures' statistics, over frames and channels.

        Returns:
          `mean` and `std` of the magnitudes, and `log_mean` and `log_std` of
          `log(magnitude + magnitude_floor)`.

        Raises:
          DatasetError: They aren't those that were written.
        """
        file = self.path / STATISTICS
        wanted = self.manifest.get("statistics_sha256")  # older data sets have none
        if wanted and hashlib.sha256(file.read_bytes()).hexdigest() != wanted:
            raise DatasetError(f"{file}: damaged, it fails its checksum; {_WAY_OUT}")
        statistics = read_json(file)
        return {name: np.array(statistics[name], np.float32) for name in STATISTICS_FIELDS}


def sign(manifest: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Adds a manifest's checksum to it."""
    return {**manifest, CHECKSUM: _checksum(manifest)}


def _checksum(manifest: dict[str, typing.Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def load_dataset(data_dir: epath.PathLike) -> Dataset:
    """Opens a prepared data set.

    Raises:
      DatasetError: if there is none at `data_dir`, or one of another format, or a shard is missing
        or of another size than it was.
    """
    try:
        locate(data_dir)
    except OSError as error:
        raise DatasetError(str(error)) from error
    path = epath.Path(data_dir)
    if not (path / MANIFEST).exists():
        if (path / UNFINISHED).exists():
            raise DatasetError(f"{path}: the preparation was not finished; run it again")
        raise DatasetError(
            f"{path}: no prepared data set here; make one with, for example,"
            " python -m data_prep.stems_folder --root=SONGS --output=DATA"
        )
    try:
        text = read_bytes(path / MANIFEST, LARGEST_MANIFEST)
        manifest = parse_json(text)
        checksum = manifest.pop(CHECKSUM, None)
        if checksum not in (None, _checksum(manifest)):
            raise ValueError("it fails its checksum")
        version = manifest["format_version"]
        dataset = Dataset(path, manifest, hashlib.sha256(text).hexdigest())
        _ = dataset.stft, dataset.targets
        shards = [shard for info in manifest["splits"].values() for shard in info["shards"]]
        sizes = {path / str(shard["file"]): int(shard["bytes"]) for shard in shards}
        for split in manifest["splits"]:
            _ = dataset.num_tracks(split), dataset.track_names(split), dataset.stem_records(split)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path / MANIFEST}: damaged, or not jaxsep's ({error!r})") from error
    if version != FORMAT_VERSION:
        raise DatasetError(
            f"{path}: written in format {version}, this jaxsep reads {FORMAT_VERSION};"
            " prepare the data set again"
        )
    for file, size in sizes.items():
        if not file.exists() or file.stat().length != size:
            raise DatasetError(f"{file}: missing or cut off; {_WAY_OUT}")
    return dataset
