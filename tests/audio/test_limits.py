"""Files that claim too much, open other files, are protected, or that nobody can decode."""

import io
import os
import struct
import subprocess
import sys
import uuid
import zlib
from typing import Any, cast

import av
import numpy as np
import pytest
import soundfile

from jaxsep.audio.reader import AudioError, AudioReader
from tests.helpers import encode, read_all, tones

RATE = 44_100


def wav_header(rate: int = RATE, channels: int = 2, bits: int = 16) -> bytes:
    align = channels * bits // 8
    fields = (b"fmt ", 16, 1, channels, rate, rate * align % 2**32, align % 2**16, bits)
    sound = bytes(4_096)
    chunks = struct.pack("<4sIHHIIHH", *fields) + struct.pack("<4sI", b"data", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"rate": 1}, "1 Hz"),
        ({"rate": 999}, "1,000 to"),
        ({"rate": 2**31 - 1}, "Hz"),
        ({"channels": 1024}, ""),
        ({"channels": 300}, "300 channels"),
        ({"channels": 65}, "up to 64"),
        ({"channels": 0}, ""),
        ({"rate": 0}, ""),
    ],
)
def test_rates_and_channels_beyond_the_limits_are_refused(tmp_path, header, words):
    path = tmp_path / "bomb.wav"
    path.write_bytes(wav_header(**header))
    with pytest.raises(AudioError) as error:
        AudioReader(path)
    assert str(error.value).startswith(f"{path}: ") and words in str(error.value)


def test_an_absurd_length_is_not_believed(tmp_path):
    path = tmp_path / "a.caf"
    soundfile.write(path, tones([300]), RATE, "PCM_16")
    data = bytearray(path.read_bytes())
    start = data.index(b"data")
    data[start + 4 : start + 12] = struct.pack(">q", 2**61)
    path.write_bytes(data)
    with AudioReader(path) as reader:
        assert reader.num_samples is None or reader.num_samples <= RATE
        assert sum(len(block) for block in reader.blocks(10_000)) == RATE


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_a_large_picture_in_a_small_file_is_not_decoded(tmp_path):
    side = 8_000
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(4 * side + 1)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        png += struct.pack(">I", len(body)) + name + body
        png += struct.pack(">I", zlib.crc32(name + body))
    frame = b"\0image/png\0\3\0" + png
    size = len(frame)
    tag = b"APIC" + struct.pack(">I", size) + b"\0\0" + frame
    length = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    soundfile.write(tmp_path / "song.mp3", tones([300]), RATE)
    path = tmp_path / "cover.mp3"
    path.write_bytes(b"ID3\3\0\0" + length + tag + (tmp_path / "song.mp3").read_bytes())
    # Not ru_maxrss, which begins with the parent's.
    code = (
        "import sys; from jaxsep.audio.reader import read_audio;"
        "print(len(read_audio(sys.argv[1])[0]),"
        " open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    result = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
    samples, kilobytes = map(int, result.stdout.split())
    assert samples == RATE and kilobytes < 250_000


PLAYLISTS = {
    "a.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.wav\n#EXT-X-ENDLIST\n",
    "a.ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    "a.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT3S"><Period><AdaptationSet contentType="audio">'
    '<Representation id="0" bandwidth="1"><BaseURL>secret.wav</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
    "a.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=audio 5004 RTP/AVP 0\n",
    "a.wav": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nsecret.wav\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_no_other_file_is_opened(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    soundfile.write("secret.wav", tones([300]), RATE)
    (tmp_path / name).write_text(PLAYLISTS[name])
    with pytest.raises(AudioError, match="not an audio file"):
        AudioReader(tmp_path / name)


def test_encrypted_files_are_refused_as_protected(tmp_path):
    key = {"encryption_key": "76a6c65c5ea762046bd749a2e632ccbb"}
    key |= {"encryption_kid": "a7e61c373e219033c21091fa607bf3b8"}
    path = tmp_path / "a.mp4"
    encode(path, tones([300, 300]), codec="aac", encryption_scheme="cenc-aes-ctr", **key)
    with pytest.raises(AudioError, match="is protected"):
        AudioReader(path)


@pytest.mark.parametrize("tag", [b"drms", b"aavd", b"enca"])
def test_protected_files_of_shops_are_refused_as_protected(tmp_path, tag):
    path = tmp_path / "a.m4a"
    encode(path, tones([300, 300]), codec="aac")
    path.write_bytes(path.read_bytes().replace(b"mp4a", tag))
    with pytest.raises(AudioError, match="is protected"):
        AudioReader(path)


ASF_OBJECTS = {
    "content encryption": "2211b3fb-bd23-11d2-b4b7-00a0c955fc6e",
    "extended content encryption": "298ae614-2622-4c17-b935-dae07ee9289c",
    "advanced content encryption": "43058533-6981-49e6-9b74-ad12cb86d58c",
}
ASF_STREAM = uuid.UUID("b7dc0791-a9b7-11cf-8ee6-00c00c205365").bytes_le


@pytest.mark.parametrize("how", [*ASF_OBJECTS, "the stream's flag"])
def test_windows_media_with_encryption_is_refused_as_protected(tmp_path, how):
    path = tmp_path / "a.asf"
    encode(path, tones([300, 300]), codec="pcm_s16le")
    assert len(read_all(path)[0]) > RATE / 2
    data = bytearray(path.read_bytes())
    if how in ASF_OBJECTS:
        size, objects = struct.unpack_from("<QI", data, 16)
        key = uuid.UUID(ASF_OBJECTS[how]).bytes_le + struct.pack("<Q", 24 + 32) + bytes(32)
        data[size:size] = key
        struct.pack_into("<QI", data, 16, size + len(key), objects + 1)
    else:
        data[data.index(ASF_STREAM) + 16 + 57] |= 0x80
    path.write_bytes(data)
    with pytest.raises(AudioError, match="is protected"):
        AudioReader(path)


def ebml(name: str, *content: bytes) -> bytes:
    """Makes an element of Matroska."""
    whole = b"".join(content)
    return bytes.fromhex(name) + bytes([0x80 | len(whole)]) + whole


def test_webm_with_encryption_is_refused_as_protected(tmp_path):
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream("libopus", rate=48_000, layout="mono"))
        stream.metadata["title"] = "x" * 60
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "flt", "mono")
        frame.sample_rate = 48_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert len(read_all(path)[0]) > 40_000
    aes = ebml("5035", ebml("47e1", b"\5"), ebml("47e2", b"the key"))
    order = ebml("5031", b"\0"), ebml("5032", b"\1"), ebml("5033", b"\1")
    encryption = ebml("6d80", ebml("6240", *order, aes))
    title = ebml("536e", b"x" * 60)
    data = path.read_bytes()
    assert title in data
    rest = len(title) - len(encryption) - 2
    path.write_bytes(data.replace(title, encryption + ebml("ec", bytes(rest))))
    with pytest.raises(AudioError, match="is protected"):
        AudioReader(path)


def test_mpeg_ts_with_sample_encryption_is_refused_as_protected(tmp_path):
    path = tmp_path / "a.ts"
    encode(path, tones([300, 300]), codec="aac")
    assert len(read_all(path)[0]) > RATE / 2
    data = bytearray(path.read_bytes())
    for start in range(0, len(data), 188):
        if data[start + 1 : start + 3] == b"\x50\0":  # the map of the programme's streams
            table = start + 5 + data[start + 4]
            end = table + 3 + (int.from_bytes(data[table + 1 : table + 3]) & 0xFFF) - 4
            data[data.index(b"\x0f\xe1", table, end)] = 0xCF  # AAC, encrypted
            data[end : end + 4] = crc32_mpeg(data[table:end]).to_bytes(4)
    path.write_bytes(data)
    with pytest.raises(AudioError, match="is protected"):
        AudioReader(path)


def crc32_mpeg(data: bytes) -> int:
    crc = 2**32 - 1
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 2**32 - 1
    return crc


def test_a_codec_that_nobody_knows_is_one_line(tmp_path):
    path = tmp_path / "a.mkv"
    encode(path, tones([300, 300]), codec="pcm_s16le")
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_NOBODY/KNOW"))
    with pytest.raises(AudioError, match=r"a\.mkv: .*codec"):
        AudioReader(path)


def test_64_bit_integers_are_read_as_floats(tmp_path):
    path = tmp_path / "long.wav"
    samples = np.random.default_rng(0).integers(-(2**31), 2**31, (500, 2))
    fields = (b"fmt ", 16, 1, 2, RATE, RATE * 16, 16, 64)
    sound = (samples << 32).astype("<i8").tobytes()
    chunks = struct.pack("<4sIHHIIHH", *fields) + struct.pack("<4sI", b"data", len(sound)) + sound
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    stored, notes = read_all(path)
    np.testing.assert_array_equal(stored, samples / 2.0**31)
    assert not notes


def test_a_track_that_cannot_be_decoded_gives_way_to_one_that_can(tmp_path):
    path = tmp_path / "a.mkv"
    encode(path, tones([300, 300]), tones([500, 500]), codec="pcm_s16le")
    path.write_bytes(path.read_bytes().replace(b"A_PCM/INT/LIT", b"A_NOBODY/KNOW", 1))
    assert len(read_all(path)[0]) == RATE


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ogg", "a.flac", "a.m4a"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_standard_input_gives_what_the_file_gives(tmp_path, name, kind):
    path = tmp_path / name
    if name == "a.m4a":
        encode(path, tones([300, 300]), codec="aac")
    else:
        soundfile.write(path, tones([300, 300]), RATE)
    code = (
        "import sys, numpy; from jaxsep.audio.reader import AudioReader;"
        "reader = AudioReader('-' if sys.argv[1] == 'file' else '/dev/stdin');"
        "sys.stdout.buffer.write(numpy.concatenate(list(reader.blocks(1000))).tobytes())"
    )
    data = path.read_bytes()
    with open(path, "rb") as file:
        source = {"stdin": file} if kind == "file" else {"input": data}
        command = [sys.executable, "-c", code, kind]
        result = subprocess.run(command, capture_output=True, check=True, **source)
    samples = np.frombuffer(result.stdout).reshape(-1, 2)
    np.testing.assert_array_equal(samples, read_all(path)[0])


def test_a_name_that_is_not_utf_8_is_read_by_every_decoder(tmp_path):
    for extension, codec in ((b"mka", "aac"), (b"ogg", None), (b"paf", None)):
        path = tmp_path / os.fsdecode(b"caf\xe9." + extension)
        if codec:
            encode(tmp_path / "a.mka", tones([300, 300]), codec=codec)
            (tmp_path / "a.mka").rename(path)
        else:
            file = io.BytesIO()
            soundfile.write(file, tones([300]), RATE, format=extension.decode().upper())
            path.write_bytes(file.getvalue())
        assert len(read_all(path)[0]) >= RATE


def test_a_file_of_ogg_headers_alone_does_not_take_long(tmp_path):
    path = tmp_path / "a.ogg"
    path.write_bytes(b"OggS" * 200_000)
    with pytest.raises(AudioError):
        AudioReader(path)


def test_a_wrong_extension_does_not_matter(tmp_path):
    for name, wrong in (("a.mp3", "a.wav"), ("a.flac", "a.ogg"), ("a.ogg", "a.mp3")):
        soundfile.write(tmp_path / name, tones([300, 300]), RATE)
        expected = read_all(tmp_path / name)[0]
        (tmp_path / name).rename(tmp_path / f"wrong-{wrong}")
        np.testing.assert_array_equal(read_all(tmp_path / f"wrong-{wrong}")[0], expected)
