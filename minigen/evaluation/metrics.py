"""How far generated points are from real ones, and whether they are good, varied, or both.

Points come one per row: raw pixels, or better the features of a trained network. Any trailing shape
is flattened, and everything is float64.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minigen.evaluation.neighbours import checked_points, squared_distances

Reals = NDArray[np.float64]


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """The squared Fréchet distance of Gaussians fitted to sets of points (FID: Heusel et al. 2017).

    `x` is (N, ...), `y` (M, ...). The fit takes the mean and the unbiased covariance. Small samples
    overestimate the distance, so compare values only between sets of the same sizes.

    Raises ValueError for fewer than two points, features that differ, or values not finite.
    """
    x, y = checked_points("frechet_distance", at_least=2, x=x, y=y)
    return _squared_distance(x.mean(axis=0), _root(x), y.mean(axis=0), _root(y))


def frechet_distance_gaussians(m1: ArrayLike, C1: ArrayLike, m2: ArrayLike, C2: ArrayLike) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^{1/2}), the squared distance (Dowson & Landau 1982).

    m1, m2 (D,) are means, C1, C2 (D, D) covariances, maybe singular. With C = F F^T the trace is

        min over orthogonal Q of |F1 - F2 Q|^2      (Frobenius norm; Bhatia, Jain & Lim 2019)

    and is found like this: a sum of squares is never complex or negative, and nothing cancels.

    Raises ValueError for shapes that do not fit, values not finite, and what is no covariance.
    """
    m1, C1 = _checked_gaussian("m1", m1, "C1", C1)
    m2, C2 = _checked_gaussian("m2", m2, "C2", C2)
    if m1.shape != m2.shape:
        raise ValueError(f"frechet_distance_gaussians: m1 has {len(m1)} features, m2 has {len(m2)}")
    return _squared_distance(m1, _factor("C1", C1), m2, _factor("C2", C2))


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Precision and recall of generated points (Kynkäänniemi et al. 2019, eqs. 1-2), each in 0..1.

    A set's manifold is the union of balls around its points, each reaching to the point's k-th
    nearest neighbour in the set. Precision is the share of `fake` (M, ...) on the manifold of
    `real` (N, ...): are samples good? Recall is the share of `real` on the manifold of `fake`: are
    they varied? Time grows with (N + M)^2 D, memory with (N + M) D.

    Raises ValueError for k < 1, k or fewer points, features that differ, or values not finite.
    """
    if k < 1:
        rule = "a ball reaches to a neighbour: k must be 1 or more"
        raise ValueError(f"precision_recall: k is {k}, but {rule}")
    real, fake = checked_points("precision_recall", at_least=k + 1, real=real, fake=fake)
    return _share_on_manifold(fake, real, k), _share_on_manifold(real, fake, k)


class ModeCoverage(NamedTuple):
    """How a mixture is covered: `modes` covered, share of `good` samples, `reverse_kl` in nats."""

    modes: int
    good: float
    reverse_kl: float


def mode_coverage(x: ArrayLike, centres: ArrayLike, sigma: float) -> ModeCoverage:
    """The measures of PacGAN (Lin et al. 2018) for samples x (N, D) of equally likely N(centre,
    sigma^2 I).

    A sample is good within 3 sigma of its nearest centre, and covers that mode. The reverse KL is
    that of the samples' histogram over their nearest centres from the uniform one, KL(histogram ||
    uniform), bad samples included; the authors' code leaves those out.

    Raises ValueError for no points, different numbers of features, or values that are not finite.
    """
    x, centres = checked_points("mode_coverage", at_least=1, x=x, centres=centres)
    squared = np.square(x[:, None] - centres).sum(2)  # (N, K): exact at the edge
    nearest = squared.argmin(1)
    good = squared.min(1) <= (3 * sigma) ** 2
    shares = np.bincount(nearest) / len(x)
    shares = shares[shares > 0]
    reverse_kl = float(shares @ np.log(len(centres) * shares))
    return ModeCoverage(len(np.unique(nearest[good])), float(good.mean()), reverse_kl)


def psnr(x: ArrayLike, y: ArrayLike, peak: float = 2.0) -> float:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / mean squared error) dB; [-1, 1] has peak 2.

    Infinite for equal images. Raises ValueError for shapes that differ, and for no pixels.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or not x.size:
        raise ValueError(f"psnr: expected pixels of one shape, got {x.shape} and {y.shape}")
    mse = np.mean((x - y) ** 2)
    return float("inf") if mse == 0 else float(10 * np.log10(peak**2 / mse))


def principal_angle(A: ArrayLike, B: ArrayLike) -> float:
    """The largest principal angle, in 0..pi/2, of the spans of the columns of A (D, k), B (D, k).

    It is 0 if and only if the spans are the same. The sine is computed, |(I - P_A) Q_B| (Björck &
    Golub 1973), for the cosine of a small angle is 1 but for rounding.

    Raises ValueError for other shapes, and for columns that span fewer than k dimensions.
    """
    A, B = np.asarray(A, np.float64), np.asarray(B, np.float64)
    rank = np.linalg.matrix_rank
    if A.ndim != 2 or A.shape != B.shape or min(rank(A), rank(B)) < A.shape[1]:
        expected = "expected (D, k) both, of independent columns"
        raise ValueError(f"principal_angle: A {A.shape} and B {B.shape}, {expected}")
    (P, _), (Q, _) = np.linalg.qr(A), np.linalg.qr(B)
    return float(np.arcsin(np.minimum(1, np.linalg.norm(Q - P @ (P.T @ Q), 2))))


def _squared_distance(m1: Reals, F1: Reals, m2: Reals, F2: Reals) -> float:
    """The distance by roots F1 (D, k), F2 (D, l) of the covariances; Q then is l x k."""
    if F1.shape[1] < F2.shape[1]:
        F1, F2 = F2, F1
    U, _, Vt = np.linalg.svd(F2.T @ F1, full_matrices=False)
    return float(np.sum((m1 - m2) ** 2) + np.sum((F1 - F2 @ (U @ Vt)) ** 2))


def _root(x: Reals) -> Reals:
    """F with F F^T the unbiased covariance of points x (N, D): (D, N) or (D, D), the smaller."""
    N, D = x.shape
    if N <= D:
        return (x - x.mean(axis=0)).T / np.sqrt(N - 1)
    return _factor("the covariance", np.atleast_2d(np.cov(x, rowvar=False)))


def _factor(name: str, C: Reals) -> Reals:
    """F with F F^T = C. Eigenvalues that rounding made are set to zero: the root magnifies them."""
    values, vectors = np.linalg.eigh(C)
    scale = np.abs(values).max()
    if values[0] < -1e-6 * scale:
        cause = f"{name} has the negative eigenvalue {values[0]:.3g}"
        raise ValueError(f"frechet_distance_gaussians: {cause}: no covariance")
    values[values < len(C) * np.finfo(np.float64).eps * scale] = 0
    return vectors * np.sqrt(values)


def _share_on_manifold(points: Reals, support: Reals, k: int) -> float:
    """The mean over `points` of f(point, support), eq. 1, by squared distances."""
    # The 0th smallest distance is a point's own, 0; copy() lets go of the block.
    among = squared_distances(support, support)
    radii = np.concatenate([np.partition(d, k, axis=1)[:, k].copy() for d in among])
    covered = np.concatenate([(d <= radii).any(axis=1) for d in squared_distances(points, support)])
    return float(covered.mean())


def _checked_gaussian(m_name: str, m: ArrayLike, C_name: str, C: ArrayLike) -> tuple[Reals, Reals]:
    m, C = np.asarray(m, dtype=np.float64), np.asarray(C, dtype=np.float64)
    where = "frechet_distance_gaussians"
    if m.ndim != 1 or C.shape != (m.size, m.size) or m.size == 0:
        found = f"{m_name} {m.shape} and {C_name} {C.shape}"
        raise ValueError(f"{where}: {found}, expected (D,) and (D, D)")
    if not (np.isfinite(m).all() and np.isfinite(C).all()):
        raise ValueError(f"{where}: {m_name} or {C_name} has values that are not finite")
    if np.abs(C - C.T).max() > 1e-6 * np.abs(C).max():
        raise ValueError(f"{where}: {C_name} is not symmetric: no covariance")
    return m, C
