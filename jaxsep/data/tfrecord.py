"""TFRecord files without TensorFlow: writing, indexing, and reads that verify every checksum.

A record is framed as `length (uint64) | CRC of length | payload | CRC of payload`, all
little-endian, with masked CRC-32C. Reference: "TFRecords format details",
https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

import struct
import typing
from collections.abc import Sequence

import google_crc32c
import numpy as np
from etils import epath

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_WAY_OUT = "copy the shard again, or delete the data set and prepare it again"


class DataCorruptionError(Exception):
    """A shard's bytes are not those that were written; the message names shard and record."""


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def write_record(file: typing.BinaryIO, payload: bytes) -> int:
    """Appends one record to an open file and returns its size on disk in bytes."""
    length = struct.pack("<Q", len(payload))
    record = b"".join(
        [length, _FOOTER.pack(_masked_crc(length)), payload, _FOOTER.pack(_masked_crc(payload))]
    )
    file.write(record)
    return len(record)


def shard_name(name: str, split: str, shard: int, num_shards: int) -> str:
    """Returns a shard's file name, as tensorflow-datasets spells it."""
    return f"{name}-{split}.tfrecord-{shard:05d}-of-{num_shards:05d}"


def _index_shard(path: epath.Path) -> list[tuple[int, int]]:
    """Returns each payload's place in a shard, (offset, length); reads the headers alone."""
    size = path.stat().length
    places, offset = [], 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(_HEADER.size)
            where = f"{path}: record {len(places)}"
            if len(header) < _HEADER.size:
                raise DataCorruptionError(f"{where} is cut off; {_WAY_OUT}")
            length, crc = _HEADER.unpack(header)
            if crc != _masked_crc(header[:8]):
                raise DataCorruptionError(f"{where} has a damaged length; {_WAY_OUT}")
            places.append((offset + _HEADER.size, length))
            offset += _HEADER.size + length + _FOOTER.size
            if offset > size:
                raise DataCorruptionError(f"{where} is cut off; {_WAY_OUT}")
    return places


class RecordSource:
    """Random access to the payloads of all records in some shards (a Grain data source).

    Args:
      shards: paths, local or on a bucket.

    Raises:
      DataCorruptionError: when a shard is cut off or, on reading, when a checksum doesn't fit.
    """

    def __init__(self, shards: Sequence[epath.PathLike]):
        self._shards = [epath.Path(shard) for shard in shards]
        self._places = [_index_shard(shard) for shard in self._shards]
        self._first_record = np.cumsum([0, *map(len, self._places)])

    def __len__(self) -> int:
        return int(self._first_record[-1])

    def __getitem__(self, index: typing.SupportsIndex) -> bytes:
        index = range(len(self))[index]
        shard = int(np.searchsorted(self._first_record, index, side="right")) - 1
        record = index - int(self._first_record[shard])
        offset, length = self._places[shard][record]
        # Opened for each read, so that any number of threads can read.
        with self._shards[shard].open("rb") as file:
            file.seek(offset)
            payload = file.read(length)
            footer = file.read(_FOOTER.size)
        if len(footer) < _FOOTER.size or _FOOTER.unpack(footer)[0] != _masked_crc(payload):
            raise DataCorruptionError(
                f"{self._shards[shard]}: record {record} fails its checksum; {_WAY_OUT}"
            )
        return payload
