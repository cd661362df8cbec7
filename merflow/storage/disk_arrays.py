"""Arrays on disk, of which a training holds one batch in memory."""

import os
import tempfile
from collections.abc import Iterable
from hashlib import sha256

import numpy as np

from merflow.errors import InputError


class DiskArray:
    """An array of clips, float32 ``[clips, rows, pixels]``, in a temporary file without a name.

    The file lies in the folder for temporary files (``TMPDIR``) and disappears with the process. Clips are read, not
    mapped, because the pages of a mapped file count as memory of the process.
    """

    def __init__(self, clips: Iterable[np.ndarray]) -> None:
        """Write ``clips``, arrays ``[rows, pixels]`` of one shape; :attr:`digest` identifies their content.

        Raises:
            ValueError: there is no clip, or the shapes differ.
            InputError: the disk is full.
        """
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        content, count, shape = sha256(), 0, (0, 0)
        for clip in clips:
            if count and clip.shape != shape:
                raise ValueError(f"clips of two shapes, {shape} and {clip.shape}")
            shape, count = clip.shape, count + 1
            data = np.ascontiguousarray(clip, np.float32).tobytes()
            content.update(data)
            try:
                self._file.write(data)
                self._file.flush()
            except OSError as error:
                raise InputError(
                    f"{tempfile.gettempdir()}: {error.strerror} after {count - 1} clips of {len(data)} bytes; free "
                    "some space there, or set TMPDIR to another folder"
                ) from error
        if not count:
            raise ValueError("no clips")
        self.shape: tuple[int, ...] = (count, *shape)
        self.digest = content.hexdigest()

    def __len__(self) -> int:
        """Return the number of clips."""
        return self.shape[0]

    def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
        """Read the clips at ``indices``, float32 ``[indices, rows, pixels]``."""
        chosen = np.arange(len(self))[indices]
        clips = np.empty((len(chosen), *self.shape[1:]), np.float32)
        size = 4 * self.shape[1] * self.shape[2]
        for clip, index in zip(clips, chosen.tolist(), strict=True):
            os.preadv(self._file.fileno(), [memoryview(clip.data).cast("B")], index * size)
        return clips

    def __str__(self) -> str:
        """Return the text that identifies the array in a checkpoint."""
        return f"{self.shape} {self.digest}"
