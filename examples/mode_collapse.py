"""Mode collapse, shown and cured: eight modes on a ring, and what two losses make of them.

    python -m examples.mode_collapse

Each row is a GAN with the same networks, data and noise; only the loss differs. Each column is a
moment of its training, with samples over the data, which lie in the eight rings. Minimax: the
samples find the ring and lose it again; the generator crowds where the discriminator is fooled at
the moment, the discriminator learns that samples come from there, and the crowd moves on (Metz et
al. 2017, section 3.1). GAN-GP: a penalty on the slope of the discriminator keeps it from driving
all samples the same way at once; they find every mode, and then sharpen (Fedus et al. 2018).
Printed, for 2,500 samples: how many modes are covered by a good one, which is within three sigma of
a centre; the share of good ones; and the reverse KL of the histogram of all samples over the modes,
0 if all are equally likely and log 8 = 2.1 for a single one (after Lin et al. 2018).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import trange

import tensor as T
from examples.common import OUT, save
from minigen import data
from minigen.evaluation.metrics import mode_coverage
from minigen.models.gan import GAN
from minigen.networks.points import mlp_discriminator, mlp_generator
from minigen.training.learner import Learner, cosine

LOSSES = {"minimax": "C3", "gan-gp": "C2"}
SHARES = (0.02, 0.1, 0.3, 0.6, 1.0)


def main(steps: int = 2500, out: Path = OUT) -> None:
    ring = data.load("ring")
    centres, sigma = data.MODES["ring"]
    moments = sorted({max(1, round(share * steps)) for share in SHARES})
    figure = Figure(figsize=(2.9 * len(moments), 6.8), layout="constrained")
    panels = figure.subplots(2, len(moments), squeeze=False)
    for row, (loss, colour) in zip(panels, LOSSES.items()):
        T.manual_seed(0)
        rng = np.random.default_rng(0)
        model = GAN(mlp_generator(2, 2), mlp_discriminator(2), latent=2, loss=loss)
        D = Learner(model.discriminator, 1e-3, (0.5, 0.9), cosine(steps))
        G = Learner(model.generator, 1e-3, (0.5, 0.9), cosine(steps))
        columns = iter(row)
        for k in trange(1, steps + 1, unit="step"):
            x, _ = ring.batch(256, rng)
            D.descend(model.discriminator_loss(x, rng=rng, penalty=0.1), k)
            G.descend(model.generator_loss(256, rng=rng), k)
            if k in moments:
                with T.no_grad():
                    samples = model.generate(2500, rng=np.random.default_rng(1)).numpy()
                modes, good, kl = mode_coverage(samples, centres, sigma)
                axes = next(columns)
                rings = {"facecolors": "none", "edgecolors": "black", "linewidths": 0.8}
                axes.scatter(*centres.T, s=150, **rings)
                axes.scatter(*samples.T, s=2, color=colour, alpha=0.3)
                axes.set(title=f"{loss}, step {k}\n{modes} modes, {good:.0%} good")
                axes.set(xlabel="$x_1$", ylabel="$x_2$")
                axes.set(xlim=(-1.6, 1.6), ylim=(-1.6, 1.6), aspect="equal")
        print(f"{loss}: {modes} of 8 modes, {good:.1%} good samples, reverse KL {kl:.3f}")
    save(figure, out / "mode_collapse.png")


if __name__ == "__main__":
    main()
