"""Data sets: reading them, checking them, and batches of them for the network."""
