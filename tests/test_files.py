"""Files of others are read within limits, or refused in one line."""

import math
import os

import pytest

from jaxsep import files
from jaxsep.files import read_json, sha256_of

REFUSED = {
    "deep lists": ("[" * 200_000, "more than 100"),
    "deep lists that end": ("[" * 101 + "]" * 101, "more than 100"),
    "deep objects": ('{"a":' * 101 + "1" + "}" * 101, "more than 100"),
    "infinity": ('{"nfft": Infinity}', "Infinity is no finite number"),
    "minus infinity": ("[-Infinity]", "-Infinity is no finite number"),
    "not a number": ("[NaN]", "NaN is no finite number"),
    "a number too large": ("[1e400]", "1e400 is no finite number"),
    "an integer too long": (f"[{'1' * 5000}]", "4300 digits"),
    "a key twice": ('{"a": 1, "b": {"c": 1, "c": 2}}', "a key twice"),
    "two values": ("{} {}", "Extra data"),
    "nothing": ("", "Expecting value"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_json_of_others_is_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(OSError, match=reason) as refusal:
        read_json(path)
    assert str(refusal.value).startswith(f"{path}: damaged, not JSON")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_what_is_no_file_is_not_read(tmp_path):
    (tmp_path / "a.json").symlink_to(os.devnull)  # like a pipe, which would be waited for
    with pytest.raises(OSError, match="no ordinary file"):
        read_json(tmp_path / "a.json")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(OSError, match="damaged, not JSON"):
        read_json(tmp_path / "a.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGEST_JSON", 10)
    path = tmp_path / "a.json"
    path.write_text("[12345678]")
    assert read_json(path) == [12345678]
    path.write_text("[123456789]")
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_json(path)


@pytest.mark.parametrize("read", [read_json, sha256_of])
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", None])
def test_devices_and_pipes_are_not_read(tmp_path, read, device):
    path = tmp_path / "a.json"
    if device:
        path.symlink_to(device)
    else:
        os.mkfifo(path)  # nobody writes to it
    with pytest.raises(OSError, match="no ordinary file"):
        read(path)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    (tmp_path / "link").symlink_to("a.json")
    assert read_json(tmp_path / "link") == [1]


def test_all_else_comes_back(tmp_path):
    text = '{"a": [1, -2.5, 1e300, true, null, "é"], "b": {"a": {}}}'
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    value = {"a": [1, -2.5, 1e300, True, None, "é"], "b": {"a": {}}}
    assert read_json(tmp_path / "a.json") == value
    (tmp_path / "deep.json").write_text("[" * 100 + "]" * 100)
    read_json(tmp_path / "deep.json")


def test_infinity_may_be_wanted(tmp_path):
    (tmp_path / "a.json").write_text('{"grad_clip_norm": Infinity}')
    assert read_json(tmp_path / "a.json", allow_nan=True) == {"grad_clip_norm": math.inf}
