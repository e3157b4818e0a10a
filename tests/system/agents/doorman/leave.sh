#!/bin/sh
# All sessions of who calls end.
printf '{"revokeUser":"%s"}\n' "$1"
