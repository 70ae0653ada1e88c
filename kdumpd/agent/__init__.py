"""POSIX sh that runs inside the capture kernel (package data)."""
