"""What every recipe trains with: the loop, the learner, the folder of a run, checkpoints,
settings."""
