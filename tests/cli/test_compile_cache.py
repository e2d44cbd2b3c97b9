import os
import platform
import stat
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from jaxsep.cli.compile_cache import _is_private

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the cache isn't under XDG_CACHE_HOME"
)


def separate(folder, tiny_workdir, **environment):
    noise = np.random.default_rng(0).normal(0, 0.1, (8000, 2))
    soundfile.write(folder / "song.wav", noise, 8000)
    command = [sys.executable, "-m", "jaxsep.cli", "separate", str(folder / "song.wav")]
    command += [f"--model={tiny_workdir}", f"--output={folder}", "--overwrite"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **environment}
    environment.pop("JAX_COMPILATION_CACHE_DIR")  # the tests' own
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "jaxsep: " not in result.stderr, result.stderr
    return (folder / "song" / "vocals.wav").read_bytes()


@on_linux
def test_what_was_compiled_is_kept_and_gives_the_same_stems(tiny_workdir, tmp_path):
    first = separate(tmp_path, tiny_workdir)
    (folder,) = (tmp_path / "cache" / "jaxsep" / "compiled").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and folder.name in platform.node()
    kept = {path.name for path in folder.glob("*-cache")}
    assert any(name.startswith("jit_separate_window") for name in kept)
    assert separate(tmp_path, tiny_workdir) == first
    assert {path.name for path in folder.glob("*-cache")} == kept


@on_linux
def test_without_a_place_to_keep_them_it_works_as_well(tiny_workdir, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    separate(tmp_path, tiny_workdir)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners and modes on this system")
@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o755, True), (0o777, False)])
def test_a_folder_that_others_may_write_to_is_not_trusted(tmp_path, mode, private):
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    assert _is_private(folder) == private
