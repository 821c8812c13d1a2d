"""What all experiments share: a data set, a model in training, the average of its weights, and measures of its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import nn
import tensor as T
from minigen import data
from minigen.evaluation import pictures
from minigen.evaluation.metrics import frechet_distance, mode_coverage, precision_recall
from minigen.networks.coders import CODERS
from minigen.training import settings
from minigen.training.loop import Diverged
from minigen.training.run import Run, State
from minigen.training.settings import flag, setting, with_default
from tensor import Tensor
from tensor.arrays import parse_device
from tensor.parallel import one_blas_thread

ROWS = 8
"""How many images a picture of a run shows from top to bottom."""

CLASSES = 10
"""How many classes there are in each data set that has labels."""

BATCH = 1000
"""How many images a network takes at once outside training, and fewer if they have more numbers than LARGE."""

LARGE = 1024

Measures = dict[str, tuple[float, float | None]]
"""By name: the value, and the floor beside it, if there is one."""


@dataclass(frozen=True)
class Training:
    """The settings of every run, as config.json holds them."""

    steps: int = setting(2000, "training steps", within=(1, 10**9))
    batch_size: int = setting(64, "images or points in a batch", within=(1, 10**6))
    lr: float = setting(2e-3, "peak learning rate", within=(1e-30, 1e30))
    seed: int = setting(0, "seed of weights, batches and noise", within=(0, 2**63 - 1))
    device: str = setting("cpu", "cpu, cuda or cuda:N")

    def __post_init__(self) -> None:
        settings.check(self)
        parse_device(self.device)


@dataclass(frozen=True)
class Config(Training):
    """The settings of a model of one data set."""

    data: str = setting("digits", "what to learn", choices=data.NAMES)
    data_dir: str | None = setting(None, "where the IDX files of MNIST or Fashion-MNIST lie")


@dataclass(frozen=True)
class ImageConfig(Config):
    """The settings of a model with an encoder and a decoder of images."""

    data: str = setting("digits", "what to learn", choices=("digits", "mnist"))
    batch_size: int = with_default(Config, "batch_size", 128)
    latent: int = setting(16, "dimensions of the latent code", within=(1, 10**4))
    coders: str = setting("mlp", "dense or convolutional networks", choices=tuple(CODERS))


class Experiment:
    """A model in training on a data set. Each experiment adds `build`, `losses`, `sample` and `draw`.

    Without the data it can load a state and draw samples.
    """

    Config: ClassVar[Any] = Config
    title: ClassVar[str]

    samples_need_data: ClassVar[bool] = False

    warmup_steps: ClassVar[int] = 100
    betas: ClassVar[tuple[float, float]] = (0.9, 0.99)
    ema_decay: ClassVar[float] = 0.99

    beside: ClassVar[tuple[str, str]] = ("floor", "training points in their place")
    """What `evaluate` sets beside a measure: its name, and what is measured there."""

    fewest_evaluated: ClassVar[int] = 5
    """How many samples `evaluate` needs."""

    def __init__(self, config: Any, with_data: bool = True):
        self.config = config
        if with_data:
            self.data = self.load()
        T.manual_seed(config.seed)
        self.rng = np.random.default_rng(config.seed)
        self.model = self.build().to(config.device)
        parts = self.parts()
        self.optimizers = {name: nn.Adam(part.parameters(), config.lr, self.betas) for name, part in parts.items()}
        self.ema = nn.EMA(next(iter(parts.values())).parameters(), self.ema_decay)

    @property
    def shape(self) -> Any:
        """That of one image or point."""
        return data.SHAPES[self.config.data]

    def load(self) -> Any:
        """The data."""
        return data.load(self.config.data, self.config.data_dir)

    def build(self) -> Any:
        """The model, a new one."""
        raise NotImplementedError

    def parts(self) -> dict[str, nn.Module]:
        """The networks that each have a loss and an optimiser of their own. Of the first the weights are averaged."""
        return {"model": self.model}

    def losses(self, x: Tensor, labels: np.ndarray | None) -> dict[str, Tensor]:
        """What to log for a batch; "loss" is what training minimises."""
        raise NotImplementedError

    def sample(self, n: int, seed: int, *args: Any, **options: Any) -> np.ndarray:
        """n samples from the averaged weights, float32 (n, ...)."""
        raise NotImplementedError

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """In it the model has its averaged weights, and evaluates, without a graph; a ValueError, as of NaN, is Diverged."""
        self.model.eval()
        with self.ema.applied(), T.no_grad(), np.errstate(all="ignore"), one_blas_thread():
            try:
                yield
            except ValueError as error:
                raise Diverged(f"{error}: the weights are not finite, or far too large, and a lower --lr may help") from error
            finally:
                self.model.train()

    def computed(self, f: Callable[..., Tensor], x: np.ndarray, *others: np.ndarray) -> np.ndarray:
        """f of x, as a tensor, and of the arrays that go with it, a batch at a time: memory does not grow with the data."""
        parts = []
        size = max(1, BATCH * LARGE // max(LARGE, x[0].size))
        for k in range(0, len(x), size):
            rows = slice(k, k + size)
            y = f(Tensor(x[rows], dtype=np.float32, device=self.config.device), *(other[rows] for other in others))
            parts.append(y.numpy())
        return np.concatenate(parts)

    @staticmethod
    def finite(x: np.ndarray) -> np.ndarray:
        """x itself; Diverged if it holds NaN or infinities."""
        if not np.isfinite(x).all():
            raise Diverged("the outputs are not finite, for the weights have exploded: a lower --lr may help")
        return x

    def check_sampling(self, *args: Any, **options: Any) -> None:
        """ValueError unless `sample` can take these options."""
        if options:
            raise ValueError(f"{', '.join(map(flag, options))}: not for {self.title}")

    def draw(self, run: Run) -> None:
        """The pictures of a finished run."""
        raise NotImplementedError

    def draw_losses(self, run: Run, title: str, *names: str) -> None:
        """loss.png, of what was logged under these names. A run that has lost its metrics has none."""
        if metrics := run.metrics(*names):
            pictures.curves(run.path / "loss.png", metrics, names, f"{self.heading}: {title}")

    @property
    def heading(self) -> str:
        """What the pictures and the command line call it."""
        return f"{self.title} on {self.config.data}"

    @property
    def size(self) -> int:
        """How many parameters the model has."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def warning(self) -> str | None:
        """What is questionable about the settings."""
        return None

    def batch(self) -> tuple[Tensor, np.ndarray | None]:
        """Random training data, and its labels if it has any."""
        picked = self.rng.integers(len(self.data.train), size=self.config.batch_size)
        labels = None if self.data.train_labels is None else self.data.train_labels[picked]
        return Tensor(self.data.train[picked], device=self.config.device), labels

    @property
    def classes(self) -> int:
        """How many classes the model is told of: none, if it is not conditional."""
        return CLASSES if self.config.conditional else 0

    def told(self, labels: np.ndarray | None) -> np.ndarray | None:
        """The labels, if the model is conditional."""
        return labels if self.config.conditional else None

    def rate(self, k: int) -> float:
        """The share of the learning rate at step k: it warms up, and decays as a cosine."""
        return nn.schedules.warmup(k - 1, self.warmup_steps) * nn.schedules.cosine(k - 1, self.config.steps)

    def descend(self, part: str, loss: Tensor, k: int) -> None:
        """A step of one part down the gradient of its loss; the other parts keep still."""
        optimizer = self.optimizers[part]
        optimizer.zero_grad()
        loss.backward(inputs=optimizer.view.parameters)
        optimizer.lr = self.config.lr * self.rate(k)
        optimizer.step()

    def update(self, k: int) -> dict[str, Tensor]:
        """Move the weights once, and return what to log."""
        losses = self.losses(*self.batch())
        self.descend("model", losses["loss"], k)
        return losses

    def step(self, k: int) -> dict[str, float]:
        """An update of the weights, which their average follows."""
        try:
            losses = self.update(k)
        except ValueError as error:
            if k == 1:
                raise
            raise Diverged(f"{error}, at step {k}: a lower --lr may help") from error  # the shapes are those of the first step
        self.ema.update()
        return {name: loss.item() for name, loss in losses.items()}

    def state_dict(self) -> State:
        """Weights, their average, the optimisers and the random generator."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from a `state_dict`. KeyError or ValueError if it is of another model."""
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.rng.bit_generator.state = state["rng"]

    @property
    def most_evaluated(self) -> int:
        """How many samples can be compared with as many test points and as many training points."""
        return min(len(self.data.train), len(self.data.test))

    def evaluate(self, n: int, seed: int, *args: Any, **options: Any) -> Measures:
        """The measures of n samples."""
        return self.measures(self.sample(n, seed, *args, **options))

    def measures(self, fake: np.ndarray) -> Measures:
        """Of samples: each measure beside its floor, the same for as many real training points. Mixtures have modes."""
        real, floor = self.data.test[: len(fake)], self.data.train[: len(fake)]
        precision, recall = precision_recall(real, fake)
        best_precision, best_recall = precision_recall(real, floor)
        measures: Measures = {
            "Fréchet distance": (frechet_distance(real, fake), frechet_distance(real, floor)),
            "precision (k = 3)": (precision, best_precision),
            "recall (k = 3)": (recall, best_recall),
        }
        if self.config.data in data.MODES:
            pairs = zip(*(mode_coverage(x, *data.MODES[self.config.data]) for x in (fake, floor)))
            measures |= dict(zip(("modes covered", "good samples", "reverse KL, nats"), pairs))
        return measures


def in_turn(n: int) -> np.ndarray:
    """The classes of n samples, one after the other and again from the first: (n,)."""
    return np.arange(n) % CLASSES
