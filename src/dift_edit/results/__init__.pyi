from .manifest import Row as Row

__all__ = [
    "Row",
]
