"""How long detectors and exported files take."""
