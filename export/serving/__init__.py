"""Clients, a server and a load test for a SavedModel; see README.md here. Each file runs alone, without tfrcnn."""
