#!/bin/sh
# The entry that a manifest's `run` names by default. The binary beside it does the work, also in
# images that have no shell.
exec "${0%/*}/agent-core" "$@"
