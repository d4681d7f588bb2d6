"""Read weights of other libraries and load them into this library's networks."""
