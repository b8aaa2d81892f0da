"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its place when all of it is written.

    Raises
    ------
    OSError
        Naming `path`; what was there before is still there.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        # The mode is what `open` gives: unlike those of tempfile, such a file may be read by others.
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            yield file
        os.replace(beside, path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(beside)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    with written(path) as file:
        file.write(text.encode())
