"""The checks for coursework: right answers pass, and each of the usual mistakes is called by the
identity it breaks."""

import importlib
import math
import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tensor as T
from minigen import testing
from minigen.models.ddpm import Diffusion
from minigen.testing import (
    check_gaussian_entropy,
    check_gaussian_kl,
    check_kl_to_standard_normal,
    check_reparameterisation,
    diagonal_gaussians,
    schedules,
    spd_matrices,
)
from nn.distributions import Independent, Normal, kl_divergence
from tensor import Tensor

# Right answers: by the formulas, and by nn.distributions


def gaussian(mean: Tensor, log_var: Tensor) -> Independent:
    return Independent(Normal(mean, T.exp(0.5 * log_var)), 1)


def kl(mean_p: Tensor, log_var_p: Tensor, mean_q: Tensor, log_var_q: Tensor) -> Tensor:
    ratio = T.exp(log_var_p - log_var_q)
    return 0.5 * T.sum(
        ratio + T.square(mean_p - mean_q) / T.exp(log_var_q) - 1 - log_var_p + log_var_q, 1
    )


def kl_to_standard(mean: Tensor, log_var: Tensor) -> Tensor:
    return 0.5 * T.sum(T.square(mean) + T.exp(log_var) - 1 - log_var, 1)


def entropy(log_var: Tensor) -> Tensor:
    return T.sum(0.5 * log_var + 0.5 * math.log(2 * math.pi * math.e), 1)


def rsample(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
    return mean + T.exp(0.5 * log_var) * noise


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (check_gaussian_kl, kl),
        (check_gaussian_kl, lambda m, a, n, b: kl_divergence(gaussian(m, a), gaussian(n, b))),
        (check_kl_to_standard_normal, kl_to_standard),
        (check_kl_to_standard_normal, lambda m, a: kl(m, a, 0 * m, 0 * a)),
        (
            check_kl_to_standard_normal,
            lambda m, a: kl_divergence(gaussian(m, a), gaussian(0 * m, 0 * a)),
        ),
        (check_gaussian_entropy, entropy),
        (check_gaussian_entropy, lambda log_var: gaussian(0 * log_var, log_var).entropy()),
        (check_reparameterisation, rsample),
    ],
)
def test_right_answers_pass(check: Callable, right: Callable) -> None:
    check(right)


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """nn.distributions, with given numbers for noise."""

    def draw(mean: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
        monkeypatch.setattr("nn.distributions._noise", lambda like, shape, generator: noise)
        return gaussian(mean, log_var).rsample()

    return draw


def test_draws_of_the_distributions_pass(drawing: Callable) -> None:
    check_reparameterisation(drawing)


# Mistakes. Hypothesis shows them at the simplest numbers: where a value happens to be right there,
# its derivative is not

SAME, RATIO = "KL(p || p) = 0", "KL(p || q) = E over p of log p - log q"
STANDARD = "KL = E over p of log p - log N(0, I)"
ENTROPY = "H = E of -log p"


MISTAKES: dict[str, tuple[Callable, Callable, str]] = {
    # KL(p || q)
    "log_var as std": (check_gaussian_kl, lambda m, a, n, b: kl(m, 2 * a, n, 2 * b), RATIO),
    "no half": (check_gaussian_kl, lambda *pq: 2 * kl(*pq), RATIO),
    "a half forgotten in one term": (
        check_gaussian_kl,
        lambda m, a, n, b: kl(m, a, n, b) + 0.5 * T.sum(T.exp(a - b) - 1, 1),
        RATIO,
    ),
    "mean over dimensions": (check_gaussian_kl, lambda *pq: kl(*pq) / pq[0].shape[1], RATIO),
    "sum over everything": (
        check_gaussian_kl,
        lambda *pq: T.sum(kl(*pq)),
        "expected one number per Gaussian",
    ),
    "no sum at all": (
        check_gaussian_kl,
        lambda m, a, n, b: kl(m, a, n, b)[:, None] + 0 * m,
        "expected one number per Gaussian",
    ),
    "sigma and log sigma swapped": (
        check_gaussian_kl,
        lambda m, a, n, b: kl(m, 2 * T.exp(0.5 * a), n, 2 * T.exp(0.5 * b)),
        RATIO,
    ),
    "KL(q || p)": (check_gaussian_kl, lambda m, a, n, b: kl(n, b, m, a), RATIO),
    "no -1": (check_gaussian_kl, lambda *pq: kl(*pq) + 0.5 * pq[0].shape[1], SAME),
    "gradients lost": (
        check_gaussian_kl,
        lambda m, a, n, b: kl(m, a.detach(), n, b),
        "derivatives by input 1 are wrong",
    ),
    "not a number": (check_gaussian_kl, lambda m, a, n, b: kl(m, T.log(a * a - 5), n, b), SAME),
    # KL(p || N(0, I))
    "standard: log_var as std": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m, 2 * a),
        STANDARD,
    ),
    "standard: no half": (
        check_kl_to_standard_normal,
        lambda m, a: 2 * kl_to_standard(m, a),
        STANDARD,
    ),
    "standard: mean over dimensions": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m, a) / m.shape[1],
        STANDARD,
    ),
    "standard: mean over the batch": (
        check_kl_to_standard_normal,
        lambda m, a: T.mean(kl_to_standard(m, a)),
        "one number per",
    ),
    "standard: sigma and log sigma swapped": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m, 2 * T.exp(0.5 * a)),
        STANDARD,
    ),
    "standard: KL(N(0, I) || p)": (
        check_kl_to_standard_normal,
        lambda m, a: kl(0 * m, 0 * a, m, a),
        STANDARD,
    ),
    "standard: sign of log_var": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m, a) + T.sum(a, 1),
        ("dKL/dlog_var", "KL = E over p"),  # at log_var = 0 the value is right
    ),
    "standard: no gradient by the mean": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m.detach() + 0 * m, a),
        "dKL/dmean = mean",
    ),
    "standard: no gradient by log_var": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m, a.detach() + 0 * a),
        "dKL/dlog_var = (exp(log_var) - 1) / 2",
    ),
    "standard: cut off from the mean": (
        check_kl_to_standard_normal,
        lambda m, a: kl_to_standard(m.detach(), a),
        "no gradient flows from KL to mean",
    ),
    # Entropy
    "entropy without its constant": (check_gaussian_entropy, lambda a: 0.5 * T.sum(a, 1), ENTROPY),
    "entropy without e": (check_gaussian_entropy, lambda a: entropy(a) - 0.5 * a.shape[1], ENTROPY),
    "entropy: log_var as std": (check_gaussian_entropy, lambda a: entropy(2 * a), "dH/dlog_var"),
    "entropy: mean over dimensions": (
        check_gaussian_entropy,
        lambda a: entropy(a) / a.shape[1],
        ENTROPY,
    ),
    "entropy: sign": (check_gaussian_entropy, lambda a: -entropy(a), ENTROPY),
    "entropy: no gradient": (
        check_gaussian_entropy,
        lambda a: entropy(a.detach()),
        "no gradient flows from H to log_var",
    ),
    "entropy: half a gradient": (
        check_gaussian_entropy,
        lambda a: entropy(0.5 * a + 0.5 * a.detach()),
        "dH/dlog_var = 1/2",
    ),
    # Draws
    "variance as std": (check_reparameterisation, lambda m, a, e: m + T.exp(a) * e, "E[z^2]"),
    "log_var as std in draws": (check_reparameterisation, lambda m, a, e: m + a * e, "E[z^2]"),
    "mean forgotten": (
        check_reparameterisation,
        lambda m, a, e: T.exp(0.5 * a) * e,
        "no gradient flows from z to mean",
    ),
    "noise forgotten": (check_reparameterisation, lambda m, a, e: m + 0 * a, "E[z^2]"),
    "no gradient": (
        check_reparameterisation,
        lambda *args: rsample(*args).detach(),
        "no gradient flows from z to mean",
    ),
    "no gradient to the mean": (
        check_reparameterisation,
        lambda m, a, e: rsample(m.detach(), a, e),
        "no gradient flows from z to mean",
    ),
    "no gradient to log_var": (
        check_reparameterisation,
        lambda m, a, e: rsample(m, a.detach(), e),
        "no gradient flows from z to log_var",
    ),
    "half a gradient": (
        check_reparameterisation,
        lambda m, a, e: rsample(0.5 * m + 0.5 * m.detach(), a, e),
        "dE[z]/dmean",
    ),
    "half a gradient to log_var": (
        check_reparameterisation,
        lambda m, a, e: rsample(m, 0.5 * a + 0.5 * a.detach(), e),
        "dE[z^2]/dlog_var",
    ),
    "draws of another shape": (
        check_reparameterisation,
        lambda m, a, e: rsample(m, a, e)[:, 0],
        "expected draws",
    ),
}


@pytest.mark.parametrize(("check", "wrong", "identity"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_are_called_by_the_identity_they_break(
    check: Callable, wrong: Callable, identity: str | tuple[str, ...]
) -> None:
    """One of them, where a mistake breaks more."""
    with pytest.raises(AssertionError) as caught, np.errstate(all="ignore"):
        check(wrong)
    identities = (identity,) if isinstance(identity, str) else identity
    assert any(broken in str(caught.value) for broken in identities)


# Strategies


@given(data=st.data(), d=st.integers(1, 4))
def test_spd_matrices_are_symmetric_and_positive_definite(data: st.DataObject, d: int) -> None:
    S = data.draw(spd_matrices(d))
    assert S.shape == (d, d) and S.dtype == np.float64 and np.array_equal(S, S.T)
    assert np.linalg.eigvalsh(S).min() > 0.2 and np.isfinite(np.linalg.cholesky(S)).all()


@given(beta=schedules(7))
def test_schedules_make_diffusions(beta: np.ndarray) -> None:
    diffusion = Diffusion(beta)
    assert 1 <= diffusion.T <= 7 and beta.dtype == np.float64 and (diffusion.alpha_bar > 0).all()


@given(data=st.data(), shape=st.none() | st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_gaussians_are_leaves_of_one_shape(data: st.DataObject, shape: tuple | None) -> None:
    mean, log_var = data.draw(diagonal_gaussians(shape))
    assert mean.shape == log_var.shape and mean.ndim == 2 and (shape is None or mean.shape == shape)
    assert all(x.requires_grad and x.is_leaf and x.dtype == np.float64 for x in (mean, log_var))


def test_mistakes_are_found_under_python_O() -> None:
    """It drops every `assert`, and a check must not pass for that."""
    code = "from minigen.testing import check_kl_to_standard_normal as check\n"
    code += "check(lambda mean, log_var: (mean**2).sum(1))"
    process = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True)
    assert process.returncode == 1
    assert re.search("AssertionError: (no gradient flows from )?KL ", process.stderr)


def test_without_hypothesis_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError, match=r"needs Hypothesis: pip install -e '\.\[test\]'"):
        importlib.reload(testing)
