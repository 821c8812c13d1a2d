"""Files that are whole or not there."""

import os
import secrets
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Writes a file next to `path`, then renames it to `path`: nobody ever sees half a file."""
    temporary = Path(path).with_name(f".{Path(path).name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
