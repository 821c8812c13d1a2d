"""Generative models on `tensor` and `nn`: how they work, down to the last gradient."""
