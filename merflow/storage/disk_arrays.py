"""Clips that wait on the disk while a network trains on them: memory holds one batch, however many clips there are."""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from merflow.errors import InputError

BLOCK = 64
"""Clips that are read at a time to go through all of them."""


def index_chunks(count: int, most: int) -> list[np.ndarray]:
    """Places of ``count`` things in parts of about the same size, at most so many in each; at least one part."""
    return np.array_split(np.arange(count), max(1, -(-count // max(1, most))))


class DiskArray:
    """An array of clips, float32 ``[clips, rows, pixels]``, in a file without a name, which is gone with the process.

    It lies in the folder for temporary files (``TMPDIR``). Clips are read one by one, not mapped: pages of a mapped
    file count as memory of the process.
    """

    def __init__(self, clips: Iterable[np.ndarray]) -> None:
        """Write ``clips``, arrays ``[rows, pixels]`` of one shape; :attr:`digest` identifies their content.

        Raises:
            ValueError: there is no clip, or they differ in shape.
            InputError: there is no space for them.
        """
        self._file, content, count, shape = tempfile.TemporaryFile(), sha256(), 0, None  # noqa: SIM115
        for clip in clips:
            if shape is not None and clip.shape != shape:
                raise ValueError(f"clips of two shapes, {shape} and {clip.shape}")
            shape, count = clip.shape, count + 1
            data = np.ascontiguousarray(clip, np.float32).tobytes()
            content.update(data)
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                raise _full(error, f"after {count - 1} clips of {len(data)} bytes") from error
        if shape is None:
            raise ValueError("no clips")
        self.shape, self.digest = (count, *shape), content.hexdigest()

    def __len__(self) -> int:
        """Number of clips."""
        return self.shape[0]

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """The clips at ``places``, float32 ``[places, rows, pixels]``."""
        chosen = np.arange(len(self))[places]
        found = np.empty((len(chosen), *self.shape[1:]), np.float32)
        size = found[0].nbytes if len(found) else 0
        for clip, place in zip(found, chosen.tolist(), strict=True):
            os.preadv(self._file.fileno(), [memoryview(clip).cast("B")], place * size)
        return found

    def rows(self, places: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Single rows: of each clip at ``places`` the one at ``rows``, float32 ``[places, pixels]``."""
        found = np.empty((len(places), self.shape[2]), np.float32)
        size, file = 4 * self.shape[2], self._file.fileno()
        numbers = np.asarray(places) * self.shape[1] + rows
        view = memoryview(found).cast("B") if found.size else b""
        for n, number in enumerate(numbers.tolist()):
            os.preadv(file, [view[n * size : (n + 1) * size]], number * size)
        return found

    def __str__(self) -> str:
        """What a checkpoint knows of it."""
        return f"{self.shape} {self.digest}"


class DiskArrayView:
    """Some of the stored clips, in an order of their own, which stay on the disk until they are asked for."""

    def __init__(self, clips: DiskArray, places: np.ndarray) -> None:
        """Those at ``places``."""
        self._clips, self._places = clips, np.asarray(places)
        self.shape = (len(self._places), *clips.shape[1:])
        self.nbytes = 4 * math.prod(self.shape)

    def __len__(self) -> int:
        """Number of clips."""
        return self.shape[0]

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """The clips at ``places``, float32 ``[places, rows, pixels]``."""
        return self._clips[self._places[places]]

    def rows(self, places: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As :meth:`DiskArray.rows`."""
        return self._clips.rows(self._places[places], rows)


class Centred:
    """Clips less the mean picture of those that train, at deviation 1: for networks that nothing was trained before.

    Flow images that others scaled have their zero anywhere. Each place among a clip's rows has a mean picture and one
    divisor of its own, so that the shape of a picture stays.
    """

    def __init__(self, clips: "DiskArray | np.ndarray", train: np.ndarray) -> None:
        """See ``clips``, ``[clips, rows, pixels]``, by what those at the places ``train`` have in common."""
        self._clips, self.shape = clips, clips.shape
        parts = [train[first : first + BLOCK] for first in range(0, len(train), BLOCK)]
        total = sum(clips[part].sum(axis=0, dtype=np.float64) for part in parts)
        self.mean = (total / len(train)).astype(np.float32)
        squares = sum(np.square(clips[part] - self.mean, dtype=np.float64).sum(axis=(0, 2)) for part in parts)
        deviation = np.sqrt(squares / (len(train) * clips.shape[2]))
        self.divisor = np.maximum(deviation, 1e-6).astype(np.float32)[:, None]

    def __len__(self) -> int:
        """Number of clips."""
        return self.shape[0]

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """The clips at ``places``, float32 ``[places, rows, pixels]``."""
        return (self._clips[places] - self.mean) / self.divisor

    def __str__(self) -> str:
        """What a checkpoint knows of it."""
        return f"{self._clips} {sha256(self.mean.tobytes() + self.divisor.tobytes()).hexdigest()}"


def centre_arrays(centred: Centred | None) -> dict[str, Tensor]:
    """What a file of weights keeps of a centring: ``centre.mean [rows, pixels]`` and ``centre.divisor [rows, 1]``."""
    if centred is None:
        return {}
    return {f"centre.{name}": torch.from_numpy(getattr(centred, name)) for name in ("mean", "divisor")}


class Batches:
    """Some of the clips as a training takes them: an index gives a tensor of so many, on the device."""

    def __init__(
        self,
        clips: DiskArray | Centred | np.ndarray,
        places: np.ndarray,
        shape: tuple[int, ...],
        device: torch.device,
        rows: bool = False,
    ) -> None:
        """Hand out the clips at ``places`` as ``[..., *shape]``; with ``rows`` each of their rows by itself."""
        self._clips, self._places, self._shape, self.device = clips, np.asarray(places), shape, device
        self._rows = clips.shape[1] if rows else 1

    def __len__(self) -> int:
        """Number of clips, or of rows."""
        return len(self._places) * self._rows

    def __getitem__(self, chosen: Tensor) -> Tensor:
        """Those at the places ``chosen``, float32 ``[chosen, *shape]``."""
        numbers = chosen.cpu().numpy()
        if self._rows == 1:
            found = self._clips[self._places[numbers]]
        else:
            clips, back = np.unique(numbers // self._rows, return_inverse=True)
            found = self._clips[self._places[clips]][back, numbers % self._rows]
        return torch.from_numpy(found.reshape(len(numbers), *self._shape)).to(self.device)

    def split(self, batch: int) -> Iterator[Tensor]:
        """All in order, ``batch`` at a time."""
        for part in torch.arange(len(self)).split(batch):
            yield self[part]

    def followed_by(self, other: "Batches") -> "Batches":
        """These and then those of ``other``, which are of the same clips."""
        joined = np.concatenate([self._places, other._places])
        return Batches(self._clips, joined, self._shape, self.device, self._rows > 1)

    def __str__(self) -> str:
        """What a checkpoint knows of them."""
        return f"{self._clips} {self._places.tolist()} {self._shape} {self._rows}"


@dataclass(frozen=True)
class ArrayInFile:
    """An array that waits in an open file, beside others of other shapes; read anew each time that it is asked for.

    Attributes:
        file: the file, which lives as long as its arrays.
        start: of the array's bytes.
        shape, dtype: of the array.
    """

    file: BinaryIO
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype

    @classmethod
    def of(cls, array: np.ndarray, file: BinaryIO) -> "ArrayInFile":
        """Write an array at the end of ``file``.

        Raises:
            InputError: there is no space for it.
        """
        start = file.seek(0, os.SEEK_END)
        try:
            file.write(np.ascontiguousarray(array).tobytes())
            file.flush()
        except OSError as error:
            raise _full(error, f"at an array of {array.nbytes} bytes") from error
        return cls(file, start, array.shape, array.dtype)

    def __len__(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    def __getitem__(self, places: np.ndarray | slice) -> np.ndarray:
        """As of the array itself."""
        found = np.empty(self.shape, self.dtype)
        if found.nbytes:
            os.preadv(self.file.fileno(), [memoryview(found).cast("B")], self.start)
        return found[places]


@dataclass(frozen=True)
class RowsInFile:
    """Rows of a table that wait in an open file, which processes that are forked share; read each time anew.

    Attributes:
        file: its descriptor.
        start, size: bytes of the rows.
    """

    file: int
    start: int
    size: int

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], file: int) -> "RowsInFile":
        """Write rows of texts and numbers at the end of a file; of one process at a time."""
        data = json.dumps(list(rows)).encode()
        try:
            with open(file, "ab", closefd=False) as target:
                start = target.seek(0, os.SEEK_END)
                target.write(data)
        except OSError as error:
            raise _full(error, f"at {len(data)} bytes of answers") from error
        return cls(file, start, len(data))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, with the bits that they had."""
        yield from json.loads(os.pread(self.file, self.size, self.start))


def _full(error: OSError, when: str) -> InputError:
    text = f"{tempfile.gettempdir()}: {error.strerror} {when}; free some there, or set TMPDIR to another folder"
    return InputError(text)


def concatenate_batches(one: Tensor | Batches, other: Tensor | Batches) -> Tensor | Batches:
    """What training takes, one after the other; both are of one kind."""
    return torch.cat([one, other]) if isinstance(one, Tensor) else one.followed_by(other)
