"""Files that are whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PathLike = str | os.PathLike[str]


def write_atomically(path: PathLike, content: bytes | memoryview) -> None:
    """Writes a file next to `path`, then renames it to `path`: nobody ever sees half a file."""
    temporary = Path(path).with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with naming(path), open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: PathLike, content: bytes) -> None:
    """Writes a file that is not there yet: of several who try at once all but one get a
    FileExistsError. What could not be written whole is removed."""
    with naming(path), open(path, "xb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            Path(path).unlink()
            raise


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """An OSError in it names the file: a full disk does not say what was written to it."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise
