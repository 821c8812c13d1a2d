"""What CycleGAN and pix2pix share in training: two domains, translators both ways, pictures and measures of translations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import nn
from minigen.data.domains import SIZE, Domains, from_paper, load_domains
from minigen.data.folders import load_folders
from minigen.evaluation import pictures
from minigen.evaluation.metrics import psnr
from minigen.evaluation.neighbours import read_digits
from minigen.recipes import base
from minigen.training.run import Run
from minigen.training.settings import setting, with_default
from tensor import Tensor

DIRECTIONS = ("x2y", "y2x")


@dataclass(frozen=True)
class Config(base.Training):
    """The domains are made from the digits, unless there are two folders of images."""

    steps: int = with_default(base.Training, "steps", 1500)
    batch_size: int = with_default(base.Training, "batch_size", 8)
    lr: float = with_default(base.Training, "lr", 1e-3)
    data_x: str | None = setting(None, "a folder of PNG files, the images of X (default: made from the digits)")
    data_y: str | None = setting(None, "a folder of PNG files, the images of Y")
    size: int = setting(SIZE, "height and width to which the images in folders are brought", within=(8, 512))
    width: int = setting(16, "channels of the first layer of each network", within=(1, 1024))
    blocks: int = setting(1, "residual blocks of each generator", within=(0, 100))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.data_x is None) != (self.data_y is None):
            raise ValueError("--data-x and --data-y go together: the images of X, and those of Y")
        if self.size % 2:
            raise ValueError(f"size must be even, for the generators halve the images, got {self.size}")

    @property
    def data(self) -> str:
        """What the domains are called."""
        return "digits" if self.data_x is None else "folders"


class Translation(base.Experiment):
    """Two translators between domains of images in training. Each experiment adds `translators`, too."""

    Config = Config
    data: Domains

    samples_need_data = True
    paired: ClassVar[bool]

    betas = (0.5, 0.999)
    beside = ("before", "the images as they were")
    fewest_evaluated = 1

    def __init__(self, config: Any, with_data: bool = True):
        if config.data_x is None and config.size != SIZE:
            raise ValueError(f"--size {config.size} is for --data-x and --data-y: the digits have a size of {SIZE}")
        super().__init__(config, with_data)

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.config.size, self.config.size

    def load(self) -> Domains:
        """The two domains; their images come in pairs or not."""
        if self.config.data_x is None:
            return load_domains(self.paired)
        return load_folders(self.config.data_x, self.config.data_y, self.config.size, self.paired)

    def translators(self) -> dict[str, nn.Module]:
        """The generators by DIRECTIONS."""
        raise NotImplementedError

    def batch_of_both(self) -> tuple[Tensor, Tensor]:
        """Random training images of X and of Y, which belong together if the data are pairs."""
        n, device = self.config.batch_size, self.config.device
        of_x = self.rng.integers(len(self.data.train_x), size=n)
        of_y = of_x if self.paired else self.rng.integers(len(self.data.train_y), size=n)
        return Tensor(self.data.train_x[of_x], device=device), Tensor(self.data.train_y[of_y], device=device)

    def rate(self, k: int) -> float:
        """The full learning rate for half of the steps, then a line to 0 (Zhu et al. 2017, sec. 4)."""
        return nn.schedules.linear(k - 1, self.config.steps, self.config.steps // 2)

    def translate(self, x: np.ndarray, direction: str = "x2y") -> np.ndarray:
        """Images (N, 3, H, W) of one domain as images of the other, by the averaged weights."""
        translator = self.translators()[direction]
        with self.averaged():
            return self.finite(self.computed(translator, x))

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Translations of n random test images of X."""
        return self.translate(self.data.test_x[np.random.default_rng(seed).integers(len(self.data.test_x), size=n)])

    def draw(self, run: Run) -> None:
        """The losses; test images with their translations, the truth where it is known, and the way back."""
        self.draw_losses(run, "losses", "generators", "discriminators")
        x, y = self.data.test_x[: base.ROWS], self.data.test_y
        fake_y = self.translate(x)
        shown = {"x": x, "G(x)": fake_y, "F(G(x))": self.translate(fake_y, "y2x")}
        if y is not None:
            y = y[: base.ROWS]
            fake_x = self.translate(y, "y2x")
            shown |= {"y, the truth": y, "F(y)": fake_x, "G(F(y))": self.translate(fake_x)}
        title = f"{self.heading}: test images, translations, cycles"
        pictures.sequence(run.path / "translations.png", list(shown.values()), list(shown), title)

    @property
    def most_evaluated(self) -> int:
        return len(self.data.test_x)

    def evaluate(self, n: int, seed: int, *args: Any, **options: Any) -> base.Measures:
        """Of the first n test images: how far they are from themselves after a cycle, and their translations from the truth;
        and which share of digits is read rightly, when the truth has brought the translations back."""
        x = self.data.test_x[:n]
        fake_y = self.translate(x)
        measures: base.Measures = {"L1, X to Y to X": (_l1(self.translate(fake_y, "y2x"), x), None)}
        if self.data.test_y is not None:
            y = self.data.test_y[:n]
            fake_x = self.translate(y, "y2x")
            measures |= {
                "L1, X to Y": (_l1(fake_y, y), _l1(x, y)),
                "L1, Y to X": (_l1(fake_x, x), _l1(y, x)),
                "PSNR, X to Y, dB": (psnr(fake_y, y), psnr(x, y)),
                "PSNR, Y to X, dB": (psnr(fake_x, x), psnr(y, x)),
            }
        if self.data.test_labels is not None:
            labels = self.data.test_labels[:n]
            measures["digits read rightly"] = _share(read_digits(from_paper(fake_y)), labels), _share(read_digits(x), labels)
        return measures


def _l1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(np.abs(a - b), dtype=np.float64))


def _share(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a == b))
