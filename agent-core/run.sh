#!/bin/sh
# The default entry of an agent's container, for images that have a shell.
exec /agentCore/agent-core "$@"
