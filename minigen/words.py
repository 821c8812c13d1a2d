"""How counts, names and commands are written, so that messages can be read, and commands pasted."""

import os
import shlex


def counted(n: int, noun: str) -> str:
    """1 sample, 64 samples"""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def printable(name: str) -> str:
    """The name of a file on one line, with ? for what cannot be shown."""
    return "".join(c if c.isprintable() else "?" for c in name)


def pasted(path: str | os.PathLike[str]) -> str:
    """A path as a shell takes it for one argument of a command, and for no option."""
    text = os.fspath(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def flag(name: str) -> str:
    """What the command line calls a keyword argument: a dash and a letter, two and a word."""
    return f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
