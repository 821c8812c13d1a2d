"""Editing with a diffusion model that was trained for none of it: three ways to sample.

    inpaint           RePaint (Lugmayr et al. 2022); without repeats, replacement (Song,
                      Sohl-Dickstein et al. 2021)
    image_to_image    SDEdit (Meng et al. 2022)
    mix               interpolation (Ho et al. 2020, fig. 8)

They are generators of `SamplerState`s like the samplers of `Diffusion`, whose steps they take:
`variance` and `clip_x0` are those of `Diffusion.ancestral`.
"""

import math

import numpy as np

import tensor as T
from minigen.models.ddpm import Denoiser, Diffusion, Rng, SamplerState, States, step_noise
from tensor import Tensor

REPEATS, STRENGTH = 10, 0.3


def inpaint(
    diffusion: Diffusion, denoiser: Denoiser, x0: Tensor, known: Tensor, rng: Rng,
    repeats: int = REPEATS, variance: str = "beta", clip_x0: float | None = 1.0,
) -> States:  # fmt: skip
    """RePaint Algorithm 1: x_0 where it is `known`, and elsewhere what goes with that.

    After each step the known part is replaced by a draw from q(x_{t-1} | x_0), RePaint eq. 8, which
    has no regard for the rest. So that both come to agree, every step is taken `repeats` times, and
    noise leads back to x_t in between. The paper also leads back over several steps at once; at the
    same cost that was no better on Gaussian data and digits. The indices are those of the forward
    process, where the paper prints t for t - 1 (eq. 8a) and t - 1 for t (line 10).

    x0: images (N, ...); what they hold where they are not known counts for nothing
    known: bool (N, ...), True where x_0 is known, the paper's m = 1
    repeats: the paper's U; 1 is replacement alone

    Raises ValueError, once a state is asked for, for another `known`, and for `repeats` below 1.
    """
    if known.dtype != bool or known.shape != x0.shape:
        got = f"got {known.dtype} {known.shape}"
        raise ValueError(f"inpaint: known must be bool and of shape {x0.shape}, {got}")
    if repeats < 1:
        raise ValueError(f"inpaint: repeats must be 1 or more, got {repeats}")
    sigma = np.sqrt(diffusion.variance(variance))
    x = T.randn_like(x0, generator=rng)  # line 1
    yield SamplerState(diffusion.T, x, None)
    for t in range(diffusion.T, 0, -1):  # line 2
        for u in range(repeats if t > 1 else 1):  # line 3
            if u > 0:  # lines 9 and 10, and DDPM eq. 2
                alpha, beta = diffusion.alpha[t], diffusion.beta[t]
                x = math.sqrt(alpha) * x + math.sqrt(beta) * T.randn_like(x, generator=rng)
                yield SamplerState(t, x, None)
            z = step_noise(x, t, rng)  # lines 4 and 6: no pixel needs both
            noise = float(sigma[t]) * z
            unknown, seen = diffusion.p_sample(denoiser, x, t, noise, clip_x0)  # line 7
            x = T.where(known, diffusion.q_sample(x0, t - 1, z), unknown)  # lines 5 and 8
            yield SamplerState(t - 1, x, seen)


def image_to_image(
    diffusion: Diffusion, denoiser: Denoiser, x0: Tensor, rng: Rng, strength: float = STRENGTH,
    variance: str = "beta", clip_x0: float | None = 1.0,
) -> States:  # fmt: skip
    """SDEdit: noise is added to x_0, a draw from q(x_t | x_0), and taken away by Algorithm 2.

    x0: images (N, ...), such as rough sketches
    strength: t is this share of T, at least 1; at 1 all that is left of x_0 is sqrt(alpha_bar_T)

    Raises ValueError, once a state is asked for, unless `strength` is above 0 and at most 1.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must be above 0 and at most 1, got {strength}")
    t = max(1, round(strength * diffusion.T))
    x = diffusion.q_sample(x0, t, T.randn_like(x0, generator=rng))
    yield from diffusion.ancestral(denoiser, x, rng, variance, clip_x0, start=t)


def mix(
    diffusion: Diffusion, denoiser: Denoiser, x0: Tensor, y0: Tensor, weight: float, rng: Rng,
    strength: float = STRENGTH, variance: str = "beta", clip_x0: float | None = 1.0,
) -> States:  # fmt: skip
    """Two images interpolated: Algorithm 2 from (1 - lambda) x_t + lambda y_t, DDPM fig. 8.

    x_t and y_t have the same noise, where the paper draws one for each: so their mixture is as
    noisy as they are, and eq. 4 makes of the mixture of x_0 and y_0 just that of x_t and y_t.

    x0, y0: images (N, ...)
    weight: lambda; 0 gives what `image_to_image` makes of x_0, 1 what it makes of y_0
    strength: as in `image_to_image`; same errors

    Raises ValueError for images of different shapes.
    """
    if x0.shape != y0.shape:
        raise ValueError(f"mix: x0 and y0 must be of one shape, got {x0.shape} and {y0.shape}")
    mixture = (1 - weight) * x0 + weight * y0
    return image_to_image(diffusion, denoiser, mixture, rng, strength, variance, clip_x0)
