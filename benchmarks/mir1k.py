"""Scores trained models on MIR-1K clips: GNSDR, GSIR and GSAR of the voice, as a table.

usage: python -m benchmarks.mir1k --root=CLIPS --model=NAME=WORKDIR [--model=...]

BSS Eval v3 as `museval.metrics.bss_eval_sources` computes it, with voice and accompaniment as the
two sources; NSDR is the SDR of the estimate less that of the mixture; means are weighted by the
clips' lengths. Needs `pip install jaxsep[eval]`.
"""

import museval.metrics
import numpy as np
from tqdm import tqdm

from benchmarks.excerpts import parse_arguments
from jaxsep.audio_reader import read_audio


def voice_scores(reference: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Returns SDR, SIR and SAR in dB of the first source; both `[sources, samples]`."""
    sdr, sir, sar, _ = museval.metrics.bss_eval_sources(
        reference, estimate, compute_permutation=False
    )
    return np.array([sdr[0, 0], sir[0, 0], sar[0, 0]])  # one window, the whole clip


def main() -> None:
    root, estimators = parse_arguments(__doc__)
    lengths, scores = [], []
    for path in tqdm(sorted(p for p in root.iterdir() if p.suffix in (".wav", ".flac"))):
        clip, rate = read_audio(path)
        accompaniment, voice = clip.T
        mixture = accompaniment + voice
        rows = []
        for run in estimators.values():
            estimate = run(mixture[:, None], rate)[:, 0]
            both = np.stack([estimate, mixture - estimate])
            if not np.any(both[1]):
                both[1] = mixture  # the unprocessed mixture stands for both sources
            rows.append(voice_scores(np.stack([voice, accompaniment]), both))
        lengths.append(len(mixture))
        scores.append(rows)
    mean = np.average(scores, axis=0, weights=lengths)
    print(f"{len(lengths)} clips, {sum(lengths)} samples")
    print("| model | GNSDR | GSIR | GSAR |\n|---|---|---|---|")
    for name, (sdr, sir, sar) in zip(estimators, mean, strict=True):
        print(f"| {name} | {sdr - mean[0][0]:.2f} | {sir:.2f} | {sar:.2f} |")


if __name__ == "__main__":
    main()
