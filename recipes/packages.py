"""Debian packages with free music and free speech, by name.

The licences were read in the packages' copyright files (Debian 12, 2026-11-23 to 26). Left out:
speech at 8 kHz; voices made by rules; voices and music under terms that limit use or selling; GFDL.
What is downloaded takes 7.3 GB: 0ad-data 1.4, and 5 more while it is unpacked; redeclipse-data 0.9.
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

from recipes.sources import BACKING, SONG, VOICE, Item, SourceError, plain


class Package(NamedTuple):
    """What to take from a package.

    Attributes:
      name: Debian's.
      kind: `VOICE`, `BACKING` or `SONG`.
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
    Package("0ad-data", BACKING, "0ad", r"audio/music/([^/]+)\.ogg$"),
    Package("hedgewars-data", BACKING, "hedgewars", r"Music/([^/]+)\.ogg$"),
    # Without what a label published before, under terms that aren't known.
    Package("freedroidrpg-data", BACKING, "freedroidrpg",
            r"sound/music/(?!Bleostrada|TheBeginning)([^/]+)\.ogg$"),
    Package("unknown-horizons", BACKING, "unknown-horizons",
            r"audio/music/(?:menu/)?([^/]+)\.ogg$"),
    Package("widelands-data", BACKING, "widelands", r"data/music/([^/]+)\.ogg$"),
    # Without what the copyright file doesn't name.
    Package("naev-data", BACKING, "naev",
            r"snd/music/(?!blackmoor|dark_c|heart|imminent|la|liftoff|moth|pirate)([^/]+)\.ogg$"),
    Package("redeclipse-data", BACKING, "redeclipse",
            r"data/(?:sounds/(?:music/)?|maps/)(track_\d+|theme|original|tonatiuh)\.ogg$"),
    Package("flare-game", BACKING, "flare", r"music/(?!wind_)([^/]+)\.ogg$"),
    # Without an album whose terms aren't known.
    Package("megaglest-data", BACKING, "megaglest",
            r"/(?:menu|factions/(?!romans)\w+)/music/(?!intro)([^/]+)\.ogg$"),
    Package("openarena-088-data", BACKING, "openarena", r"music/([^/]+)\.ogg$"),
    Package("openclonk-data", BACKING, "openclonk", r"Music\.ocg/@?([^/]+)\.ogg$", _BY_3,
            "Some files belonging to the game content are licensed under the Creative Commons "
            "Attribution 3.0 license[1]"),
    # By upstream's LICENSES (at GitHub); Debian's copyright file says less, GPL-2+ for everything.
    Package("starfighter-data", BACKING, "starfighter",
            r"music/(?!RE\.|sound_and|through_)([^/]+)\.ogg$", _BY_3,
            "2015-2016 Julie Marchant License: GPL-2+"),
    Package("berusky2-data", BACKING, "berusky2", r"music/([^/]+)\.ogg$"),
    Package("pushover-data", BACKING, "pushover", r"themes/([^/]+)\.ogg$"),
    Package("warmux-data", BACKING, "warmux", r"/music/\w+/([^/]+)\.ogg$", "GPL-2+", _GPL),
    Package("wizznic-data", BACKING, "wizznic", r"music/(?:Sean Hawk - )?([^/]+)\.ogg$"),
    Package("zaz-data", BACKING, "zaz", r"/(mus\d)\.ogg$", _BY_SA_3,
            "Files: data/mus*.ogg Copyright: Leonard Ritter License: CC-BY-SA-3.0"),
    # Without three pieces under the Ethymonics Free Music License.
    Package("trackballs-data", BACKING, "trackballs", r"music/tb_([^/]+)\.ogg$"),
    Package("asc-music", BACKING, "asc", r"music/([^/]+)\.mp3$"),
    Package("ardentryst", BACKING, "ardentryst", r"/Music/([^/]+)(?<!_raw)\.ogg$"),
    Package("xmoto-data", BACKING, "xmoto", r"Musics/([^/]+)\.ogg$"),
    Package("frozen-bubble-data", BACKING, "frozen-bubble", r"snd/([^/]*zik[^/]*)\.ogg$"),
    # Without a piece whose composer published it under other terms.
    Package("lordsawar-data", BACKING, "lordsawar", r"music/(back1|defeat|intro|victory)\.ogg$"),
    Package("lincity-ng-data", BACKING, "lincity", r"music/default/\d+ - ([^/]+)\.ogg$"),
    Package("extremetuxracer-data", BACKING, "extremetuxracer",
            r"music/(?!lost|options|raceintro|won)([^/]+)\.ogg$"),
    Package("pathological", BACKING, "pathological", r"music/([^/]+)\.ogg$"),
    Package("gigalomania-data", BACKING, "gigalomania", r"music/(gamemusic|mainscreen)\.ogg$"),
    Package("angrydd", BACKING, "angrydd", r"music/([^/]+)\.ogg$"),
    Package("scorched3d-data", BACKING, "scorched3d", r"/none/data/music/([^/]+)\.ogg$"),
    Package("pax-britannica-data", BACKING, "pax-britannica", r"audio/(music)\.ogg$"),
    Package("funnyboat", BACKING, "funnyboat", r"data/(JDruid[^/]+)\.ogg$"),
    Package("orbital-eunuchs-sniper-data", BACKING, "pajama-crisis", r"/(oes)\.ogg$", "Zlib",
            "All files except those listed below are distributed under the ZLib license"),
    Package("tuxmath-data", BACKING, "tuxmath", r"sounds/\d+_([^/]+)\.ogg$", _BY_SA_3,
            "data/sounds/03_gravity.ogg Copyright: 2009-2010 Serberis 2010 Synthaurion License: "
            "CC-BY-SA-3.0"),
    Package("brainparty-data", BACKING, "brainparty", r"/(electricity)\.ogg$", _BY_SA_3,
            "Files: Content/electricity.ogg Copyright: 2006-2007 Alexander Blu License: "
            "CC-BY-SA-3.0"),
    Package("pink-pony-data", BACKING, "pink-pony", r"music/([^/]+)\.mp3$", _BY_SA_3,
            "<http://www.jamendo.com/en/artist/Renich> Licence: CC-by-sa-3.0"),
    *(
        Package(f"{game}-data", BACKING, "kenta-cho", r"sounds/(?:musics/)?(\w+)\.ogg$",
                "BSD-2-Clause", "Redistribution and use in source and binary forms")
        for game in ("a7xpg", "gunroar", "mu-cade", "noiz2sa", "parsec47", "rrootage", "titanion",
                     "torus-trooper", "tumiki-fighters", "val-and-rick")
    ),
    # Female Fronted Metal, as the files' tags have it.
    Package("marsshooter-data", SONG, "marsshooter", r"audio/(?:music/[\d_-]+)?(\w+)\.ogg$",
            _BY_SA_3, "data/audio/menu.ogg Copyright: 2011, Obsidian Shell License: CC-BY-SA-3.0"),
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
            known = {package.pattern, *(p.pattern for p in PACKAGES if p.name == name)}
            for packed in [p for p in unpacked.rglob("*") if p.suffix in (".pk3", ".zip")]:
                _unzip(packed, "|".join(known))
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
        name = "/".join(parts[start:])
        for written in (name, f"./{name}"):
            paragraph = stated.find_files_paragraph(written)
            if paragraph and paragraph.license and tuple(paragraph.files) != ("*",):
                return paragraph.license.synopsis
    everything = stated.find_files_paragraph("any")
    if not everything or not everything.license:
        raise SourceError(f"{package.name}: no licence of {file.name} in {text}; read it")
    return everything.license.synopsis
