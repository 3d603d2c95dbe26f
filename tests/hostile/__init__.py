"""Hostile services, to try any HTTP file client against: `python -m tests.hostile PORT`.

Standard library only, and nothing of `minus` or `minus_server`.
"""
