"""What is printed is safe to show, and never a reason to fail."""

import io
import os
import sys

import pytest

from jaxsep.console import Output, lasting_streams, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred\nline.wav", "a\\x1b[31mred\\nline.wav"),
        ("\r\t\0\x07\x7f\x9b", "\\r\\t\\x00\\x07\\x7f\\x9b"),
        ("\u202egnp.exe \u2066x\u2028", "\\u202egnp.exe \\u2066x\\u2028"),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9"),
        ("né".encode().decode("ascii", "surrogateescape"), "né"),
        ("\ud800", "\\ud800"),
        ("日本\u3000語 👩\u200d🎤 ä", "日本\u3000語 👩\u200d🎤 ä"),
    ],
)
def test_a_terminal_obeys_no_name(text, shown):
    assert printable(text) == shown


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_stream_is_noted_and_raises_nothing():
    stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    output = Output(stream)
    print("text", file=output, flush=True)
    print("more", file=output, flush=True)
    assert output.failure and output.failure.strerror == "No space left on device"
    stream.close()  # what was buffered is gone


def test_missing_streams_take_text(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_streams() as output:
        print("text", flush=True)
        print("text", file=sys.stderr, flush=True)
    assert output.failure is None
    assert sys.stdout is None and sys.stderr is None


def test_an_ascii_stream_becomes_utf_8(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    with lasting_streams():
        print("né", flush=True)
    assert raw.getvalue() == "né\n".encode()
