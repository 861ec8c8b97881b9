"""How hypothesis makes its examples."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

REPEATABLE = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same ones every time: a test that passed once passes on any machine, however slow."""
