"""cupy.lib: stride_tricks."""

from cupy.lib import stride_tricks
