"""What every recipe trains with: the loop, learners, the run's folder, checkpoints, settings."""
