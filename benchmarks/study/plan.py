"""What the study trains, on what, and on which songs it scores."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxsep.collections.mir1k import STFT as MIR1K_STFT
from jaxsep.stft_config import StftConfig

TRAINED_SINGER, HELD_OUT_SINGER = "amy", "abjones"


@dataclasses.dataclass(frozen=True)
class Model:
    """A recipe, and what is changed in its config."""

    recipe: str
    changes: dict[str, Any]


MODELS = {
    "MLP": Model("mlp", {}),
    "LSTM 1": Model("lstm", {}),
    "LSTM 2": Model("lstm", {"model.num_layers": 2}),
    "LSTM 3": Model("lstm", {"model.num_layers": 3}),
    "BLSTM 3": Model("lstm", {"model.num_layers": 3, "model.bidirectional": True}),
}

# Trained by others, on other music; scored beside ours.
PUBLISHED = {"Spleeter": "spleeter-2stems"}

UNCLIPPED = {"grad_clip_norm": float("inf")}
UNNORMALISED = {"model.normalise": False}
# Trained for a short while, to look at the gradients.
STABILITY = {
    "as the recipe": Model("lstm", {}),
    "no clipping": Model("lstm", UNCLIPPED),
    "no normalisation": Model("lstm", UNNORMALISED),
    "neither": Model("lstm", UNCLIPPED | UNNORMALISED),
    "as the recipe, rate 0.03": Model("lstm", {"learning_rate": 0.03}),
    "no clipping, rate 0.03": Model("lstm", UNCLIPPED | {"learning_rate": 0.03}),
    "neither, rate 0.03": Model("lstm", UNCLIPPED | UNNORMALISED | {"learning_rate": 0.03}),
}


@dataclasses.dataclass(frozen=True)
class Songs:
    """Songs to train on, and others to score on.

    Attributes:
      title: Name for the report.
      root: Folder of the songs to train on, in the folder of all music.
      test: Folders whose songs are scored, by name.
      stft: Format and transform of the data set.
      remixes: Passes over the training songs besides the songs themselves.
      variant: Variant of the recipes.
      seeds: Seeds of each model's trainings.
      steps: Steps of each training.
    """

    title: str
    root: str
    test: dict[str, str]
    stft: StftConfig
    remixes: int
    variant: str
    seeds: tuple[int, ...]
    steps: int


SONGS = {
    "mir1k": Songs(
        title="MIR-1K, two singers",
        root="mir1k",
        test={"dev": "mir1k"},
        stft=MIR1K_STFT,
        remixes=12,
        variant="mir1k",
        seeds=(0, 1),
        steps=700,
    ),
    "singer": Songs(
        title=f"MIR-1K, {TRAINED_SINGER} alone",
        root=f"singers/{TRAINED_SINGER}",
        test={HELD_OUT_SINGER: f"singers/{HELD_OUT_SINGER}"},
        stft=MIR1K_STFT,
        remixes=12,
        variant="mir1k",
        seeds=(0,),
        steps=400,
    ),
    "album": Songs(
        title="Everything is Free, one album",
        root="eif-musdb18",
        test={"album": "eif-musdb18", "excerpts": "excerpts"},
        stft=StftConfig(),
        remixes=2,
        variant="full",
        seeds=(0,),
        steps=200,
    ),
}
STABILITY_STEPS = 120
COSTS = ("mir1k", "album")  # songs on which a step of each model is timed


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training of the study, or one model that others trained.

    Attributes:
      songs: Key of `SONGS`.
      model: Key of `MODELS` or `PUBLISHED`, or of `STABILITY` if `watch`.
      seed: Seed of the training.
      watch: Whether to look at the layers often, and score nothing.
    """

    songs: str
    model: str
    seed: int
    watch: bool = False

    @property
    def name(self) -> str:
        """Names its files: lower case, no spaces."""
        words = ["stability" if self.watch else self.songs, self.model, f"seed {self.seed}"]
        return "-".join(words).lower().replace(",", "").replace(" ", "-")


# A bit of each, to see that all of it runs.
QUICK = [
    Cell("mir1k", "BLSTM 3", 0),
    Cell("album", "MLP", 0),
    Cell("mir1k", "neither, rate 0.03", 0, watch=True),
]


def cells() -> list[Cell]:
    """Lists all that is run, the quickest answers first."""
    stability = [Cell("mir1k", name, 0, watch=True) for name in STABILITY]
    first, *others = (
        [
            Cell(songs, model, seed)
            for songs, plan in SONGS.items()
            if number < len(plan.seeds)
            for seed in [plan.seeds[number]]
            for model in MODELS
        ]
        for number in range(max(len(plan.seeds) for plan in SONGS.values()))
    )
    published = [Cell(songs, model, 0) for songs in SONGS for model in PUBLISHED]
    return first + stability + [cell for more in others for cell in more] + published


def link_singers(data: Path, links: Path) -> None:
    """Makes folders of MIR-1K's training clips by singer: one to train on, one to score on.

    In the first, the held-out singer's clips are the validation split.

    Args:
      data: Folder of all music.
      links: Folder for `singers`.
    """
    places = {
        TRAINED_SINGER: [("train", TRAINED_SINGER), ("dev", HELD_OUT_SINGER)],
        HELD_OUT_SINGER: [("dev", HELD_OUT_SINGER)],
    }
    for folder, parts in places.items():
        for split, singer in parts:
            place = links / "singers" / folder / split
            place.mkdir(parents=True, exist_ok=True)
            for clip in (data / "mir1k" / "train").glob(f"{singer}_*"):
                link = place / clip.name
                if not link.is_symlink():
                    link.symlink_to(clip.absolute())
