"""What holds for every test: seconds are for the benchmark, so no example is failed for being slow."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Where a law needs more examples than these, its test says so.
settings.register_profile(
    "kdumpd", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("kdumpd")
