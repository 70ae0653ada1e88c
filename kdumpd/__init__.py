"""kdumpd keeps the crash kernel armed with what the configuration says now."""

__version__ = "0.1.0"
