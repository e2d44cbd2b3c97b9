import pytest

from jaxsep.data.tfrecord import DataCorruptionError, RecordSource, shard_name, write_record

PAYLOADS = [b"first", b"", b"x" * 10_000]


@pytest.fixture
def shards(tmp_path):
    paths = [tmp_path / shard_name("music", "train", index, 2) for index in range(2)]
    for path, payloads in zip(paths, [PAYLOADS, PAYLOADS[:1]], strict=True):
        with open(path, "wb") as file:
            for payload in payloads:
                write_record(file, payload)
    return paths


def test_records_come_back_in_order_across_shards(shards):
    source = RecordSource(shards)
    assert [source[index] for index in range(len(source))] == [*PAYLOADS, b"first"]
    with pytest.raises(IndexError):
        source[len(source)]


def test_any_flipped_byte_is_an_error_that_names_shard_and_record(shards):
    whole = shards[0].read_bytes()
    second_record = 16 + len(PAYLOADS[0])
    for position in range(second_record + 40):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        shards[0].write_bytes(damaged)
        record = 0 if position < second_record else (1 if position < second_record + 16 else 2)
        with pytest.raises(DataCorruptionError, match=f"{shards[0].name}: record {record}"):
            source = RecordSource(shards)
            for index in range(len(source)):
                source[index]


@pytest.mark.parametrize("cut", [1, 4, 9_000, 10_010])
def test_a_cut_off_shard_is_an_error(shards, cut):
    shards[0].write_bytes(shards[0].read_bytes()[:-cut])
    with pytest.raises(DataCorruptionError, match="cut off"):
        RecordSource(shards)
