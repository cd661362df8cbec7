"""Trained networks that were passed on as an archive: check, unpack and describe them. Imports no torch.

The archive is written by :func:`merflow.inference.packing.pack_weights`. It holds arrays as safetensors, tables and
texts; nothing in it is executed.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from merflow.errors import InputError
from merflow.storage.files import scratch_folder

ABOUT = "weights.json"
"""File that describes the others."""
FORMAT = "merflow weights 1"
SUFFIXES = (".safetensors", ".csv", ".md")
"""Kinds of the other files."""
KEYS = (
    "experiment", "study", "system", "classes", "micro", "protocol", "preparation", "people", "clips", "datasets",
    "digests",
)  # fmt: skip
"""What :data:`ABOUT` must say."""


@dataclass(frozen=True)
class PackedWeights:
    """The networks of one experiment of another study, in a folder.

    Attributes:
        folder: with :data:`ABOUT` and the files that it lists.
        about: content of :data:`ABOUT` (docs/weights.md).
    """

    folder: Path
    about: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> "PackedWeights":
        """Read what a folder says of itself.

        Raises:
            InputError: the folder holds no unpacked weights.
        """
        file = Path(folder, ABOUT)
        try:
            return cls(Path(folder), _described(file.read_bytes(), file))
        except OSError as error:
            raise InputError(
                f"{file} cannot be read ({error.strerror}); unpack weights: merflow weights unpack"
            ) from error

    @property
    def files(self) -> list[str]:
        """:data:`ABOUT`, and the files that it lists."""
        return [str(self.folder / name) for name in (ABOUT, *self.about["digests"])]

    @property
    def scorer(self) -> str:
        """Weights of the frame scorer that its key-frames need; empty if they need none."""
        return str(self.folder / "scorer.safetensors") if "scorer.safetensors" in self.about["digests"] else ""

    @property
    def origin(self) -> str:
        """Where and on whom the networks were trained, as part of a sentence."""
        datasets = ", ".join(dataset["name"] for dataset in self.about["datasets"])
        return (
            f"trained elsewhere, in the study {self.about['study']}: protocol {self.about['protocol']}, "
            f"{self.about['clips']} clips of {self.about['people']} people ({datasets})"
        )

    def check(self) -> None:
        """Compare every file with its digest.

        Raises:
            InputError: names the first file that is missing or differs.
        """
        for name, expected in self.about["digests"].items():
            try:
                actual = sha256((self.folder / name).read_bytes()).hexdigest()
            except OSError as error:
                raise InputError(f"{self.folder / name} cannot be read ({error.strerror}); unpack again") from error
            _check_digest(name, expected, actual, self.folder)


def unpack_weights(archive: Path, folder: Path) -> PackedWeights:
    """Unpack an archive of trained networks into a new folder, after a check of every file.

    Raises:
        InputError: the archive is damaged, or holds something else; or the folder exists.
    """
    if folder.exists():
        raise InputError(f"{folder} exists already; delete it, or name another folder")
    try:
        with ZipFile(archive) as content:
            names = set(content.namelist())
            if ABOUT not in names:
                raise InputError(f"{archive} has no {ABOUT}: it is no archive of `merflow weights pack`")
            about = _described(content.read(ABOUT), archive)
            digests = about["digests"]
            if names != {ABOUT, *digests}:
                name = sorted(names ^ {ABOUT, *digests})[0]
                where = "is not listed in" if name in names else "is missing; it is listed in"
                raise InputError(f"{archive}: {name} {where} {ABOUT}; get the archive again")
            files = {name: content.read(name) for name in digests}
    except (OSError, BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive} cannot be read as an archive ({error}); get it again") from error
    for name, data in files.items():
        _check_digest(name, digests[name], sha256(data).hexdigest(), archive)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder) as temporary:
        for name, data in (files | {ABOUT: json.dumps(about, indent=1).encode()}).items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(data)
        os.replace(temporary, folder)
    return PackedWeights(folder, about)


def _described(text: bytes, source: Path) -> dict[str, Any]:
    """Return the content of :data:`ABOUT`, checked."""
    try:
        about = json.loads(text)
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r}, expected {FORMAT!r}")
        if missing := [key for key in KEYS if key not in about]:
            raise ValueError(f"it lacks {missing[0]}")
        for name in about["digests"]:
            if not name.endswith(SUFFIXES) or name.startswith("/") or ".." in name or "\\" in name:
                raise ValueError(f"it lists {name!r}; expected names of files that end in {', '.join(SUFFIXES)}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: {ABOUT} does not describe weights of merflow ({error})") from error
    return dict(about)


def _check_digest(name: str, expected: str, actual: str, source: Path) -> None:
    if actual != expected:
        raise InputError(
            f"{source}: {name} is damaged or was changed: its SHA-256 begins with {actual[:12]}, expected "
            f"{str(expected)[:12]}; get the archive again"
        )
