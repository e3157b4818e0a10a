# For agents in shell. A handler script defines one function per command and reads this file:
#
#     . /agentCore/lib/taskHandler.sh
#     handle_say_hello() { printf 'Hello, %s!\n' "$1"; }
#     task_run "$@"
#
# The manifest names the script: "commands": {"say.hello": "agent.sh"}. A dot or dash of a command is `_` in
# the name of its function. A function gets the parameters; the user is in $RUN_FOR_USER_ID. What it prints is
# the result: JSON if it is JSON, else a text. Plain POSIX sh; /agentCore/README.md tells what is promised.

# task_run USER PARAM…: runs the function of $TASK_COMMAND.
task_run() {
    [ "$#" -eq 0 ] || shift
    case ${TASK_COMMAND:-} in
        '' | *[!A-Za-z0-9._-]*) task_fail "TASK_COMMAND is not set: let agent-core run this script" ;;
    esac
    task_function=handle_$(printf '%s' "$TASK_COMMAND" | tr '.-' '__')
    if ! command -v "$task_function" >/dev/null 2>&1; then
        task_fail "the agent has no command \`$TASK_COMMAND\`" UNKNOWN_COMMAND
    fi
    "$task_function" "$@"
}

# task_fail MESSAGE [CODE [DETAILS]]: ends the handler with an error that the caller sees. DETAILS is JSON.
# The code NOT_FOUND becomes HTTP status 404. Not from within $(…): that would end the sub-shell only.
task_fail() {
    printf '{"error":true,"message":%s,"code":%s,"details":%s}\n' \
        "$(task_json "$1")" "$(task_json "${2:-HANDLER_FAILED}")" "${3:-"{}"}" >&2
    exit 1
}

# task_json TEXT: the text as a JSON string, quotes included.
task_json() {
    # The last x keeps line feeds at the end of the text.
    printf '%sx' "$1" | LC_ALL=C awk '
        BEGIN {
            for (code = 1; code < 32; code++) escape[sprintf("%c", code)] = sprintf("\\u%04x", code)
            escape["\""] = "\\\""; escape["\\"] = "\\\\"; escape["\t"] = "\\t"; escape["\r"] = "\\r"
        }
        {
            if (1 < NR) text = text "\\n"
            for (at = 1; at <= length($0); at++) {
                one = substr($0, at, 1)
                text = text ((one in escape) ? escape[one] : one)
            }
        }
        END { printf "\"%s\"", substr(text, 1, length(text) - 1) }'
}

# task_progress TEXT: says how far the task is; JSON or text, one line.
task_progress() {
    [ -n "${TASK_PROGRESS:-}" ] || return 0
    printf '%s\n' "$1" >"$TASK_PROGRESS" 2>/dev/null || :
}

# task_file NAME [TYPE]: the result is the file that was written to $TASK_OUTPUT.
task_file() {
    [ -f "${TASK_OUTPUT:-}" ] || task_fail "task_file: write the file to \$TASK_OUTPUT first" AGENT_BAD_RESULT
    printf '{"name":%s,"type":%s}\n' "$(task_json "$1")" "$(task_json "${2:-application/octet-stream}")"
}
