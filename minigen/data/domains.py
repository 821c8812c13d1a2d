"""Two domains of images to translate between, made from the digits, with a known truth.

Images are float32 (N, 3, S, S) in [-1, 1].
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from minigen.data.digits import load_digits
from minigen.data.resampling import resampled
from tensor import Tensor

Images = NDArray[np.float32]
Change = Callable[[Images], Images]

SIZE = 16
PAPER = np.array([1.0, 0.95, 0.82], np.float32)[:, None, None]
INK = np.array([0.0, 0.18, 0.42], np.float32)[:, None, None]
OUTLINE = np.array([1.0, 0.42, 0.12], np.float32)[:, None, None]
"""Red, green and blue in 0..1, each (3, 1, 1). Only ink lacks red."""


@dataclass(frozen=True, eq=False)
class Domains:
    """Training images of X and Y, and held-out images: test_y[i] is the truth for test_x[i].

    `test_y` may be None, and so may `test_labels`, the digits' classes, int64 (N,).
    """

    name: str
    train_x: Images
    train_y: Images
    test_x: Images
    test_y: Images | None = None
    test_labels: NDArray[np.int64] | None = None

    def batch(self, n: int, rng: np.random.Generator, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """n random training images of X, and as many of Y."""
        x = self.train_x[rng.integers(len(self.train_x), size=n)]
        y = self.train_y[rng.integers(len(self.train_y), size=n)]
        return Tensor(x, device=device), Tensor(y, device=device)

    def pairs(self, n: int, rng: np.random.Generator, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """n random training images of X, and those of Y that belong to them, if loaded `paired`."""
        rows = rng.integers(len(self.train_x), size=n)
        return Tensor(self.train_x[rows], device=device), Tensor(self.train_y[rows], device=device)

    @property
    def most_evaluated(self) -> int:
        """How many test images there are to translate."""
        return len(self.test_x)


def load_domains(paired: bool) -> Domains:
    """X: grey digits on black, 16x16. Y: `to_paper` of such digits. The same arrays each time.

    If `paired`, train_y[i] is the truth for train_x[i]; else X has every other digit, Y the rest.
    """
    return _made("paper", on_black, to_paper, paired)


def load_symmetric_domains(paired: bool) -> Domains:
    """Domains that leave CycleGAN's losses unable to tell right from wrong; `paired` as above.

    X: grey digits on black, and the negative of each. Y: y = (x, 0, -x), orange on blue or blue on
    orange. X is its own negative: the wrong map (-x, 0, x) sends it onto Y without a cycle loss.
    """

    def both(digits: Images) -> Images:
        x = on_black(digits)
        return np.stack([x, -x], axis=1).reshape(-1, *x.shape[1:])

    return _made("symmetric", both, to_orange_and_blue, paired)


def _made(name: str, draw: Change, rule: Change, paired: bool) -> Domains:
    (train, _), (test, labels) = load_digits("train"), load_digits("test")
    train_x, test_x = draw(train if paired else train[::2]), draw(test)
    train_y = rule(draw(train if paired else train[1::2]))
    labels = np.repeat(labels, len(test_x) // len(test))
    return Domains(name, train_x, train_y, test_x, rule(test_x), labels)


def on_black(digits: Images) -> Images:
    """Digits (N, 1, 8, 8) as images of X (N, 3, 16, 16): bilinear, grey in three equal channels."""
    return np.repeat(resampled(digits, SIZE), 3, axis=1)


def to_paper(x: Images) -> Images:
    """The truth in Y for x (N, 3, H, W) in X. With s in 0..1 its grey, o = (max of s over 3x3) - s,

        y = (1 - s - o) PAPER + s INK + o OUTLINE,

    mapped from 0..1 to [-1, 1]. Red is 1 - s: paper and outline are full of it, ink has none.
    """
    s = (x.mean(axis=1, keepdims=True) + 1) / 2
    around = np.pad(s, ((0, 0), (0, 0), (1, 1), (1, 1)))
    o = sliding_window_view(around, (3, 3), axis=(2, 3)).max(axis=(4, 5)) - s
    return 2 * (PAPER + s * (INK - PAPER) + o * (OUTLINE - PAPER)) - 1


def from_paper(y: Images) -> Images:
    """The x in X of y (N, 3, H, W) in Y: grey is the negative of red, which only ink lacks."""
    return np.repeat(np.clip(-y[:, :1], -1, 1), 3, axis=1)


def to_orange_and_blue(x: Images) -> Images:
    """The truth (x, 0, -x) in the symmetric Y for x (N, 3, H, W)."""
    return x * np.array([1, 0, -1], np.float32)[:, None, None]
