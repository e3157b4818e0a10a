#!/bin/sh
# The handlers of this agent: one function per command.
. /agentCore/lib/taskHandler.sh

# shell.greet [NAME]: greets NAME, or the caller.
handle_shell_greet() {
    printf '{"greeting":%s}\n' "$(task_json "Hello, ${1:-$RUN_FOR_USER_ID}!")"
}

# shell.count N: counts to N, one line each; `subscribe` gets them as they come.
handle_shell_count() {
    case ${1:-} in
        '' | *[!0-9]*) task_fail "\`${1:-}\` is not a number" NOT_A_NUMBER ;;
    esac
    number=0
    while [ "$number" -lt "$1" ]; do
        number=$((number + 1))
        task_progress "$number"
        echo "$number"
    done
}

# shell.lines TEXT: the text as a file.
handle_shell_lines() {
    printf '%s\n' "$1" >"$TASK_OUTPUT"
    task_file lines.txt text/plain
}

# shell.find NAME: always an error, whose code becomes HTTP status 404.
handle_shell_find() {
    task_fail "there is nobody called \`$1\`" NOT_FOUND "{\"name\":$(task_json "$1")}"
}

task_run "$@"
