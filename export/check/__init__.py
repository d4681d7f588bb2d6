"""Whether an exported file detects what the Keras model does."""
