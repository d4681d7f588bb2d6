"""Old name of `tfrcnn.export.check.verification`; works until 0.3.0."""

from ..deprecation import warn_deprecated
from .check.verification import edge_cases as edge_cases
from .check.verification import match as match
from .check.verification import verify as verify

warn_deprecated("tfrcnn.export.verification", "tfrcnn.export.check.verification")
