"""The parts of `tfrcnn.prediction`."""
