#!/bin/sh
# Sourced by dracut's init, again and again: true once the device that /kdump/target names is there, or where no device
# is waited for.
[ ! -e /kdump/target ] || { read -r kdumpd_target </kdump/target && [ -e "$kdumpd_target" ]; }
