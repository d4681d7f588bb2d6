"""Training: targets, losses, the model for `fit`, whole runs, and recipes of runs."""
