"""What stands around a SavedModel in service; see README.md here. Each file runs by itself, without tfrcnn."""
