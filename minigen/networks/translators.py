"""The networks of image translation: generators, and discriminators of patches.

They follow CycleGAN (Zhu et al. 2017, sec. 7.2), with fewer layers and other kernels, for images of
16 to 64 pixels. Every norm is instance norm: each image is normalised by itself, so that the batch
may be small, and its contrast is not carried along but redrawn.
"""

import nn
import tensor as T
from minigen.networks.dcgan import dcgan_weights
from tensor import Tensor


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), no ReLU after the sum (Johnson et al. 2016)."""

    def __init__(self, channels: int):
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.InstanceNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.InstanceNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        h = T.relu(self.norm1(self.conv1(x)))  # (N, channels, H, W)
        return x + self.norm2(self.conv2(h))


def resnet_generator(
    channels_in: int, channels_out: int, width: int = 32, blocks: int = 3
) -> nn.Sequential:
    """Images (N, channels_in, H, W), H and W even, to (N, channels_out, H, W) in [-1, 1].

    The image is halved, passes the residual blocks, and is doubled again by a transposed
    convolution. Its kernel of 4 is a multiple of its stride of 2, so that each pixel is the sum of
    equally many products; a kernel of 3 would give pixels one, two or four, and the image a
    checkerboard (Odena et al. 2016). Borders are padded with zeros: the reflections of the paper
    reduce artifacts there, while here the ground of an image reaches its border.
    """
    layers = nn.Sequential(
        nn.Conv2d(channels_in, width, 3, padding=1, bias=False),  # (N, width, H, W)
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(2 * width),
        nn.ReLU(),  # (N, 2 width, H / 2, W / 2)
        *(ResidualBlock(2 * width) for _ in range(blocks)),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, channels_out, 3, padding=1),
        nn.Tanh(),  # (N, channels_out, H, W)
    )
    return dcgan_weights(layers)


def patch_discriminator(channels: int, width: int = 32, layers: int = 1) -> nn.Sequential:
    """Images (N, channels, H, W) to numbers for patches (N, 1, h, w) (PatchGAN: Isola et al. 2017).

    `layers` convolutions halve the image, two more keep its scale. A patch has 9 * 2^layers - 2
    pixels a side: 16 with one layer, and the paper's 70 with three.
    """
    stack: list[nn.Module] = [
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),  # (N, width, H / 2, W / 2)
    ]
    for k in range(1, layers + 1):
        stride = 2 if k < layers else 1
        stack += [
            nn.Conv2d(width, 2 * width, 4, stride=stride, padding=1, bias=False),
            nn.InstanceNorm2d(2 * width),
            nn.LeakyReLU(0.2),  # (N, 2 width, ...), each side halved; in the last layer, 1 less
        ]
        width *= 2
    stack.append(nn.Conv2d(width, 1, 4, padding=1))  # (N, 1, h, w), each side 1 less again
    return dcgan_weights(nn.Sequential(*stack))
