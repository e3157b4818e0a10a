#!/bin/sh
# The caller, then what the client sent.
if [ "$3" = "open sesame" ]; then
    printf '{"userId":"%s","allowedCommands":["echo.say","leave"],"authorizationToken":"Admin"}\n' "$2"
else
    echo '{"error":true,"message":"wrong name or password","code":"INVALID_CREDENTIALS"}' >&2
    exit 1
fi
