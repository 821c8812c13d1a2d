"""`python make_digits.py` makes `digits.npz` out of scikit-learn's copy of the UCI digits.

Run it only to check or rebuild the file; nothing else in minigen needs scikit-learn. The bytes come
out the same each time (NumPy dates the members of an .npz file 1980-01-01, and `RandomState`
streams never change: NEP 19); another version of zlib may pack the same arrays into other bytes.
"""

from pathlib import Path

import numpy as np


def make_digits(path: Path) -> None:
    """Writes uint8 `images` (1797, 8, 8) in 0..16, and `labels` (1797,), shuffled with seed 0."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.images))
    images, labels = digits.images[order].astype(np.uint8), digits.target[order].astype(np.uint8)
    np.savez_compressed(path, images=images, labels=labels)


if __name__ == "__main__":
    make_digits(Path(__file__).with_name("digits.npz"))
