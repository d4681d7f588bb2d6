"""Checks that an exported file detects the same as the Keras model."""
