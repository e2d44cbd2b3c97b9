"""Processes end in good order, also when another ends in none."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from jaxsep.processes import StopRequest

needs_signals = pytest.mark.skipif(os.name == "nt", reason="no such signals on Windows")


@needs_signals
@pytest.mark.parametrize("work", ["time.sleep(600)", "while True: pass"])
def test_workers_end_with_a_parent_that_is_killed(work, tmp_path):
    (tmp_path / "job.py").write_text(f"import time\ndef work():\n    {work}\n", encoding="utf-8")
    code = (
        "from jaxsep.processes import worker_pool; import job\n"
        "if __name__ == '__main__':\n"
        "    with worker_pool(2) as pool:\n"
        "        pool.submit(job.work); pool.submit(int); pool.submit(int).result()\n"
        "        print('ready', flush=True); pool.submit(job.work).result()\n"
    )
    (tmp_path / "parent.py").write_text(code, encoding="utf-8")
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout and parent.stdout.readline() == "ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert not psutil.wait_procs(children, timeout=20)[1]


@needs_signals
def test_a_stop_is_asked_for_by_sighup_but_not_under_nohup():
    previous = signal.getsignal(signal.SIGHUP)
    try:
        with StopRequest("ending") as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert stop.number == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with StopRequest("ending") as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGHUP, previous)


@needs_signals
@pytest.mark.parametrize("error", [None, RuntimeError])
def test_afterwards_signals_do_what_they_did_before(error):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with contextlib.suppress(RuntimeError), StopRequest("ending"):
        assert all(signal.getsignal(n) != old for n, old in zip(numbers, before, strict=True))
        if error:
            raise error
    assert [signal.getsignal(number) for number in numbers] == before


@needs_signals
def test_the_first_signal_is_a_request_and_the_second_one_interrupts(capfd):
    with StopRequest("ending") as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        assert "SIGTERM: ending; once more: stopping at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
