"""What holds for every test: seconds are for the benchmark, so no example is failed for being slow."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("kdumpd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kdumpd")
