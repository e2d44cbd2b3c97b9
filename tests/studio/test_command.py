"""The `jaxsep studio` command, and what it needs besides the API."""

import socket

import pytest

pytest.importorskip("fastapi", reason="needs jaxsep[studio]")

from jaxsep.cli import main
from jaxsep.cli import studio as command
from jaxsep.separation.separator import Separator
from jaxsep.studio import workspace
from jaxsep.studio.jobs import clean_name
from jaxsep.studio.models import Models


def test_names_are_lines_to_show_and_never_paths():
    names = ["../../etc/passwd", "C:\\songs\\a.mp3", "a\nb\x00.wav", "..", "", "x" * 300]
    assert [clean_name(name) for name in names] == [
        "passwd", "a.mp3", "a_b_.wav", "song", "song", "x" * 100
    ]  # fmt: skip


def test_no_more_models_are_in_memory_than_a_song_can_have(monkeypatch):
    restored = []
    monkeypatch.setattr(Separator, "restore", lambda path, **_: restored.append(path))
    models = Models({name: f"path-{name}" for name in "abc"})
    assert list(models) == ["a", "b", "c"] and "b" in models and "d" not in models
    assert restored == ["path-c", "path-b", "path-a"]
    for name in "abab":
        models[name]
    assert len(restored) == 3
    models["c"], models["a"]
    assert restored[3:] == ["path-c", "path-a"]


def test_what_a_killed_studio_left_is_removed_and_one_in_use_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left_over = tmp_path / f"{workspace.PREFIX}old"
    left_over.mkdir()
    (left_over / workspace.LOCK).touch()
    with workspace.workspace() as first, workspace.workspace() as second:
        assert set(tmp_path.iterdir()) == {first, second}
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_one_line_and_code_2(tiny_workdir, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main.main(["studio", f"--model={tiny_workdir}", f"--port={port}"]) == 2
    assert f"--port={port}: can't be used" in capsys.readouterr().err


@pytest.mark.parametrize("port", [-1, 2**16])
def test_a_port_that_is_none_is_code_2(port, capsys):
    assert main.main(["studio", f"--port={port}"]) == 2
    assert f"--port={port} must be" in capsys.readouterr().err


def test_control_c_ends_it_with_code_130_and_leaves_nothing(tiny_workdir, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def interrupt(*_, **__):
        assert len(list(tmp_path.iterdir())) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr("uvicorn.Server.run", interrupt)
    assert main.main(["studio", f"--model={tiny_workdir}", "--no_browser"]) == 130
    assert not list(tmp_path.iterdir())


def test_without_the_packages_it_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert main.main(["studio"]) == 2
    assert "jaxsep[studio]" in capsys.readouterr().err


def test_any_computer_is_an_address_that_needs_a_token():
    with command.open_socket("0.0.0.0", 0) as server:
        assert server.getsockname()[0] == "0.0.0.0"
