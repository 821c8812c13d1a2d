"""cupyx.scipy: special."""
