"""The studio's page in a real browser: Debian's chromium, driven by Playwright."""

import functools
import itertools
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from jaxsep.separation.separator import Separator
from jaxsep.separation.song_files import separate_file
from tests.helpers import tiny_model

pytest.importorskip("fastapi", reason="needs jaxsep[studio]")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
if (CHROMIUM := shutil.which("chromium")) is None:
    pytest.skip("needs chromium", allow_module_level=True)

Page, expect = sync_api.Page, sync_api.expect
MILLISECONDS = 120_000  # that anything may take on a busy machine
RATE = 8000
# Names that their owner has lead to this computer.
STRANGERS = "--host-resolver-rules=MAP *.example 127.0.0.1"
# What all tracks add up to, with the original against the stems, as the player plays them.
RECORD_DIFFERENCE = """async () => {
    const { player } = (await import('/main.js')).deck;
    const recorder = player.context.createScriptProcessor(1024, 2, 2);
    const heard = { alone: 0, together: 0 };
    for (const [track, gain] of player.gains) {
        gain.disconnect();
        const sign = player.context.createGain();
        sign.gain.value = track === 'original' ? 1 : -1;
        gain.connect(sign);
        sign.connect(recorder);
    }
    recorder.connect(player.context.destination);
    const peak = (buffer) => Math.max(...buffer.getChannelData(0).map(Math.abs));
    let name = 'together';
    recorder.onaudioprocess = ({ inputBuffer }) => {
        heard[name] = Math.max(heard[name], peak(inputBuffer));
    };
    for (const gain of player.gains.values()) {
        gain.gain.cancelScheduledValues(0);
        gain.gain.value = 1;
    }
    const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));
    player.seek(0);
    await player.play();
    while (player.position < 5 * player.rate) await wait(0.1);
    name = 'nothing';
    player.gains.get('original').gain.value = 0;
    await wait(0.5);
    name = 'alone';
    await wait(1);
    player.pause();
    return heard;
}"""
GAINS = """async () => {
    const { gains } = (await import('/main.js')).deck.player;
    return Object.fromEntries([...gains].map(([track, { gain }]) => [track, gain.value]));
}"""


@pytest.fixture(scope="module")
def address(tiny_workdir) -> Iterator[str]:
    command = [sys.executable, "-m", "jaxsep.cli", "studio", "--no_browser"]
    command += [f"--model={name}={tiny_workdir}" for name in ("mlp", "lstm")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().split()[2]
        server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", STRANGERS]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(MILLISECONDS)
    expect.set_options(timeout=MILLISECONDS)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("requestfailed", lambda request: problems.append(request.url))
    page.goto(address)
    yield page
    outside = [url for url in problems if "http" in url and not url.startswith(address)]
    assert not outside
    context.close()
    assert not [problem for problem in problems if "http" not in problem]


@pytest.fixture(scope="module")
def song(tmp_path_factory) -> Path:
    """Eight seconds of noise, as 16-bit wav."""
    path = tmp_path_factory.mktemp("songs") / "<my> song.wav"
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (8 * RATE, 2))
    soundfile.write(path, samples, RATE)
    return path


def separate(page: Page, song: Path) -> None:
    page.set_input_files("#files", song)
    expect(page.locator("#queue .state")).to_contain_text("separated")
    expect(page.locator("#player h2")).to_have_text(song.name)


def seconds(page: Page) -> float:
    return float(page.locator("#seek").input_value())


def wait_until(page: Page, condition: Callable[[], bool]) -> None:
    """Waits for what no locator tells; `page.wait_for_function` needs `eval`, which we forbid."""
    for _ in range(MILLISECONDS // 100):
        if condition():
            return
        page.wait_for_timeout(100)
    assert condition()


def test_a_dropped_song_is_separated_played_and_saved(page, song, tiny_workdir, tmp_path):
    page.evaluate(
        """async (bytes) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], '<my> song.wav'));
            document.dispatchEvent(new DragEvent('drop', { dataTransfer: data, cancelable: true }));
        }""",
        list(song.read_bytes()),
    )
    expect(page.locator("#queue .state")).to_contain_text("separated")
    page.get_by_role("button", name="Play").click()
    expect(page.locator("#time")).not_to_have_text("0:00 / 0:08")
    page.get_by_role("button", name="Pause").click()
    assert 0 < seconds(page) <= 8

    separate_file(Separator.restore(tiny_workdir), song, tmp_path)
    for stem in ("Vocals", "Accompaniment"):
        with page.expect_download() as download:
            page.get_by_role("link", name=f"Save {stem}").click()
        saved, _ = soundfile.read(download.value.path())
        wanted, _ = soundfile.read(tmp_path / f"{stem.lower()}.wav")
        np.testing.assert_array_equal(saved, wanted)
        assert download.value.suggested_filename.endswith(f"song - {stem.lower()}.wav")
    page.locator("#format").select_option("flac")
    with page.expect_download() as download:
        page.get_by_role("link", name="All stems as zip").click()
    assert download.value.path().read_bytes().startswith(b"PK")


@pytest.mark.slow
def test_all_tracks_stay_together_to_the_sample(page, song):
    separate(page, song)
    page.get_by_role("button", name="Play").click()  # a page must be touched before it may sound
    heard = page.evaluate(RECORD_DIFFERENCE)
    assert heard["alone"] > 0.1
    assert heard["together"] < 1e-5


def test_solo_mute_and_keys_choose_what_is_heard(page, song):
    separate(page, song)
    heard = page.locator(".track:not(.silent) h3")
    expect(heard).to_have_text(["Vocals", "Accompaniment"])
    page.get_by_role("button", name="Mute Vocals").click()
    expect(heard).to_have_text(["Accompaniment"])
    page.keyboard.press("1")
    expect(heard).to_have_text(["Original"])
    page.keyboard.press("2")
    expect(heard).to_have_text(["Vocals"])
    page.keyboard.press("0")
    expect(heard).to_have_text(["Accompaniment"])


def test_a_track_is_as_loud_as_its_slider(page, song):
    separate(page, song)
    page.get_by_role("button", name="Play").click()
    page.get_by_label("Volume of Accompaniment").fill("0.25")
    wanted = {"original": 0, "vocals-0": 1, "accompaniment-0": 0.25}
    wait_until(page, lambda: page.evaluate(GAINS) == pytest.approx(wanted, abs=1e-3))


@pytest.mark.slow
def test_one_listens_while_it_separates_and_can_cancel(page, tmp_path):
    path = tmp_path / "long.wav"
    minutes, rate = 19, 48_000  # so much that it isn't over before one listens
    soundfile.write(path, np.tile(np.linspace(-0.3, 0.3, 60 * rate), minutes), rate)
    page.get_by_label("Compare with").select_option("lstm")
    page.set_input_files("#files", path)
    state = page.locator("#queue .state")
    expect(state).to_contain_text(f" of {minutes}:00, ")
    expect(state).to_contain_text(" left")
    page.get_by_role("button", name="Play").click()
    wait_until(page, lambda: seconds(page) > 1)
    expect(state).to_contain_text(" left")  # it isn't ready yet
    page.get_by_role("button", name="Cancel long.wav").click()
    expect(page.locator("#queue li")).to_have_count(0)
    expect(page.locator("#player")).to_be_hidden()


@pytest.mark.slow
def test_one_can_seek_and_loop(page, song):
    separate(page, song)
    views = page.locator(".views").first
    box = views.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    expect(page.locator("#time")).to_have_text("0:04 / 0:08")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#time")).to_have_text("0:00 / 0:08")
    page.locator("#seek").focus()
    page.keyboard.press("ArrowRight")  # the slider's own
    page.keyboard.press("Space")
    expect(page.locator("#play")).to_have_text("Pause")
    page.keyboard.press("Space")
    views.scroll_into_view_if_needed()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 5 / 8, box["y"] + 10, steps=3)
    page.mouse.up()
    expect(page.get_by_role("button", name="Loop")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    places = [seconds(page)]

    def jumped_three_times() -> bool:
        places.append(seconds(page))
        assert 3.9 < places[-1] < 5.1
        return sum(later < earlier for earlier, later in itertools.pairwise(places)) >= 3

    wait_until(page, jumped_three_times)


def test_two_models_are_shown_one_above_the_other_with_their_masks(page, song):
    page.get_by_label("Compare with").select_option("lstm")
    separate(page, song)
    expect(page.locator(".track h3")).to_have_text(
        ["Original", "Vocals, mlp", "Accompaniment, mlp", "Vocals, lstm", "Accompaniment, lstm"]
    )
    for kind in ("spectrogram", "mask"):
        page.get_by_label("Picture").select_option(kind)
        sources = page.locator(".track img").evaluate_all("images => images.map(i => i.src)")
        assert len(sources) == 2 * 5
        assert sum(f"/{kind}/" in source for source in sources) == (10 if kind != "mask" else 8)
        for image in page.locator(".track img").all():
            expect(image).to_have_js_property("complete", True)
            assert image.evaluate("image => image.naturalWidth") > 0


@pytest.fixture(scope="module")
def complex_address(tmp_path_factory) -> Iterator[str]:
    """A studio with a model of two targets, vocals not among them, and complex masks."""
    model = tiny_model(tmp_path_factory.mktemp("model"), ("speech", "dry-wet"), "tiny_complex")
    program = "from jaxsep import models; from tests.helpers import TinyComplexMasker;"
    program += "models.MASKERS['tiny_complex'] = TinyComplexMasker;"
    program += "from jaxsep.cli.main import main; main()"
    command = [sys.executable, "-c", program, "studio", "--no_browser", f"--model=m={model}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield server.stdout.readline().split()[2]
        server.terminate()


def test_each_stem_of_any_model_is_shown_heard_and_saved(browser, complex_address, song):
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("response", lambda answer: answer.status >= 400 and problems.append(answer.url))
        page.goto(complex_address)
        separate(page, song)
        stems = ["Speech", "Dry-wet", "Residual"]
        expect(page.locator(".track h3")).to_have_text(["Original", *stems])
        expect(page.locator(".track:not(.silent) h3")).to_have_text(stems)
        page.get_by_label("Picture").select_option("mask")
        for image in page.locator(".track img").all():
            expect(image).to_have_js_property("complete", True)
            assert image.evaluate("image => image.naturalWidth") > 0
        page.get_by_role("button", name="Play").click()
        heard = page.evaluate(RECORD_DIFFERENCE)
        assert heard["alone"] > 0.1 and heard["together"] < 1e-5
        with page.expect_download() as download:
            page.get_by_role("link", name="Save Dry-wet").click()
        assert download.value.suggested_filename.endswith("song - dry-wet.wav")
        assert not problems


def test_a_broken_upload_says_so_and_can_be_removed(page, tmp_path):
    (tmp_path / "lyrics.mp3").write_text("la la la")
    page.set_input_files("#files", tmp_path / "lyrics.mp3")
    expect(page.locator("#queue .state")).to_contain_text("lyrics.mp3: not an audio file")
    page.get_by_role("button", name="Remove lyrics.mp3").click()
    expect(page.locator("#queue li")).to_have_count(0)


def test_a_file_that_cannot_be_written_says_why(page, tmp_path):
    path = tmp_path / "three.wav"
    soundfile.write(path, np.zeros((RATE, 3)), RATE)
    separate(page, path)
    page.locator("#format").select_option("mp3")
    page.get_by_role("link", name="Save Vocals").click()
    expect(page.get_by_role("alert")).to_contain_text("mp3 can't hold 3 channels")
    page.keyboard.press("Escape")
    expect(page.locator("#message")).to_be_hidden()


def test_a_tab_that_is_loaded_anew_finds_its_songs_and_another_does_not(page, song, address):
    separate(page, song)
    page.reload()
    page.get_by_role("button", name=song.name, exact=True).click()
    expect(page.locator(".track")).to_have_count(3)
    other = page.context.new_page()
    other.goto(address)
    expect(other.locator("#model")).to_be_visible()
    expect(other.locator("#queue li")).to_have_count(0)


@pytest.mark.parametrize("width", [360, 1440])
def test_it_fits_and_everything_has_a_name(page, song, width):
    page.set_viewport_size({"width": width, "height": 800})
    separate(page, song)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    controls = page.locator("button, select, input, a").all()
    assert len(controls) > 15
    nameless = "node => !(node.ariaLabel || node.innerText || node.labels?.length)"
    assert not [node for node in controls if node.evaluate(nameless)]


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "a{b.evil.example", "a`b.evil.example"]
)
def test_a_strangers_name_for_this_computer_reads_nothing(browser, address, host):
    with browser.new_context() as context:
        page = context.new_page()
        port = urlsplit(address).port
        answer = page.goto(f"http://{host}:{port}/api/studio")
        assert answer.status == 403 and "models" not in answer.text()
        statuses = page.evaluate(
            """async () => {
                const upload = { method: 'POST', body: 'song' };
                const answers = [fetch('/'), fetch('/api/jobs?name=x', upload)];
                return (await Promise.all(answers)).map((answer) => answer.status);
            }"""
        )
        assert statuses == [403, 403]


def test_a_strangers_page_reads_and_shows_nothing(browser, address, tmp_path):
    (tmp_path / "index.html").write_text("<title>A stranger's page</title>")
    handler = functools.partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, browser.new_context() as context:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = context.new_page()
        page.goto(f"http://evil.example:{server.server_port}/")
        seen = page.evaluate(
            """async (address) => {
                const read = (options) => fetch(`${address}api/studio`, options).then(
                    (answer) => answer.text(), () => '');
                const picture = new Promise((done) => {
                    const image = new Image();
                    image.onload = () => done('seen');
                    image.onerror = () => done('');
                    image.src = `${address}icon.svg`;
                });
                return [await read({}), await read({ mode: 'no-cors' }), await picture];
            }""",
            address,
        )
        assert seen == ["", "", ""]
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, and tells nobody."""

    def log_message(self, *_):
        pass
