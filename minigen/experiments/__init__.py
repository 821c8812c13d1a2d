"""Each model in training: its data, one step, its samples, pictures and evaluation."""
