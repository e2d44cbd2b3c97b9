"""Scores of one track. BSS Eval is the `museval` package's (`pip install jaxsep[eval]`).

Needs no JAX: it runs in worker processes.

References: Vincent, Gribonval and Fevotte, Performance measurement in blind audio source
separation, 2006 (v3); Stoter, Liutkus and Ito, The 2018 signal separation evaluation campaign,
2018 (v4).
"""

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import museval
import museval.metrics
import numpy as np
from threadpoolctl import threadpool_limits

from jaxsep.files import read_json
from jaxsep.metrics import si_sdr, waveform_sdr

V3, V4 = "BSS Eval v3", "BSSEval v4"
MUSEVAL = metadata.version("museval")
UNKNOWN = {"SDR": float("nan"), "SI-SDR": float("nan")}
WINDOW_SECONDS = 1  # museval's default, also between the beginnings of two windows

# By stem, [samples, channels] each.
Stems = Mapping[str, np.ndarray]


def use_one_thread() -> None:
    """Makes linear algebra run in one thread, for worker processes beside each other."""
    threadpool_limits(1)


def score_track(
    name: str,
    references: Stems,
    estimates: Stems,
    sample_rate: int,
    version: str,
    stems: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores the estimates of a track's stems.

    Args:
      name: Name of the track.
      references: True stems.
      estimates: Estimates of the same stems.
      sample_rate: Sample rate in Hz.
      version: The version of BSS Eval: `V4`, or for mono tracks `V3`.
      stems: Stems in the order of the document; those without a reference aren't in the track, and
        have NaN. None stands for those of the references.

    Returns:
      A document of museval's own JSON schema, in which only `V4` fills the targets, with the key
      `jaxsep` added: the track's length in `seconds`; by stem, `SDR` and `SI-SDR` of the whole
      track; and `V3`'s scores. All in dB; NaN where silence leaves a score undefined.
    """
    stems = stems or list(references)
    document: dict[str, Any] = {"targets": [], "museval_version": MUSEVAL}
    if version == V4:
        document = v4(references, estimates, sample_rate, name, stems)
    document["jaxsep"] = {
        "seconds": len(next(iter(references.values()))) / sample_rate,
        "stems": {
            stem: _whole_track(references[stem], estimates[stem]) if stem in references else UNKNOWN
            for stem in stems
        },
    }
    if version == V3:
        document["jaxsep"][V3] = v3(references, estimates)
    return document


def read_score(path: Path) -> dict[str, Any]:
    """Reads a document of `score_track` from its file.

    Raises:
      OSError: if it can't be read or is something else; the message names it.
    """
    document = read_json(path, allow_nan=True)
    if not isinstance(document, dict) or "scored" not in (document.get("jaxsep") or {}):
        raise OSError(f"{path}: damaged, not a score; delete it to score the track again")
    return document


def _whole_track(reference: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
    if not np.any(reference):
        return UNKNOWN
    return {"SDR": waveform_sdr(reference, estimate), "SI-SDR": si_sdr(reference, estimate)}


def is_defined(references: Stems, estimates: Stems) -> bool:
    """Tells whether BSS Eval has an answer: not if a reference or an estimate is all zeros."""
    return all(np.any(wave) for stems in (references, estimates) for wave in stems.values())


def v4(
    references: Stems,
    estimates: Stems,
    sample_rate: int,
    name: str,
    stems: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Scores one track by BSSEval v4, window by window.

    Args:
      references: True stems.
      estimates: Estimates of the same stems.
      sample_rate: Sample rate in Hz.
      name: Name of the track.
      stems: Stems of the document, as in `score_track`.

    Returns:
      A document of museval's own JSON schema. Windows in which a reference or an estimate is
      silent have NaN.
    """
    store = museval.TrackStore(track_name=name, win=WINDOW_SECONDS, hop=WINDOW_SECONDS)
    window, samples = WINDOW_SECONDS * sample_rate, len(next(iter(references.values())))
    windows = museval.metrics.Framing(window, window, samples).nwin
    scores = np.full((4, len(references), windows), np.nan)
    if is_defined(references, estimates):
        truth = [references[stem].astype(np.float64) for stem in references]
        ours = [estimates[stem].astype(np.float64) for stem in references]
        scores = np.stack(museval.evaluate(truth, ours, win=window, hop=window))
    found = dict(zip(references, scores.swapaxes(0, 1), strict=True))
    for stem in stems or references:
        values = found.get(stem, np.full((4, scores.shape[2]), np.nan))
        store.add_target(stem, dict(zip(("SDR", "ISR", "SIR", "SAR"), values, strict=True)))
    store.validate()
    return json.loads(store.json)


def v3(references: Stems, estimates: Stems) -> dict[str, dict[str, float]]:
    """Scores one mono track by BSS Eval v3's `bss_eval_sources`, over its whole length.

    Returns:
      SDR, SIR and SAR in dB by stem; NaN if a reference or an estimate is silent.
    """
    scores = np.full((3, len(references)), np.nan)
    if is_defined(references, estimates):
        sdr, sir, sar, _ = museval.metrics.bss_eval_sources(
            np.stack([references[stem][:, 0].astype(np.float64) for stem in references]),
            np.stack([estimates[stem][:, 0].astype(np.float64) for stem in references]),
            compute_permutation=False,
        )
        scores = np.stack([sdr[:, 0], sir[:, 0], sar[:, 0]])
    return {
        stem: dict(zip(("SDR", "SIR", "SAR"), map(float, values), strict=True))
        for stem, values in zip(references, scores.T, strict=True)
    }
