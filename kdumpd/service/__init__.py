"""Talks: to the bus, to systemd, to polkit."""
