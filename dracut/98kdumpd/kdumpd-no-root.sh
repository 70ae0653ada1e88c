#!/bin/sh
# Sourced by dracut's init: there is no root file system to find, and that is no fault.
# shellcheck disable=SC2034 # both are read by dracut
root=kdumpd
# shellcheck disable=SC2034
rootok=1
