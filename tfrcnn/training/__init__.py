"""Training: targets, losses, the joint model for `fit`, and whole runs."""
