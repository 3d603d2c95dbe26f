"""The Minus service: both APIs, the short links, the catalog and the bytes."""

__version__ = "2.0.0"
