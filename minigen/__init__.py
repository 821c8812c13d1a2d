"""Generative models on the engine in `tensor` and the layers in `nn`: how they work, down to the
last gradient."""
