"""The players of a game over images: DCGAN (Radford et al. 2016), scaled down."""

import nn
from minigen.networks.coders import ImageShape, quarterable


def dcgan_generator(latent: int, shape: ImageShape, width: int = 64) -> nn.Sequential:
    """Noise (N, latent) to images (N, *shape) in [-1, 1], by transposed convolutions."""
    C, H, W = quarterable(shape)
    layers = nn.Sequential(
        nn.Linear(latent, 2 * width * (H // 4) * (W // 4), bias=False),
        nn.Unflatten(1, (2 * width, H // 4, W // 4)),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),  # (N, 2 width, H / 4, W / 4)
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),  # (N, width, H / 2, W / 2)
        nn.ConvTranspose2d(width, C, 4, stride=2, padding=1),
        nn.Tanh(),  # (N, C, H, W)
    )
    return dcgan_weights(layers)


def dcgan_discriminator(shape: ImageShape, width: int = 64, norm: bool = True) -> nn.Sequential:
    """Images (N, *shape) to (N, 1): two strided convolutions, each halving the image. A critic with
    a gradient penalty has no `norm`, which would mix the images of a batch."""
    C, H, W = quarterable(shape)
    layers = nn.Sequential(
        nn.Conv2d(C, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),  # (N, width, H / 2, W / 2)
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=not norm),
        *([nn.BatchNorm2d(2 * width)] if norm else []),
        nn.LeakyReLU(0.2),  # (N, 2 width, H / 4, W / 4)
        nn.Flatten(),
        nn.Linear(2 * width * (H // 4) * (W // 4), 1),
    )
    return dcgan_weights(layers)


def dcgan_weights(network: nn.Sequential) -> nn.Sequential:
    """N(0, 0.02^2) for kernels (Radford et al. 2016 sec. 4), N(1, 0.02^2) for scales of batch norm
    (their code)."""
    for name, p in network.named_parameters():
        if p.ndim > 1:
            nn.init.normal_(p, std=0.02)
        elif name.endswith("weight"):
            nn.init.normal_(p, mean=1.0, std=0.02)
    return network
