"""Metrics: distances, precision/recall, mode coverage and k-NN against closed forms, invariances
and the textbook loop."""

import tracemalloc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen.data import planar
from minigen.evaluation.metrics import (
    frechet_distance,
    frechet_distance_gaussians,
    mode_coverage,
    precision_recall,
    principal_angle,
    psnr,
)
from minigen.evaluation.neighbours import knn_classify, squared_distances

seeds = st.integers(0, 2**32 - 1)
dims = st.integers(1, 6)
scales = st.sampled_from([1e-6, 1.0, 1e6])


def gaussian(
    rng: np.random.Generator, D: int, rank: int, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    factor = rng.standard_normal((D, rank)) * scale
    return rng.standard_normal(D) * scale, factor @ factor.T


def rotation(rng: np.random.Generator, D: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((D, D)))[0]


def naive_frechet(m1, C1, m2, C2) -> float:
    """The formula as it stands: tr (C1 C2)^{1/2} is the sum of the roots of the eigenvalues of the
    product."""
    roots = np.sqrt(np.linalg.eigvals(C1 @ C2).astype(complex))
    return float(np.sum((m1 - m2) ** 2) + np.trace(C1 + C2) - 2 * roots.sum().real)


def naive_precision_recall(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    def on_manifold(point: np.ndarray, support: np.ndarray) -> bool:
        for i, centre in enumerate(support):
            others = sorted(
                np.linalg.norm(centre - other) for j, other in enumerate(support) if j != i
            )
            if np.linalg.norm(point - centre) <= others[k - 1]:
                return True
        return False

    precision = np.mean([on_manifold(point, real) for point in fake])
    recall = np.mean([on_manifold(point, fake) for point in real])
    return float(precision), float(recall)


def naive_mode_coverage(
    x: np.ndarray, centres: np.ndarray, sigma: float
) -> tuple[int, float, float]:
    counts, good, covered = [0] * len(centres), 0, set()
    for point in x:
        distances = [np.linalg.norm(point - centre) for centre in centres]
        mode = distances.index(min(distances))
        counts[mode] += 1
        if distances[mode] <= 3 * sigma:
            good += 1
            covered.add(mode)
    shares = [count / len(x) for count in counts if count]
    return len(covered), good / len(x), sum(p * np.log(p * len(centres)) for p in shares)


def naive_knn(train: np.ndarray, labels: np.ndarray, x: np.ndarray, k: int) -> list:
    def label(point: np.ndarray):
        nearest = sorted(range(len(train)), key=lambda i: np.sum((train[i] - point) ** 2))[:k]
        votes = [labels[i] for i in nearest]
        return max(votes, key=votes.count)  # the first of those with most votes

    return [label(point) for point in x]


@given(seed=seeds, D=dims, scale=scales)
def test_frechet_equals_the_formula(seed: int, D: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    p, q = gaussian(rng, D, rank=D + 2, scale=scale), gaussian(rng, D, rank=D + 2, scale=scale)
    assert np.isclose(
        frechet_distance_gaussians(*p, *q), naive_frechet(*p, *q), rtol=1e-6, atol=1e-9 * scale**2
    )


@given(seed=seeds, D=dims)
def test_frechet_of_diagonal_gaussians_is_a_distance_of_means_and_deviations(
    seed: int, D: int
) -> None:
    rng = np.random.default_rng(seed)
    m1, m2 = rng.standard_normal((2, D))
    s1, s2 = rng.random((2, D)) * rng.integers(2, size=(2, D))
    expected = np.sum((m1 - m2) ** 2) + np.sum((s1 - s2) ** 2)
    assert np.isclose(
        frechet_distance_gaussians(m1, np.diag(s1**2), m2, np.diag(s2**2)),
        expected,
        rtol=1e-10,
        atol=1e-12,
    )


@given(seed=seeds, D=dims, rank=dims)
def test_frechet_is_symmetric_and_zero_for_equals(seed: int, D: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = gaussian(rng, D, min(rank, D)), gaussian(rng, D, D)
    assert np.isclose(
        frechet_distance_gaussians(*p, *q),
        frechet_distance_gaussians(*q, *p),
        rtol=1e-10,
        atol=1e-12,
    )
    assert 0 <= frechet_distance_gaussians(*p, *p) < 1e-24 * max(1, np.trace(p[1]))


@given(seed=seeds, D=dims, rank=dims)
def test_frechet_is_invariant_under_rigid_motions_even_without_full_rank(
    seed: int, D: int, rank: int
) -> None:
    rng = np.random.default_rng(seed)
    (m1, C1), (m2, C2) = gaussian(rng, D, min(rank, D)), gaussian(rng, D, min(rank, D))
    R, shift = rotation(rng, D), rng.standard_normal(D)
    moved = frechet_distance_gaussians(R @ m1 + shift, R @ C1 @ R.T, R @ m2 + shift, R @ C2 @ R.T)
    assert np.isclose(moved, frechet_distance_gaussians(m1, C1, m2, C2), rtol=1e-10, atol=1e-12)


@given(seed=seeds, D=dims, rank=dims)
def test_frechet_obeys_the_triangle_inequality(seed: int, D: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    p, q, r = (gaussian(rng, D, min(rank, D)) for _ in range(3))
    pq, qr, pr = (np.sqrt(frechet_distance_gaussians(*a, *b)) for a, b in ((p, q), (q, r), (p, r)))
    assert pr <= pq + qr + 1e-9


@given(exponent=st.integers(-14, -1))
def test_frechet_is_accurate_for_gaussians_that_nearly_agree(exponent: int) -> None:
    """(sqrt(1 + e) - 1)^2 is about e^2 / 4, far below the rounding of the traces that the formula
    subtracts."""
    e = 10.0**exponent
    C = np.diag([1.0, 4.0])
    expected = np.square(e / (np.sqrt(1 + e) + 1))
    near = frechet_distance_gaussians([0, 0], C, [0, 0], np.diag([1 + e, 4.0]))
    assert np.isclose(near, expected, rtol=1e-3 if e > 1e-12 else 0.3, atol=0)


@given(seed=seeds, n=st.integers(2, 12), m=st.integers(2, 12), D=dims)
def test_frechet_fits_mean_and_covariance(seed: int, n: int, m: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((n, D)), 3 + rng.standard_normal((m, D))
    fits = (a for points in (x, y) for a in (points.mean(0), np.cov(points.T).reshape(D, D)))
    assert np.isclose(
        frechet_distance(x, y), frechet_distance_gaussians(*fits), rtol=1e-10, atol=1e-12
    )


def test_frechet_flattens_and_computes_in_float64() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 30, 1, 4, 4)).astype(np.float32)
    far = np.float32(1000)
    assert frechet_distance(x, y) == frechet_distance(x.reshape(30, 16), y.reshape(30, 16))
    assert np.isclose(frechet_distance(x + far, y + far), frechet_distance(x, y), rtol=1e-3)
    assert frechet_distance(x[:, 0, 0, 0], y[:, 0, 0, 0]) > 0


def test_frechet_works_with_fewer_points_than_features() -> None:
    x = np.random.default_rng(0).standard_normal((5, 64))
    shift = np.zeros(64)
    shift[0] = 3
    assert frechet_distance(x, x) < 1e-20
    assert np.isclose(frechet_distance(x, x + shift), 9)


@given(seed=seeds, n=st.integers(5, 12), m=st.integers(5, 12), D=dims, k=st.integers(1, 4))
def test_precision_recall_equal_the_loop(seed: int, n: int, m: int, D: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.standard_normal((n, D)), 1 + rng.standard_normal((m, D))
    assert precision_recall(real, fake, k) == pytest.approx(naive_precision_recall(real, fake, k))


small_lattice = hnp.arrays(
    np.int64, st.tuples(st.integers(4, 9), st.just(1)), elements=st.integers(-3, 3)
)


@given(
    real=small_lattice, fake=small_lattice, k=st.integers(1, 3), offset=st.sampled_from([0, 2**40])
)
def test_precision_recall_count_ties_and_duplicates_even_far_from_the_origin(
    real, fake, k: int, offset: int
) -> None:
    assert precision_recall(real + offset, fake + offset, k) == pytest.approx(
        naive_precision_recall(real, fake, k)
    )


@given(seed=seeds, n=st.integers(4, 30), D=dims)
def test_precision_recall_of_a_set_with_itself_are_one(seed: int, n: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, D))[rng.integers(n, size=n)]
    assert precision_recall(points, rng.permutation(points)) == (1, 1)


@given(seed=seeds, D=dims)
def test_precision_recall_of_far_sets_are_zero(seed: int, D: int) -> None:
    x = np.random.default_rng(seed).standard_normal((20, D))
    assert precision_recall(x, x + 100) == (0, 0)


@given(seed=seeds, n=st.integers(5, 12), m=st.integers(5, 12), D=dims)
def test_precision_recall_change_places_with_the_sets(seed: int, n: int, m: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.standard_normal((n, D)), rng.standard_normal((m, D))
    assert precision_recall(real, fake) == precision_recall(fake, real)[::-1]


def test_precision_and_recall_tell_quality_from_variety() -> None:
    rng = np.random.default_rng(0)
    modes = np.array([[0.0, 0.0], [100.0, 0.0]])
    real = np.concatenate([mode + rng.standard_normal((50, 2)) for mode in modes])
    collapsed = rng.permutation(real[:50])
    scattered = np.concatenate([real, rng.uniform(1000, 9000, size=(100, 2))])
    assert precision_recall(real, collapsed) == (1, 0.5)
    assert precision_recall(real, scattered) == (0.5, 1)


def classified_by_place(train: np.ndarray, x: np.ndarray) -> tuple:
    return tuple(knn_classify(train, np.arange(len(train)) % 3, x))


@pytest.mark.parametrize("measure", [precision_recall, classified_by_place])
def test_distances_are_held_in_blocks(measure) -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal((2, 1500, 4))
    tracemalloc.start()
    measure(real, fake)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # the table of distances would take 18 MB


@pytest.mark.parametrize("measure", [precision_recall, classified_by_place])
@given(seed=seeds, n=st.integers(5, 30), m=st.integers(5, 30), block=st.integers(1, 100))
def test_blocks_join_seamlessly(measure, seed: int, n: int, m: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    real, fake = rng.standard_normal((n, 2)), rng.standard_normal((m, 2))
    with patch("minigen.evaluation.neighbours.BLOCK", block):
        in_blocks = measure(real, fake)
    assert in_blocks == measure(real, fake)


@pytest.mark.parametrize(
    ("centres", "sigma"), [(planar.ring_centres(), 0.01), (planar.grid_centres(), 0.05)]
)
def test_mode_coverage_of_the_centres_is_perfect_and_of_one_of_them_collapsed(
    centres: np.ndarray, sigma: float
) -> None:
    assert mode_coverage(np.tile(centres, (3, 1)), centres, sigma) == pytest.approx(
        (len(centres), 1, 0)
    )
    assert mode_coverage(np.tile(centres[3], (9, 1)), centres, sigma) == pytest.approx(
        (1, 1, np.log(len(centres)))
    )


def test_mode_coverage_by_hand() -> None:
    """Modes 0, 1 and 2 of 4 have 4, 2 and 1 of 7 samples as their nearest, of which 3, 1 and 0 are
    good. The reverse KL is of the 7; in the authors' code of PacGAN it is of the 4 good ones."""
    x, centres = [[0], [2], [-3], [4], [11], [14.9], [23.5]], [[0], [10], [20], [30]]
    reverse_kl = (4 * np.log(16 / 7) + 2 * np.log(8 / 7) + np.log(4 / 7)) / 7
    assert mode_coverage(x, centres, sigma=1) == pytest.approx((2, 4 / 7, reverse_kl))


def test_a_sample_is_good_up_to_three_sigma_in_any_direction() -> None:
    centres = [[0.0, 0.0], [40.0, 0.0]]
    assert mode_coverage([[15.0, 0.0], [9.0, 12.0]], centres, sigma=5).good == 1
    assert mode_coverage(
        [[np.nextafter(15, 16), 0.0], [12.0, 12.0]], centres, sigma=5
    ) == pytest.approx((0, 0, np.log(2)))


@given(seed=seeds, n=st.integers(1, 30), K=st.integers(1, 6), D=st.integers(1, 3))
def test_mode_coverage_equals_the_loop(seed: int, n: int, K: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    x, centres = 2 * rng.standard_normal((n, D)), 2 * rng.standard_normal((K, D))
    assert mode_coverage(x, centres, 0.3) == pytest.approx(naive_mode_coverage(x, centres, 0.3))


@given(seed=seeds, n=st.integers(1, 30), K=st.integers(1, 6), scale=scales)
def test_mode_coverage_is_invariant_under_order_repetition_and_similarity(
    seed: int, n: int, K: int, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    x, centres = 2 * rng.standard_normal((n, 2)), 2 * rng.standard_normal((K, 2))
    R, shift = scale * rotation(rng, 2), scale * rng.standard_normal(2)
    moved_x, moved_centres = (
        np.tile(rng.permutation(x), (2, 1)) @ R + shift,
        rng.permutation(centres) @ R + shift,
    )
    coverage = mode_coverage(x, centres, 0.3)
    assert mode_coverage(moved_x, moved_centres, 0.3 * scale) == pytest.approx(coverage)
    assert 0 <= coverage.modes <= min(n, K) and 0 <= coverage.good <= 1
    assert -1e-12 <= coverage.reverse_kl <= np.log(K) + 1e-12


def test_mode_coverage_of_the_mixture_itself_is_nearly_perfect() -> None:
    x = planar.grid(2_500, np.random.default_rng(0))
    modes, good, reverse_kl = mode_coverage(x, planar.grid_centres(), planar.GRID_SIGMA)
    within, n = 1 - np.exp(-4.5), 2_500
    assert modes == 25 and abs(good - within) < 5 * np.sqrt(within * (1 - within) / n)
    assert (
        0 < 2 * n * reverse_kl < 24 + 5 * np.sqrt(48)
    )  # Wilks: about chi-squared with 24 degrees of freedom


lattices = st.integers(1, 3).flatmap(
    lambda D: st.tuples(
        *[
            hnp.arrays(
                np.int64, st.tuples(st.integers(1, 9), st.just(D)), elements=st.integers(-2, 2)
            )
        ]
        * 2
    )
)


@given(points=lattices, data=st.data())
def test_knn_equals_the_loop_ties_included(points, data: st.DataObject) -> None:
    train, x = points
    labels = data.draw(hnp.arrays(np.int64, len(train), elements=st.integers(-1, 2)))
    k = data.draw(st.integers(1, len(train)))
    assert knn_classify(train, labels, x, k).tolist() == naive_knn(train, labels, x, k)


def test_knn_takes_the_majority_and_among_equals_the_nearest() -> None:
    train, labels = [[0.0], [1.0], [2.0], [10.0]], ["near", "far", "far", "farthest"]
    assert [knn_classify(train, labels, [[0.1]], k).item() for k in (1, 2, 3, 4)] == [
        "near",
        "near",
        "far",
        "far",
    ]
    assert knn_classify(np.arange(300)[::-1] % 2, np.arange(300), [0.0], k=1) == [
        1
    ]  # the first of 150 equally near


@given(seed=seeds, n=st.integers(1, 20), D=dims)
def test_knn_knows_its_own_points(seed: int, n: int, D: int) -> None:
    train = np.random.default_rng(seed).standard_normal((n, D, 2))
    assert np.array_equal(knn_classify(train, np.arange(n), train, k=1), np.arange(n))


NAN = np.array([[1.0, np.nan], [np.inf, 0.0], [1.0, 1.0], [2.0, 2.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet_distance(np.zeros((1, 3)), np.zeros((4, 3))), "x has 1 points, needs 2"),
        (lambda: frechet_distance(np.zeros((4, 3)), np.zeros((0, 3))), "y has 0 points, needs 2"),
        (lambda: frechet_distance(np.zeros((4, 3)), np.zeros((4, 2, 2))), "x has 3, y has 4"),
        (lambda: frechet_distance(NAN, NAN[2:]), "x has 2 values that are not finite"),
        (lambda: frechet_distance(np.zeros((4, 0)), np.zeros((4, 0))), r"shape \(4, 0\)"),
        (lambda: frechet_distance(3.0, np.zeros((4, 0))), r"shape \(\), expected \(N, ...\)"),
        (
            lambda: precision_recall(np.zeros((3, 2)), np.zeros((9, 2))),
            "real has 3 points, needs 4",
        ),
        (
            lambda: precision_recall(np.zeros((9, 2)), np.zeros((5, 2)), k=5),
            "fake has 5 points, needs 6",
        ),
        (lambda: precision_recall(np.zeros((9, 2)), np.zeros((9, 3))), "real has 2, fake has 3"),
        (lambda: precision_recall(np.zeros((9, 2)), NAN), "fake has 2 values that are not finite"),
        (lambda: precision_recall(np.zeros((9, 2)), np.zeros((9, 2)), k=0), "k is 0"),
        (lambda: mode_coverage(np.zeros((0, 2)), np.zeros((3, 2)), 1), "x has 0 points, needs 1"),
        (
            lambda: mode_coverage(np.zeros((3, 2)), np.zeros((0, 2)), 1),
            "centres has 0 points, needs 1",
        ),
        (lambda: mode_coverage(np.zeros((3, 2)), np.zeros((3, 1)), 1), "x has 2, centres has 1"),
        (
            lambda: mode_coverage(NAN, np.zeros((3, 2)), 1),
            "mode_coverage: x has 2 values that are not finite",
        ),
        (
            lambda: knn_classify(np.zeros((0, 2)), [], np.zeros((1, 2))),
            "train has 0 points, needs 1",
        ),
        (lambda: knn_classify(np.zeros((4, 2)), [0] * 4, np.zeros((1, 3))), "train has 2, x has 3"),
        (
            lambda: knn_classify(np.zeros((4, 2)), [0] * 4, NAN),
            "knn_classify: x has 2 values that are not finite",
        ),
        (
            lambda: knn_classify(np.zeros((4, 2)), [0] * 3, np.zeros((1, 2))),
            r"labels have shape \(3,\), expected \(4,\)",
        ),
        (
            lambda: knn_classify(np.zeros((4, 2)), [[0]] * 4, np.zeros((1, 2))),
            r"labels have shape \(4, 1\)",
        ),
        (
            lambda: knn_classify(np.zeros((4, 2)), [0] * 4, np.zeros((1, 2)), k=5),
            r"k is 5, must be in 1\.\.4",
        ),
        (lambda: knn_classify(np.zeros((4, 2)), [0] * 4, np.zeros((1, 2)), k=0), "k is 0"),
        (lambda: principal_angle(np.eye(3), np.eye(3)[:, :2]), r"A \(3, 3\) and B \(3, 2\)"),
        (lambda: principal_angle([1, 0], [0, 1]), r"A \(2,\) and B \(2,\)"),
        (lambda: principal_angle(np.eye(2), np.ones((2, 2))), "independent columns"),
        (
            lambda: frechet_distance_gaussians([0], [[1]], [0, 0], np.eye(2)),
            "m1 has 1 features, m2 has 2",
        ),
        (
            lambda: frechet_distance_gaussians([0, 0], np.eye(3), [0, 0], np.eye(2)),
            r"m1 \(2,\) and C1 \(3, 3\)",
        ),
        (
            lambda: frechet_distance_gaussians([0], [[1]], [0], [[np.nan]]),
            "m2 or C2 has values that are not finite",
        ),
        (
            lambda: frechet_distance_gaussians([0], [[1]], [0], [[-1]]),
            "C2 has the negative eigenvalue -1",
        ),
        (
            lambda: frechet_distance_gaussians([0, 0], [[1, 1], [0, 1]], [0, 0], np.eye(2)),
            "C1 is not symmetric",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@given(seed=seeds, k=st.integers(1, 3), angle=st.floats(0, np.pi / 2))
@example(seed=0, k=2, angle=1e-9)
def test_the_principal_angle_is_by_how_much_one_span_was_turned(
    seed: int, k: int, angle: float
) -> None:
    """One direction of k is turned by `angle`, another by half of it, out of the span; bases and
    axes do not matter."""
    rng = np.random.default_rng(seed)
    axes, B = np.eye(2 * k), np.eye(2 * k)[:, :k]
    for j, turn in enumerate([angle, angle / 2, 0][:k]):
        B[:, j] = np.cos(turn) * axes[j] + np.sin(turn) * axes[k + j]
    turned, mixed = rotation(rng, 2 * k), np.eye(k) + np.triu(rng.standard_normal((k, k)), 1)
    A, B = turned @ axes[:, :k] @ mixed, turned @ B @ mixed.T
    assert principal_angle(A, B) == pytest.approx(angle, rel=1e-5, abs=1e-13)
    assert principal_angle(B, A) == pytest.approx(principal_angle(A, B), rel=1e-5, abs=1e-13)


@given(seed=seeds, D=dims)
def test_covariances_rounded_to_float32_are_accepted(seed: int, D: int) -> None:
    rng = np.random.default_rng(seed)
    m, C = gaussian(rng, D, rank=1)
    rounded = C.astype(np.float32)
    assume(np.trace(C) > 1e-3)
    assert frechet_distance_gaussians(m, rounded, m, C) < 1e-6 * np.trace(C)


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((3, 1), (1, 3)), ((3,), ()), ((0,), (0,))])
def test_psnr_is_of_pixels_of_one_shape(shapes: tuple) -> None:
    """What would broadcast, and nothing, is no pair of images."""
    with pytest.raises(ValueError, match="psnr: expected pixels of one shape, got"):
        psnr(*map(np.zeros, shapes))


@given(
    seed=st.integers(0, 999),
    D=st.sampled_from([1, 2, 64, 300]),
    spread=st.sampled_from([1e-9, 1e-3, 1.0]),
)
def test_squared_distances_are_those_of_the_differences(seed: int, D: int, spread: float) -> None:
    """However near the points are to each other beside their distance from the rest, and equal
    where the points are the same."""
    rng = np.random.default_rng(seed)
    places = 1e3 * rng.normal(size=(3, D))
    a, b = (places[rng.integers(3, size=n)] + spread * rng.normal(size=(n, D)) for n in (9, 7))
    b[3], a[4] = b[1], b[1]
    exact = ((a[:, None] - b) ** 2).sum(2)
    found = np.concatenate(list(squared_distances(a, b)))
    assert found == pytest.approx(exact, rel=2e-8, abs=0)
    assert np.array_equal(found[:, 3], found[:, 1]) and found[4, 1] == 0
    turned = np.concatenate(list(squared_distances(b, a))).T
    assert np.sum(found != turned) <= 1  # one may lie between two numbers of 26 bits
