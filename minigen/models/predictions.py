"""What a network may predict of x_t: the noise, x_0, v, or the mean of the step back.

Each is a sum of x_0 and eps with weights that depend on t alone. With x_t, another such sum, that
is two equations for two unknowns: whichever is predicted, the others follow.

    x_t    sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps                        DDPM eq. 4
    noise  eps                                                                      DDPM eq. 14
    x0     x_0
    v      sqrt(alpha_bar_t) eps - sqrt(1 - alpha_bar_t) x_0           Salimans & Ho 2022 sec. 4
    mean   the mean of q(x_{t-1} | x_t, x_0)                                        DDPM eq. 7

v, which turns from eps at t = 0 into -x_0, tells both without a division by a small number. What
samplers take is a denoiser, though: from its noise they divide again.
"""

from collections.abc import Callable

import numpy as np

import nn
import tensor as T
from minigen.models.ddpm import LEAST_SIGNAL, Denoiser, Diffusion, at
from tensor import Tensor

PREDICTIONS = ("noise", "x0", "v", "mean")
WEIGHTINGS = ("simple", "bound")


class Prediction:
    """One of PREDICTIONS, for the timesteps 1..T of a process.

    Raises ValueError for another name.
    """

    def __init__(self, name: str, diffusion: Diffusion):
        a, b = np.maximum(diffusion.signal, LEAST_SIGNAL), diffusion.spread
        none, all_ = np.zeros_like(a), np.ones_like(a)
        of_x0, of_xt = diffusion.mean_of_x0, diffusion.mean_of_xt
        weights = {
            "noise": (none, all_),
            "x0": (all_, none),
            "v": (-b, a),
            "mean": (of_x0 + of_xt * a, of_xt * b),
        }
        if name not in weights:
            raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {name!r}")
        self.name, self.diffusion = name, diffusion
        self.of_x0, self.of_noise = weights[name]
        determinant = a * self.of_noise - b * self.of_x0
        determinant = np.copysign(np.maximum(abs(determinant), LEAST_SIGNAL), determinant)
        self.x0_from = self.of_noise / determinant, -b / determinant
        self.noise_from = -self.of_x0 / determinant, a / determinant
        error = of_x0 * self.x0_from[1]  # of the mean of x_{t-1}, for an error of 1
        self.bound_weight = np.append(0, error[1:] ** 2 / (2 * diffusion.beta[1:]))

    def target(self, x0: Tensor, noise: Tensor, t: np.ndarray | int) -> Tensor:
        """What the network should predict of q_sample(x0, t, noise)."""
        t = self.diffusion.checked(t, 1, x0, noise)
        return at(self.of_x0, t, x0) * x0 + at(self.of_noise, t, x0) * noise

    def loss(
        self, network: Callable, x0: Tensor, t: np.ndarray, noise: Tensor, *labels: np.ndarray,
        weighting: str = "simple",
    ) -> Tensor:  # fmt: skip
        """The mean square error of network(x_t, t, *labels); for the noise, DDPM eq. 14.

        weighting: "simple", or "bound" for the weight that eq. 14 drops: then it is the term
            L_{t-1} of the bound for sigma^2 = beta, but for what no network changes (eqs. 8 and
            12), in nats an element; L_0 is that of a density
        """
        predicted = network(self.diffusion.q_sample(x0, t, noise), t, *labels)
        target = self.target(x0, noise, t)
        if weighting == "simple":
            return nn.mse_loss(predicted, target)
        return T.mean(at(self.bound_weight, t, x0) * T.square(predicted - target))

    def x0(self, xt: Tensor, predicted: Tensor, t: np.ndarray | int) -> Tensor:
        """The x_0 that follows from x_t and what was predicted of it."""
        return self._solved(self.x0_from, xt, predicted, t)

    def noise(self, xt: Tensor, predicted: Tensor, t: np.ndarray | int) -> Tensor:
        """The noise that follows."""
        return self._solved(self.noise_from, xt, predicted, t)

    def _solved(self, weights: tuple, xt: Tensor, predicted: Tensor, t: np.ndarray | int) -> Tensor:
        t = self.diffusion.checked(t, 1, xt, predicted)
        of_xt, of_predicted = (at(table, t, xt) for table in weights)
        return of_xt * xt + of_predicted * predicted

    def denoiser(self, network: Callable) -> Denoiser:
        """The denoiser that a network (x_t, t) is."""
        return lambda xt, t: self.noise(xt, network(xt, t), t)
