"""Arrays that remember how they were made: reverse-mode autodiff on NumPy, and CuPy on a GPU.

Read autodiff.py first, then elementwise.py (a table of derivatives), then convolution.py.
"""

import inspect as _inspect

# isort: off
# fmt: off
from tensor.autodiff import broadcast_to, cast, grad
from tensor.convolution import conv2d, conv_transpose2d
from tensor.creation import default_generator, from_dlpack, manual_seed, ones, rand, randn, zeros
from tensor.elementwise import (
    abs, add, clamp, cos, div, eq, erf, exp, ge, gelu, gt, isfinite, le, leaky_relu, log, log1p,
    lt, maximum, minimum, mul, ne, neg, pow, relu, sigmoid, sign, silu, sin, softplus, sqrt, square,
    sub, tanh, where,
)
from tensor.modes import detect_anomaly, enable_grad, is_grad_enabled, no_grad
from tensor.normalization import batch_norm, group_norm, instance_norm, layer_norm
from tensor.parallel import get_num_threads, set_num_threads
from tensor.pooling import avg_pool2d, embedding, max_pool2d, upsample_nearest
from tensor.products import cholesky, linear, matmul, solve
from tensor.reductions import argmax, log_softmax, logsumexp, max, mean, min, softmax, sum, var
from tensor.shaping import (
    cat, chunk, expand, flatten, flip, getitem, narrow, pad, permute, reshape, squeeze, stack,
    transpose, unsqueeze,
)
from tensor.tensor import Tensor
# fmt: on
# isort: on

__all__ = [n for n, v in list(vars().items()) if not (n.startswith("_") or _inspect.ismodule(v))]
