"""Debian packages with free music and free speech, by name.

The licences were read in the packages' copyright files (Debian 12, 2026-11-23 and 25). Left out:
speech at 8 kHz; voices made by rules; voices and music under terms that limit use or selling; GFDL.
What is downloaded takes 3.4 GB: 0ad-data, for eight speakers, 1.4, and 5 more while it is unpacked.
"""

# What is optional may be missing, and has no types.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from debian.copyright import (
    Copyright,
    NotMachineReadableError,
)

from recipes.sources import BACKING, VOICE, Item, SourceError, plain


class Package(NamedTuple):
    """What to take from a package.

    Attributes:
      name: Debian's.
      kind: `VOICE` or `BACKING`.
      prefix: of the names of voices and tracks: whose album, or where from.
      pattern: finds the files; what its groups match is the rest of the name. Files that share a
        name belong together: recordings of one speaker, or instruments of one piece.
      licence: where the copyright file doesn't state it file by file.
      evidence: a phrase that the copyright file must contain for that.
    """

    name: str
    kind: str
    prefix: str
    pattern: str
    licence: str = ""
    evidence: str = ""


_GPL = "under the terms of the GNU General Public License"
_BY_3, _BY_SA_3 = "CC-BY-3.0", "CC-BY-SA-3.0"

PACKAGES = (
    Package("klettres-data", VOICE, "klettres", r"klettres/(\w+)/\w+/[^/]+\.ogg$"),
    Package("tuxpaint-stamps-default", VOICE, "tuxpaint", r"_desc_([a-z]+)\.ogg$"),
    # Without languages at 8 kHz, Galician (in noise), and what another voice said in French.
    Package("ktuberling-data", VOICE, "ktuberling",
            r"/(ca|da|de|el|en|fr(?=/(?!patate)\w+_)|ga|lt|nn|ro|ru|sl|sr|uk|wa)/[^/]+\.(?:ogg|opus|wav)$"),
    Package("0ad-data", VOICE, "0ad", r"/voice/(\w+)/civ/civ_((?:fe)?male)_[^/]+\.ogg$"),
    Package("gcin-voice", VOICE, "gcin", r"/(\d)\.ogg$"),
    *(
        Package(f"fillets-ng-data-{language}", VOICE, f"fillets-{language}",
                r"-([mv])-[^/]*\.ogg$", "GPL-2", _GPL)
        for language in ("cs", "nl")
    ),
    *(
        Package(f"asterisk-core-sounds-{language}-g722", VOICE, "asterisk",
                rf"/{folder}/(?!silence).*\.g722$", licence, f"Files: {evidence}")
        for language, folder, licence, evidence in (
            ("en", "en_US_f_(Allison)", _BY_SA_3, "* Copyright: 2003-2010, Allison Smith"),
            ("es", "es_MX_f_(Allison)", _BY_SA_3, "* Copyright: 2003-2010, Allison Smith"),
            ("fr", "fr_CA_f_(June)", _BY_SA_3, "fr-* Copyright: 2006-2008, June Wallack"),
            ("it", "it_IT_m_(Carlo)", _BY_3, "it-* Copyright: 2012 Carlo Flora"),
            ("ru", "ru_RU_f_(Ivrvoice)RU", _BY_3, "ru-* Copyright: 2010, Maxim"),
        )
    ),
    Package("warzone2100-music", BACKING, "warzone2100", r"/([^/]+)\.(?:ogg|opus)$"),
    Package("ufoai-music", BACKING, "ufoai", r"music/([^/]+)\.ogg$"),
    Package("wesnoth-1.16-music", BACKING, "wesnoth", r"music/([^/]+)\.ogg$", "GPL-2+", _GPL),
    Package("nexuiz-music", BACKING, "nexuiz", r"cdtracks/([^/]+)\.ogg$", "GPL-2+",
            "GNU General Public License as published"),
    Package("singularity-music", BACKING, "singularity", r"music/(?:\w+/)?([^/]+)\.ogg$", _BY_SA_3,
            "indicated in the title of this License: Attribution, ShareAlike"),
    Package("colobot-common-sounds", BACKING, "colobot", r"music/([^/]+)\.ogg$"),
    Package("hyperrogue-music", BACKING, "hyperrogue", r"music/([^/]+)\.ogg$"),
    Package("planetblupi-music-ogg", BACKING, "planetblupi", r"music/([^/]+)\.ogg$"),
    Package("supertux-data", BACKING, "supertux", r"/music/\w+/([^/]+)\.ogg$", "GPL-2+",
            "Files: data/music/* Copyright: Marek Moeckel <wansti@gmx.de> License: GPL-2+"),
    # Without the faster versions of its last laps.
    Package("supertuxkart-data", BACKING, "supertuxkart",
            r"data/music/([^/]+)(?<!_f)(?<!_fast)\.ogg$"),
    Package("fretsonfire-songs-muldjord", BACKING, "muldjord", r"/([^/]+)/\w+\.ogg$", _BY_SA_3,
            "Attribution ShareAlike licence 3.0"),
    Package("fretsonfire-songs-sectoid", BACKING, "sectoid", r"/([^/]+)/\w+\.ogg$", "MIT",
            "Permission is hereby granted, free of charge"),
)  # fmt: skip


def items(package: Package, cache: Path, texts: Path) -> list[Item]:
    """Fetches a package and lists what is in it.

    Args:
      package: of `PACKAGES`.
      cache: folder for what is downloaded, where it stays.
      texts: folder for the copyright files.

    Raises:
      SourceError: if it can't be had, holds no such files, or its licence isn't clear.
    """
    try:
        version, folder = _fetch(package, cache)
    except SourceError as error:
        raise SourceError(f"{package.name}: {error}") from error
    text = texts / f"{package.name}.txt"
    shutil.copyfile(folder / "usr/share/doc" / package.name / "copyright", text)
    groups: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if match := re.search(package.pattern, str(path.relative_to(folder))):
            name = plain("-".join((package.prefix, *match.groups())))
            groups.setdefault(name, []).append(path)
    if not groups:
        raise SourceError(f"{package.name} {version} holds nothing that matches {package.pattern}")
    return [
        Item(name, package.kind, tuple(files), package.name, version,
             _licence(package, text, files[0]), package.prefix)
        for name, files in groups.items()
    ]  # fmt: skip


def _fetch(package: Package, cache: Path) -> tuple[str, Path]:
    """Downloads and unpacks a package unless that was done; returns its version and folder.

    apt checks what it downloads against the signed lists. No root is needed.
    """
    name = package.name
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as part:
        if not any(cache.glob(f"{name}_*.deb")):
            _call("apt-get", "download", "-q", name, cwd=part)
            for archive in Path(part).glob("*.deb"):
                archive.replace(cache / archive.name)
        archive = max(cache.glob(f"{name}_*.deb"))
        folder, unpacked = cache / archive.stem, Path(part, "unpacked")
        if not folder.is_dir():
            _call("dpkg-deb", "-x", str(archive.absolute()), unpacked.name, cwd=part)
            for packed in [p for p in unpacked.rglob("*") if p.suffix in (".pk3", ".zip")]:
                _unzip(packed, package.pattern)
            unpacked.replace(folder)
    return archive.stem.split("_")[1].replace("%3a", ":"), folder


def _unzip(packed: Path, pattern: str) -> None:
    """Puts what is wanted of a game's own archive into a folder in its place."""
    with zipfile.ZipFile(packed) as zipped:
        wanted = [name for name in zipped.namelist() if re.search(pattern, f"/{name}")]
        zipped.extractall(packed.with_suffix(""), wanted)
    packed.unlink()


def _call(*command: str, cwd: str) -> None:
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise SourceError(f"needs {command[0]}, so Debian or Ubuntu") from error
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
        reason = "; ".join(lines) or f"exit code {error.returncode}"
        raise SourceError(f"{command[0]} failed ({reason})") from error


def _licence(package: Package, text: Path, file: Path) -> str:
    """Returns a licence's short name, as the copyright file states it."""
    if package.licence:
        if package.evidence not in " ".join(text.read_text().split()):
            raise SourceError(f"{package.name}: its licence changed, says {text}; read it")
        return package.licence
    try:
        with text.open() as lines:
            stated = Copyright(lines, strict=False)
    except NotMachineReadableError as error:
        raise SourceError(f"{package.name}: no licence by file in {text}; read it") from error
    # The patterns are of the source package, whose folders end like those of the installed files.
    parts = file.parts
    for start in range(len(parts)):
        paragraph = stated.find_files_paragraph("/".join(parts[start:]))
        if paragraph and paragraph.license and tuple(paragraph.files) != ("*",):
            return paragraph.license.synopsis
    everything = stated.find_files_paragraph("any")
    if not everything or not everything.license:
        raise SourceError(f"{package.name}: no licence of {file.name} in {text}; read it")
    return everything.license.synopsis
