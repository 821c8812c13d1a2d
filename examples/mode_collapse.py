"""Mode collapse, shown and cured: eight modes on a ring, and what two trainings make of them.

    python -m examples.mode_collapse

Both rows are a GAN with the same networks, data and noise; each column is a moment of its training,
with samples over the data, which lie in the eight rings. Minimax, each player one turn: all samples
crowd on one mode, the discriminator learns that samples come from there, and the crowd moves on to
another (Metz et al. 2017, section 3.1, see the same). GAN-GP, five turns of the discriminator for
one of the generator: a discriminator that has time to answer, and a penalty on its slope that keeps
it from driving all samples the same way at once, spread them over all modes (Gulrajani et al. 2017
has the penalty and the turns, Fedus et al. 2018 this loss). Collapse hangs on details: with SiLU
for ReLU, or 2 dimensions of noise for 16, this minimax game finds the whole ring.
Printed, for 2,500 samples: how many modes are covered by a good one, which is within three sigma of
a centre; the share of good ones; and the reverse KL of the histogram of all samples over the modes,
0 if all are equally likely and log 8 = 2.1 for a single one (after Lin et al. 2018).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import nn
import tensor as T
from examples.common import OUT, save
from minigen import data
from minigen.evaluation.metrics import mode_coverage
from minigen.evaluation.slides import FONT
from minigen.models.gan import GAN
from minigen.training.learner import Learner, cosine

TRAININGS = {"minimax": (1, "C3"), "gan-gp": (5, "C2")}
"""By loss: the turns of the discriminator for one of the generator, and a colour."""

LATENT = 16
SHARES = (0.1, 0.3, 0.5, 0.7, 1.0)


def network(before: int, after: int) -> nn.Sequential:
    """Two hidden layers of 128 ReLUs."""
    hidden = nn.Linear(before, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(128, after))


def main(steps: int = 1000, out: Path = OUT) -> None:
    ring = data.load("ring")
    centres, sigma = data.MODES["ring"]
    moments = sorted({max(1, round(share * steps)) for share in SHARES})
    figure = Figure(figsize=(12, 6.2), layout="constrained")
    panels = figure.subplots(2, len(moments), squeeze=False, sharex=True, sharey=True)
    for row, (loss, (turns, colour)) in zip(panels, TRAININGS.items()):
        T.manual_seed(0)
        rng = np.random.default_rng(0)
        model = GAN(network(LATENT, 2), network(2, 1), LATENT, loss)
        D = Learner(model.discriminator, 1e-3, (0.5, 0.9), cosine(steps))
        G = Learner(model.generator, 1e-3, (0.5, 0.9), cosine(steps))
        columns = iter(row)
        for k in trange(1, steps + 1, unit="step"):
            for _ in range(turns):
                x, _ = ring.batch(256, rng)
                D.descend(model.discriminator_loss(x, rng=rng, penalty=0.1), k)
            G.descend(model.generator_loss(256, rng=rng), k)
            if k in moments:
                with T.no_grad():
                    samples = model.generate(2500, rng=np.random.default_rng(1)).numpy()
                modes, good, kl = mode_coverage(samples, centres, sigma)
                axes = next(columns)
                rings = {"facecolors": "none", "edgecolors": "black", "linewidths": 1.2}
                axes.scatter(*samples.T, s=3, color=colour, alpha=0.3)
                axes.scatter(*centres.T, s=150, **rings)
                axes.set_title(f"{loss}, step {k}\nmodes: {modes}", fontsize=FONT)
                axes.set(xticks=[], yticks=[], xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
        print(f"{loss}: {modes} of 8 modes, {good:.1%} good samples, reverse KL {kl:.3f}")
    save(figure, out / "mode_collapse.png")


if __name__ == "__main__":
    main()
