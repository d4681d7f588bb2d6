"""Detectors, results and run folders at addresses, for example in a bucket; data are in `tfrcnn.data.remote`."""
