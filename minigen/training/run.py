"""A run is a folder: what was asked for, how it went, and where it stands.

config.json      the model and its settings
metrics.jsonl    one line of JSON a step
checkpoint.npz   weights, their average, optimisers, step and random state, and the settings:
                 enough to go on bit for bit
*.png, *.npz     pictures and samples; a *.gif of a DDPM or an NCSN
frames/*.npy     samples at steps of the training, of which training.gif is made
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from minigen.data.files import naming, write_atomically, write_new
from minigen.training.checkpoint import CheckpointError, PathLike, load_checkpoint, save_checkpoint
from minigen.words import pasted
from tensor import Tensor

State = dict[str, Any]
"""A tree of dicts with tensors, arrays, numbers and strings for leaves."""

RENAMED = {"coders": "networks"}
"""Settings of earlier runs that have another name now."""

MAY_CHANGE = ("steps", "device", "save_every", "sample_every", "data_dir", "data_x", "data_y")
"""The settings that a run may change when it goes on; all others belong to its checkpoint."""


class RunError(Exception):
    """A folder that cannot be used as a run: the message says why, and what to do."""


def new_folder(path: PathLike, advice: str) -> Path:
    """A new or empty folder. RunError, with advice, if it holds something or cannot be made."""
    path = Path(path)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"{path} exists and is not empty: {advice}")
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be written: {error}") from None
    return path


def unused_folder(name: str, parent: PathLike = "runs") -> Path:
    """A new folder `parent/name`, or `name-2`, `name-3`, ...: the first that nobody has.

    Of several who ask at once each gets its own. RunError if it cannot be made.
    """
    path, k = Path(parent) / name, 1
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            k += 1
            path = path.with_name(f"{name}-{k}")
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error}") from None


class Run:
    """The folder of one run. `Run.create` makes a new one, `Run(path)` opens one that exists."""

    def __init__(self, path: PathLike):
        self.path = Path(path)
        try:
            self.config = json.loads((self.path / "config.json").read_text())
        except FileNotFoundError:
            cause = "it has no config.json; minigen train makes one"
            raise RunError(f"{self.path} is not a run: {cause}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path / 'config.json'} cannot be read: {error}") from None
        if not isinstance(self.config, dict) or "model" not in self.config:
            cause = "it was not written by minigen train"
            raise RunError(f"{self.path / 'config.json'} names no model: {cause}")
        self.config = _with_new_names(self.config)

    @classmethod
    def create(cls, path: PathLike, config: dict[str, Any]) -> Run:
        """A new run in an empty or new folder. What is there already is never overwritten, and of
        several who ask at once for the same folder one gets it, the others a RunError."""
        resume = f"minigen train {config['model']} --resume {pasted(path)}"
        advice = f"choose another `out`, or go on with it: {resume}"
        path = new_folder(path, advice)
        try:
            write_new(path / "config.json", _json(config))
        except FileExistsError:
            raise RunError(f"{path} exists and is not empty: {advice}") from None
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error}") from None
        return cls(path)

    def configure(self, config: dict[str, Any]) -> None:
        """Replace config.json."""
        write_atomically(self.path / "config.json", _json(config))
        self.config = config

    def log(self, metrics: dict[str, float]) -> None:
        """Add a line to metrics.jsonl."""
        path = self.path / "metrics.jsonl"
        with naming(path), open(path, "a") as file:
            file.write(json.dumps(metrics) + "\n")

    def metrics(self, *names: str) -> list[dict[str, float]]:
        """The lines of metrics.jsonl, each with its step and `names`, but for one cut short."""
        path = self.path / "metrics.jsonl"
        try:
            text = path.read_text() if path.exists() else ""
            whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
            lines = [json.loads(line) for line in whole]
            if all(math.isfinite(line[name]) for line in lines for name in ("step", *names)):
                return lines
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            pass
        wanted = ", ".join(("step", *names))
        line = f"the line that is not JSON with finite numbers for {wanted}"
        raise RunError(f"{path} is damaged: move it away, or repair {line}")

    def keep_frame(self, step: int, x: np.ndarray) -> None:
        """Keep samples x as the frame of a step."""
        (self.path / "frames").mkdir(exist_ok=True)
        content = io.BytesIO()
        np.save(content, x)
        write_atomically(self._frame(step), content.getvalue())

    def frames(self) -> dict[int, np.ndarray]:
        """The frames that were kept, by their steps. RunError for a damaged one."""
        frames = {}
        for step in self._frame_steps():
            try:
                frames[step] = np.load(self._frame(step))
            except (OSError, ValueError, EOFError) as error:
                raise RunError(f"{self._frame(step)} is damaged: delete it ({error})") from None
        return frames

    def _frame(self, step: int) -> Path:
        return self.path / "frames" / f"{step}.npy"

    def _frame_steps(self) -> list[int]:
        names = (path.stem for path in (self.path / "frames").glob("*.npy"))
        return sorted(int(name) for name in names if name.isdecimal())

    def forget_after(self, step: int) -> None:
        """Drop metrics and frames beyond `step`, which a run that goes on from there will write
        again."""
        kept = [json.dumps(line) + "\n" for line in self.metrics() if line["step"] <= step]
        write_atomically(self.path / "metrics.jsonl", "".join(kept).encode())
        for later in self._frame_steps():
            if later > step:
                self._frame(later).unlink()

    def save(self, state: State) -> None:
        """Replace the checkpoint, at once and whole."""
        arrays: dict[str, np.ndarray] = {}
        meta = {"config": _fixed(self.config), "state": _without_arrays(state, "", arrays)}
        save_checkpoint(self.path / "checkpoint.npz", arrays, meta)

    def load(self) -> State:
        """The checkpoint's state. CheckpointError if missing or damaged, or config.json changed."""
        path = self.path / "checkpoint.npz"
        arrays, meta = load_checkpoint(path)
        try:
            config, state = _with_new_names(meta["config"]), dict(meta["state"])
            for name, array in arrays.items():
                *folders, leaf = map(unquote, name.split("/"))
                branch = state
                for folder in folders:
                    branch = branch.setdefault(folder, {})
                branch[leaf] = array
        except (AttributeError, LookupError, TypeError, ValueError):
            cause = f"{path} is not a run's checkpoint as this version writes it"
            raise CheckpointError(f"{cause}: start a new run") from None
        now = _fixed(self.config)
        if changed := [name for name in config | now if config.get(name) != now.get(name)]:
            was = ", ".join(f"{name} was {config.get(name)!r}" for name in changed)
            cause = f"{self.path / 'config.json'} was changed since {path} was saved"
            raise CheckpointError(f"{cause}: {was}; change it back")
        return state


def _with_new_names(config: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED.get(name, name): value for name, value in config.items()}


def _json(config: dict[str, Any]) -> bytes:
    return (json.dumps(config, indent=2) + "\n").encode()


def _fixed(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that a run keeps."""
    return {name: value for name, value in config.items() if name not in MAY_CHANGE}


def _without_arrays(state: State, prefix: str, arrays: dict[str, np.ndarray]) -> State:
    """The tree without its arrays, which go to `arrays` under the names of their paths, in which a
    / that belongs to a name is %2F. ValueError for a name that is no str: 0 would return as "0"."""
    rest: State = {}
    for name, value in state.items():
        if not isinstance(name, str):
            raise ValueError(f"names in a state are str, got {name!r} in {prefix or 'the state'}")
        place = prefix + name.replace("%", "%25").replace("/", "%2F")
        if isinstance(value, dict):
            rest[name] = _without_arrays(value, f"{place}/", arrays)
        elif isinstance(value, (Tensor, np.ndarray)):
            arrays[place] = value.numpy() if isinstance(value, Tensor) else value
        else:
            rest[name] = value
    return rest
