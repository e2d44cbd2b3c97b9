"""Recipes: what it takes to train a model whose weights may be shipped.

usage:
  pip install -r recipes/requirements.txt                      # beside jaxsep itself
  python -m recipes.gather --output=SOURCES --stems=ALBUM --songs=DIR --singing=DIR --speech=DIR
  python -m recipes.bands --output=SOURCES --minutes=180
  python -m recipes.screen --sources=SOURCES --model=MODEL
  python -m recipes.sing --speech=SOURCES/voices --output=SOURCES --minutes=140

`gather` fetches free music and speech, and parts songs into voice and backing; `bands` makes music;
`screen` takes voices out of what was gathered; `sing` makes the speech sing. Each goes on where it
was interrupted. Together they fill SOURCES:

  train|validation/NAME/vocals.flac          a voice alone, or with
  train|validation/NAME/accompaniment.flac   the backing that belongs to it, or that alone
  voices/train|validation/NAME.flac          a speaker or singer: what `sing` works with
  licences.json                              for every file: source, version, licence, kind
  licences/                                  the texts that this was read from
  packages/                                  what was downloaded
  left_out/, screened.json                   what `screen` took out, and why

No speaker is in both splits, and no album but the stems', of which songs are held out. All audio is
16-bit FLAC at 44.1 kHz; `vocals` and `accompaniment` are stereo.
"""
