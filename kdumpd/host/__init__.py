"""Touches the machine through the doors; decides nothing."""
