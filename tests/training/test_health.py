import itertools
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from flax import linen as nn

from jaxsep import models, sharding
from jaxsep.cli import main
from jaxsep.models.lstm_scan import lstm_scan
from jaxsep.training import failed_steps, health
from jaxsep.training.loop import DivergenceError, train_and_evaluate
from jaxsep.training.losses import Loss
from tests.helpers import TINY_STFT, batch_of, tiny_config

KINDS = {
    "mlp": {"name": "mlp", "hidden_size": 8},
    "lstm": {"name": "lstm", "hidden_size": 8, "num_layers": 2, "bidirectional": True},
}
KINDS["one each"] = {"name": "one_each", "networks": {"vocals": KINDS["mlp"], "bass": KINDS["mlp"]}}


def examine(kind: str, change=lambda params: params, batch=None, grad_accum_steps: int = 1):
    masker = models.create(stft=TINY_STFT, **KINDS[kind])
    variables = models.init(masker, jax.random.key(0))
    look = health.make_examine(
        masker,
        loss=Loss("phase_sensitive"),
        mesh=sharding.make_mesh(),
        grad_accum_steps=grad_accum_steps,
        seed=0,
    )
    params = change(variables["params"])
    new_params = jax.tree.map(lambda p: 1.01 * p, params)
    seen = look(params, new_params, variables["statistics"], batch or batch_of(), 0)
    return jax.device_get(seen), health.layer_names(masker)


@pytest.mark.parametrize(
    ("kind", "layers"),
    [
        ("mlp", ["normalise", "dense_1", "dense_2", "mask"]),
        ("lstm", ["normalise", "dense_1", "lstm_1", "lstm_2", "dense_2", "mask"]),
    ],
)
def test_each_layer_tells_its_numbers_in_order(kind, layers):
    seen, order = examine(kind)
    assert order == layers and set(seen["layers"]) == set(layers)
    for before, after in itertools.pairwise(order):
        if after != "dense_2" or kind == "mlp":  # the LSTM's sees the input beside the output
            assert seen["layers"][after]["in_max"] == seen["layers"][before]["out_max"]
    for name in layers[1:]:
        assert seen["layers"][name]["update_ratio"] == pytest.approx(0.01, rel=1e-3)
        assert seen["layers"][name]["grad_norm"] > 0
    assert health.find_cause(seen["layers"], order, seen["loss"]) is None


@pytest.mark.slow
def test_parts_of_a_batch_give_the_numbers_of_the_whole():
    whole, _ = examine("lstm")
    parts, _ = examine("lstm", grad_accum_steps=2)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), whole, parts)


def test_dead_relus_are_counted():
    def kill(params):
        bias = params["dense_1"]["bias"].at[:6].set(-1e6)
        return {**params, "dense_1": {**params["dense_1"], "bias": bias}}

    seen, _ = examine("mlp", kill)
    alive, _ = examine("mlp")
    assert alive["layers"]["dense_1"]["dead"] < 0.75 <= seen["layers"]["dense_1"]["dead"]


def test_the_layers_of_each_targets_network_are_looked_into():
    def kill(params):
        dense = params["bass"]["dense_1"]
        dense = {**dense, "bias": dense["bias"].at[:6].set(-1e6)}
        return {**params, "bass": {**params["bass"], "dense_1": dense}}

    batch = batch_of()
    two = {name: jnp.repeat(batch[name], 2, axis=1) for name in ("targets", "rests")}
    seen, order = examine("one each", kill, {**batch, **two})
    layers = ("normalise", "dense_1", "dense_2", "mask")
    assert order == [f"{target}/{layer}" for target in ("vocals", "bass") for layer in layers]
    numbers = seen["layers"]
    assert set(numbers) == set(order)
    assert numbers["vocals/dense_1"]["dead"] < 0.75 <= numbers["bass/dense_1"]["dead"]
    assert numbers["bass/mask"]["update_ratio"] == pytest.approx(0.01, rel=1e-3)


def test_masks_within_a_limit_above_1_are_not_saturated():
    masker = models.create("lstm", TINY_STFT, hidden_size=8, mask_limit=2.0)
    variables, mixture = models.init(masker, jax.random.key(0)), jnp.ones((1, 4, 2, 129))
    (masks, _), noted = masker.apply(
        variables, mixture, masker.initial_carry(1), mutable=["health", "statistics"]
    )
    assert masks.max() > 1
    assert noted["health"]["mask"]["saturated"] == (0.0,)


def test_gates_and_cells_are_watched():
    x, w_ih, w_hh = jnp.ones((1, 5, 1)), jnp.zeros((1, 4)), jnp.zeros((1, 4))
    bias = jnp.array([20.0, 20.0, 20.0, 0.0])  # all but the output gate wide open
    zero = (jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    _, _, seen = lstm_scan(x, zero, w_ih, w_hh, bias, watch=True)
    assert seen is not None
    np.testing.assert_allclose(seen["saturated"], 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(seen["cell_max"], 5.0, rtol=1e-5)  # one more each frame


def with_weight(layer: str, name: str, value: float):
    def change(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: (
                leaf * 0 + value if layer in str(path) and name in str(path) else leaf
            ),
            params,
        )

    return change


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (with_weight("dense_1", "kernel", np.nan), "forward, the output of dense_1"),
        (with_weight("lstm_2", "bias", np.nan), "forward, the output of lstm_2"),
        (with_weight("mask", "bias", np.nan), "forward, the output of mask"),
        (with_weight("mask", "bias", 1e6), r"no gradient passes mask \(100% of it saturated\)"),
    ],
)
def test_the_first_bad_layer_is_named(change, cause):
    seen, order = examine("lstm", change)
    found = health.find_cause(seen["layers"], order, seen["loss"])
    assert re.search(cause, str(found))


def test_a_bad_example_is_told_from_the_others():
    batch = batch_of()
    batch["mixture"] = batch["mixture"].at[2, 3].set(jnp.inf)
    seen, order = examine("mlp", batch=batch)
    found = health.find_cause(seen["layers"], order, seen["loss"])
    assert found == "forward, the input of normalise is not finite"
    losses = dict(zip(seen["examples"]["record"], seen["examples"]["loss"], strict=True))
    assert [record for record, loss in losses.items() if not np.isfinite(loss)] == [2]


def test_a_bad_gradient_is_named_from_the_last_layer_on(monkeypatch):
    @jax.custom_jvp
    def square(x):
        return x**2

    @square.defjvp
    def _(primals, tangents):
        return square(primals[0]), jnp.nan * tangents[0]

    monkeypatch.setattr(nn, "sigmoid", square)
    seen, order = examine("mlp")
    found = health.find_cause(seen["layers"], order, seen["loss"])
    assert found == "backward, the gradient of mask is not finite"


def broken_config(dataset):
    """A learning rate of 1e3, no clipping, no normalisation."""
    config = tiny_config(dataset, "lstm", num_train_steps=60, warmup_steps=0)
    config.update(learning_rate=1e3, grad_clip_norm=float("inf"), eval_every_steps=60)
    config.model.normalise = False
    return config


@pytest.fixture(scope="module")
def broken_run(tiny_dataset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("broken")
    with pytest.raises(DivergenceError) as error:
        train_and_evaluate(broken_config(tiny_dataset), workdir)
    return workdir, str(error.value)


def test_a_broken_run_ends_the_same_when_started_again(broken_run, tiny_dataset):
    workdir, message = broken_run
    with pytest.raises(DivergenceError) as error:
        train_and_evaluate(broken_config(tiny_dataset), workdir)
    assert str(error.value) == message
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary == error.value.summary and summary["ended"] == "diverged"
    assert summary["seconds"] > 0


def test_a_broken_run_names_the_layer_and_what_to_do(broken_run):
    _, message = broken_run
    assert "passes mask" in message or "of lstm_1" in message or "of dense" in message
    assert "learning_rate below 1000.0" in message and "model.normalise=True" in message


def test_health_shows_a_broken_run_and_replays_it(broken_run, capsys, monkeypatch):
    workdir, message = broken_run
    monkeypatch.chdir(workdir.parent)
    assert main.main(["health", workdir.name]) == 0
    shown = capsys.readouterr().out
    step = max(int(p.name) for p in (workdir / failed_steps.FOLDER).iterdir())
    assert f"step {step} failed:" in shown and "lstm_1" in shown and "conspicuous" in shown
    assert (workdir / "health.png").stat().st_size > 10_000
    assert main.main(["health", workdir.name, f"--replay={step}"]) == 0
    then, now = capsys.readouterr().out.splitlines()[-2:]
    assert then.removeprefix("then:").strip() == now.removeprefix("now:").strip() in message


def test_what_cannot_be_replayed_is_said(broken_run, tmp_path, capsys):
    workdir, _ = broken_run
    assert main.main(["health", str(workdir), "--replay=1"]) == 2
    assert "no failed step saved; there are" in capsys.readouterr().err
    assert main.main(["health", str(tmp_path)]) == 2
    assert "no metrics.jsonl" in capsys.readouterr().err
    broken = tmp_path / "broken"
    shutil.copytree(workdir, broken)
    step = max((broken / failed_steps.FOLDER).iterdir(), key=lambda folder: int(folder.name))
    [share] = step.glob("batch-*")
    share.write_bytes(share.read_bytes()[:1000])
    assert main.main(["health", str(broken), f"--replay={step.name}"]) == 2
    assert f"{share.name}: can't be read" in capsys.readouterr().err
    share.unlink()
    assert main.main(["health", str(broken), f"--replay={step.name}"]) == 2
    assert "shares of the batch are missing" in capsys.readouterr().err
    assert main.main(["health", str(workdir), "--step=1"]) == 2
    assert "no look into the layers at that step; there are" in capsys.readouterr().err


def test_a_line_cut_off_by_a_kill_does_not_matter(broken_run, tmp_path, capsys):
    workdir, _ = broken_run
    shutil.copy(workdir / "metrics.jsonl", tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "health/den')
    assert main.main(["health", str(tmp_path)]) == 0


def test_damaged_numbers_are_left_out_and_names_are_safe_to_show(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxsep.plots.figures.save_health", lambda *_, **options: None)
    lines = [
        b'{"step": 1, "train/loss": 1, "health/a[red]\\u001b[31m/dead": 0.25}',
        *(b"\xff", b"[1]", b'{"step": []}', b'{"step": 1.5}', b'{"step": 2, "x": "y"}'),
        b"[" * 9999,
        b'{"step": 3, "health/dense": 1, "healthy/a/b": 1}',
    ]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert main.main(["health", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "a[red]\\x1b[31m" in shown and "25%" in shown and "\x1b" not in shown


@pytest.mark.parametrize("report", ["[]", '{"step": "1", "cause": null}', '{"step": 1}'])
def test_a_damaged_report_is_one_line(tmp_path, capsys, report):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}')
    folder = tmp_path / failed_steps.FOLDER / "1"
    folder.mkdir(parents=True)
    (folder / failed_steps.REPORT).write_text(report)
    assert main.main(["health", str(tmp_path)]) == 2
    assert "report.json: damaged, no report" in capsys.readouterr().err


def test_a_step_that_is_not_finite_is_left_out_named_and_saved(
    tiny_dataset, tmp_path, monkeypatch, caplog
):
    assemble, calls = sharding.to_global_batch, []

    def poison(batch, mesh):
        calls.append(batch)
        if len(calls) == 3:
            batch["mixture"][1] = np.inf
        return assemble(batch, mesh)

    monkeypatch.setattr(sharding, "to_global_batch", poison)
    workdir = epath.Path(tmp_path / "run[1]")
    config = tiny_config(tiny_dataset, "mlp", num_train_steps=4, eval_every_steps=4)
    summary = train_and_evaluate(config, workdir)
    assert summary["skipped_steps"] == 1 and np.isfinite(summary["sdr"])
    assert (
        "step 3 is left out: forward, the input of normalise is not finite; 1 of 2 examples,"
        in caplog.text
    )
    report = json.loads((workdir / failed_steps.FOLDER / "3" / failed_steps.REPORT).read_text())
    assert [example["loss"] == "nan" for example in report["examples"]] == [False, True]
    assert report["examples"][1]["track"] in tiny_dataset.track_names("train")
    _, cause, _ = failed_steps.replay(workdir, 3)
    assert cause == report["cause"]
