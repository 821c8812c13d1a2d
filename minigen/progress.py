"""Progress bars, and streams that do not break the work that they tell of."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tqdm.auto import tqdm

COLUMNS = 80
FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Stream:
    """A text stream that takes any text, whatever the stream below it is, None too.

    A character that it cannot write becomes a ?, and errors of the class `harmless` are passed
    over; from then on it writes nothing, not at the end of the process either.
    """

    def __init__(self, stream: Any, harmless: type[OSError] = OSError):
        self._stream, self._harmless = stream, harmless

    def write(self, text: str) -> int:
        """The whole text."""
        try:
            self._tried("write", text)
        except UnicodeEncodeError:
            encoding = getattr(self._stream, "encoding", None) or "ascii"
            self._tried("write", text.encode(encoding, "replace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Of a stream that has it."""
        self._tried("flush")

    def _tried(self, method: str, *arguments: str) -> None:
        try:
            getattr(self._stream, method, lambda *_: None)(*arguments)
        except UnicodeEncodeError:
            raise
        except ValueError:  # it is closed
            pass
        except OSError as error:
            with suppress(AttributeError, OSError, ValueError):  # what Python flushes when it ends
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            if not isinstance(error, self._harmless):
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        """tqdm asks the standard streams, and no others, how wide the terminal is."""
        return other is self or other is self._stream

    __hash__ = None  # type: ignore[assignment]


class Bar(tqdm):
    """tqdm's bar, in a notebook too, on one line of at most 80 columns.

    losses: of them as many are shown, in their order, as fit
    """

    def __init__(self, *arguments: Any, **options: Any):
        self.losses: Mapping[str, float] = {}
        options = {"bar_format": FORMAT, "file": Stream(sys.stderr)} | options
        super().__init__(*arguments, **options)

    @property
    def format_dict(self) -> Any:
        found: dict[str, Any] = dict(super().format_dict)
        if hasattr(self, "unit"):  # which a bar that is switched off lacks
            shown = found | {"postfix": "", "ncols": None}
            for name, value in self.losses.items():
                postfix = f"{shown['postfix']}, {name} {value:.3g}".removeprefix(", ")
                if len(self.format_meter(**shown | {"postfix": postfix})) > COLUMNS:
                    break
                shown["postfix"] = postfix
            found["postfix"] = shown["postfix"]
        return found
