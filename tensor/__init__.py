"""Arrays that remember how they were made: reverse-mode autodiff on NumPy, and CuPy on a GPU.

Read autodiff.py first, then elementwise.py (a table of derivatives), then convolution.py.
"""

import inspect as _inspect

import numpy as _np

# isort: off
# fmt: off
from tensor.arrays import Array, array_module
from tensor.autodiff import broadcast_to, cast, grad, op
from tensor.contraction import einsum
from tensor.convolution import conv2d, conv_transpose2d
from tensor.creation import (
    arange, default_generator, eye, from_dlpack, full, full_like, linspace, manual_seed, ones,
    ones_like, rand, rand_like, randint, randn, randn_like, zeros, zeros_like,
)
from tensor.elementwise import (
    abs, add, allclose, bitwise_and, bitwise_not, bitwise_or, bitwise_xor, ceil, clamp, cos, div,
    eq, equal, erf, exp, expm1, floor, floor_divide, ge, gelu, gt, isfinite, isinf, isnan, le,
    leaky_relu, log, log10, log1p, log2, lt, maximum, minimum, mul, ne, neg, pow, reciprocal, relu,
    remainder, round, rsqrt, sigmoid, sign, silu, sin, softplus, sqrt, square, sub, tanh, where,
)
from tensor.modes import detect_anomaly, enable_grad, is_grad_enabled, no_grad
from tensor.normalization import batch_norm, group_norm, instance_norm, layer_norm
from tensor.parallel import get_num_threads, set_num_threads
from tensor.pooling import avg_pool2d, embedding, max_pool2d, upsample_nearest
from tensor.promotion import floating
from tensor.products import bmm, cholesky, dot, linear, matmul, mm, outer, solve
from tensor.reductions import (
    all, amax, amin, any, argmax, argmin, cumsum, log_softmax, logsumexp, max, mean, min, norm,
    prod, softmax, std, sum, var,
)
from tensor.shaping import (
    cat, chunk, diag, expand, flatten, flip, gather, getitem, narrow, pad, permute, reshape, roll,
    split, squeeze, stack, t, transpose, tril, triu, unsqueeze,
)
from tensor.tensor import Tensor
from tensor.creation import tensor  # last: it takes the name of the module tensor.tensor
# fmt: on
# isort: on

float32, float64 = _np.dtype("float32"), _np.dtype("float64")
int32, int64, bool = _np.dtype("int32"), _np.dtype("int64"), _np.dtype("bool")

__all__ = [n for n, v in list(vars().items()) if not (n.startswith("_") or _inspect.ismodule(v))]
