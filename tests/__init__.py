"""The tests: one file a section of `minus.py`, one a layer of the service."""
