"""Deployment of trained detectors; installed and imported as `tfrcnn.export`."""
