"""Guidance on mixtures of Gaussians, of which scores, denoisers and classifiers are known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tensor as T
from minigen.models.ddpm import Diffusion
from minigen.models.guidance import classifier_free, classifier_guided, dropped
from minigen.models.mixture import Mixture
from tensor import Tensor
from tests.minigen.oracles import close, diffusions

mixtures = st.builds(
    Mixture,
    hnp.arrays(float, (3, 2), elements=st.floats(-2, 2)),
    st.floats(0.3, 1.5),
    hnp.arrays(float, 3, elements=st.floats(0.2, 1)),
)
scales = st.floats(-1, 5)
points = hnp.arrays(float, (8, 2), elements=st.floats(-2, 2))


class Class:
    """What is exact for the class k of a mixture."""

    def __init__(self, mixture: Mixture, diffusion: Diffusion, k: int):
        self.mixture, self.diffusion, self.k = mixture, diffusion, k
        alone = Mixture(mixture.means[k : k + 1], mixture.std[k : k + 1])
        self.conditional, self.unconditional = (m.denoiser(diffusion) for m in (alone, mixture))

    def classifier(self, x: Tensor, t: np.ndarray) -> Tensor:
        signal, spread = self.diffusion.signal[t], self.diffusion.spread[t]
        return T.log(self.mixture.posterior(x, signal, spread)[:, self.k])


scenes = st.builds(Class, mixtures, diffusions, st.integers(0, 2))


def every_time(scene: Class, x: np.ndarray) -> tuple[Tensor, np.ndarray]:
    return Tensor(x), np.arange(len(x)) % scene.diffusion.T + 1


def near(expected: np.ndarray) -> Any:
    return pytest.approx(expected, rel=1e-6, abs=1e-7)


@given(scene=scenes, x=points)
def test_guided_once_by_the_right_classifier_all_classes_become_the_one(
    scene: Class, x: np.ndarray
) -> None:
    """Bayes' rule."""
    given = every_time(scene, x)
    guided = classifier_guided(scene.unconditional, scene.classifier, scene.diffusion, 1.0)
    assert guided(*given).numpy() == near(scene.conditional(*given).numpy())


@given(scene=scenes, x=points, w=scales)
def test_guidance_without_a_classifier_is_guidance_by_the_right_one(
    scene: Class, x: np.ndarray, w: float
) -> None:
    given, diffusion = every_time(scene, x), scene.diffusion
    free = classifier_free(scene.conditional, scene.unconditional, w)
    guided = classifier_guided(scene.unconditional, scene.classifier, diffusion, 1 + w)
    assert free(*given).numpy() == near(guided(*given).numpy())


@given(scene=scenes, x=points, w=scales)
def test_the_guided_score_is_that_of_p_x_times_p_c_given_x_to_the_1_plus_w(
    scene: Class, x: np.ndarray, w: float
) -> None:
    _, t = every_time(scene, x)
    leaf = Tensor(x, requires_grad=True)
    at_t = scene.diffusion.signal[t], scene.diffusion.spread[t]
    log_p = scene.mixture.log_prob(leaf, *at_t) + (1 + w) * scene.classifier(leaf, t)
    (score,) = T.grad(log_p.sum(), leaf)
    eps = classifier_free(scene.conditional, scene.unconditional, w)(leaf.detach(), t)
    assert eps.numpy() == near(-scene.diffusion.spread[t, None] * score.numpy())


@given(scene=scenes, x=points)
def test_without_guidance_the_class_is_as_it_is(scene: Class, x: np.ndarray) -> None:
    given = every_time(scene, x)
    free = classifier_free(scene.conditional, scene.unconditional, 0.0)
    assert free(*given).numpy() == close(scene.conditional(*given).numpy())


@given(share=st.sampled_from([0.0, 0.1, 0.5, 1.0]), seed=st.integers(0, 99))
def test_a_share_of_labels_is_dropped_at_random(share: float, seed: int) -> None:
    labels, rng = np.arange(20_000) % 10, np.random.default_rng(seed)
    kept = dropped(labels, share, 10, rng)
    gone = kept == 10
    assert np.array_equal(kept[~gone], labels[~gone])
    assert gone.mean() == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 20_000))
    by_class = np.bincount(labels[gone], minlength=10) / 2000
    assert by_class == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 2000))
