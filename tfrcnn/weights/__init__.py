"""Weights made by other libraries: reading their files and fitting them onto the networks."""
