"""What `minigen evaluate` reports: measures of samples, reconstructions and translations."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minigen.data import Dataset
from minigen.data.domains import Domains, from_paper
from minigen.data.scenes import parse
from minigen.evaluation.metrics import frechet_distance, mode_coverage, precision_recall, psnr
from minigen.evaluation.neighbours import knn_classify, read_digits
from minigen.evaluation.reading import clear_scene, shows
from minigen.words import counted

Measures = dict[str, tuple[float, float | None]]
"""By name: the value, and that of the reference, if there is one."""

Translate = Callable[[np.ndarray, str], np.ndarray]
"""Images (N, 3, H, W) of one domain, and "x2y" or "y2x", to images of the other."""


class Measure(NamedTuple):
    """A measure of a model's samples, and of what they are compared with, if anything."""

    value: float
    reference: float | None


class Reference(NamedTuple):
    """What the measures are compared with, and how many samples they need at least."""

    name: str
    meaning: str
    fewest: int


FLOOR = Reference("floor", "training items in their place", fewest=5)
BEFORE = Reference("before", "the images as they were", fewest=1)


def sample_measures(fake: np.ndarray, data: Dataset, labels: np.ndarray | None = None) -> Measures:
    """Each measure of samples and its floor, the same for as many real training points.

    Mixtures have modes, whose coverage is measured too. Of the generated world it is measured how
    many samples show a clear scene, and how many one with a combination that no training image has.

    labels: those asked for, (N,), of a conditional model; see `label_measures`
    """
    real, floor = data.test[: len(fake)], data.train[: len(fake)]
    precision, recall = precision_recall(real, fake)
    best_precision, best_recall = precision_recall(real, floor)
    measures: Measures = {
        "Fréchet distance": (frechet_distance(real, fake), frechet_distance(real, floor)),
        "precision (k = 3)": (precision, best_precision),
        "recall (k = 3)": (recall, best_recall),
    }
    if data.modes:
        pairs = zip(*(mode_coverage(x, *data.modes) for x in (fake, floor)))
        measures |= dict(zip(("modes covered", "good samples", "reverse KL, nats"), pairs))
    if data.train_captions:
        (clear, unseen), (best, _) = (_shares_of_scenes(x) for x in (fake, floor))
        measures |= {"clear scenes": (clear, best), "unseen combinations": (unseen, None)}
    return measures if labels is None else measures | label_measures(fake, labels, data)


def _shares_of_scenes(images: np.ndarray) -> tuple[float, float]:
    scenes = [scene for scene in map(clear_scene, images) if scene]
    return len(scenes) / len(images), sum(scene.held_out for scene in scenes) / len(images)


def caption_measures(fake: np.ndarray, asked: Sequence[str]) -> Measures:
    """The share of images of the generated world that show what their captions ask for, among
    combinations that are in the training set and among those that are held out of it."""
    shown = np.array([shows(image, text) for image, text in zip(fake, asked)])
    held_out = np.array([parse(text).held_out for text in asked])
    shares = {"seen": shown[~held_out], "unseen": shown[held_out]}
    return {
        f"shown as asked, {name}": (float(share.mean()), None)
        for name, share in shares.items()
        if share.size
    }


def too_few(n: int, data: Dataset) -> list[str]:
    """Of which measures n samples say little, and why."""
    features, notes = data.train[0].size, []
    if n <= features:
        singular = f"{counted(n, 'sample')} of {features} numbers have a singular covariance"
        notes.append(f"too few for a Fréchet distance: {singular}")
    if data.modes:
        K = len(data.modes[0])
        needed = math.ceil(K * sum(1 / k for k in range(1, K + 1)))  # the coupon collector's mean
        if n < needed:
            chance = (
                f"{counted(n, 'sample')}, and to draw each of {K} once takes {needed} on average"
            )
            notes.append(f"too few to cover all modes: {chance}")
    return notes


def label_measures(fake: np.ndarray, asked: np.ndarray, data: Dataset) -> Measures:
    """The share of samples that are read as the class asked for, by their neighbours among the
    training images; its reference, the share of test images that are read rightly."""
    n = len(fake)
    if data.train_labels is None or data.test_labels is None:
        raise ValueError(f"label_measures: {data.name} has no labels")
    read_fake = knn_classify(data.train, data.train_labels, fake)
    read_real = knn_classify(data.train, data.train_labels, data.test[:n])
    return {"read as asked": (_share(read_fake, asked), _share(read_real, data.test_labels[:n]))}


def reconstruction_measures(x: np.ndarray, seen: np.ndarray, y: np.ndarray) -> Measures:
    """How well images x come back as y, and how noisy they were, if what was seen is not x."""
    error = float(((y - x) ** 2).sum() / len(x))
    measures: Measures = {"test error": (error, None), "test PSNR, dB": (psnr(x, y), None)}
    if seen is not x:
        measures["PSNR before, dB"] = psnr(x, seen), None
    return measures


def translation_measures(domains: Domains, n: int, translate: Translate) -> Measures:
    """Of the first n test images: how far they are from themselves after a cycle, translations from
    the truth; the share of digits read rightly, once the truth has brought translations back."""
    x = domains.test_x[:n]
    fake_y = translate(x, "x2y")
    measures: Measures = {"L1, X to Y to X": (_l1(translate(fake_y, "y2x"), x), None)}
    if domains.test_y is not None:
        y = domains.test_y[:n]
        fake_x = translate(y, "y2x")
        measures |= {
            "L1, X to Y": (_l1(fake_y, y), _l1(x, y)),
            "L1, Y to X": (_l1(fake_x, x), _l1(y, x)),
            "PSNR, X to Y, dB": (psnr(fake_y, y), psnr(x, y)),
            "PSNR, Y to X, dB": (psnr(fake_x, x), psnr(y, x)),
        }
    if domains.test_labels is not None:
        read_back, read_x = read_digits(from_paper(fake_y)), read_digits(x)
        labels = domains.test_labels[:n]
        measures["digits read rightly"] = _share(read_back, labels), _share(read_x, labels)
    return measures


def _l1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(np.abs(a - b), dtype=np.float64))


def _share(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a == b))
