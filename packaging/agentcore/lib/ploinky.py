"""For agents in Python: the handlers of a manifest's `worker`, one JSON line per task in and out.

    import ploinky

    @ploinky.command("text.count")
    def count(task, text):
        return {"characters": len(text)}

    ploinky.run()

A handler gets the task and the caller's parameters. What it returns is the result; what a generator yields
are events for those who subscribed; an exception is the error. Needs Python 3.8 and nothing else;
/agentCore/README.md tells what is promised.
"""

import io
import json
import os
import re
import sys
import traceback
import types

__all__ = ["TaskError", "Task", "File", "command", "run"]

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_commands = {}


class TaskError(Exception):
    """An error with a code that callers can rely on.

    `NOT_FOUND` becomes HTTP status 404, every other one 500. `details={"retryable": False}` ends the retries
    of a task that has a retry policy.
    """

    def __init__(self, message, code="HANDLER_FAILED", details=None):
        super().__init__(message)
        self.code = code
        self.details = {} if details is None else details


class File:
    """A result that is a file: what the handler wrote to `task.output`."""

    def __init__(self, name, media_type="application/octet-stream"):
        self.name = name
        self.media_type = media_type


class Task:
    """One task: `id`, `command`, `user`, `params`, `attempt`, `stream`, `output`."""

    def __init__(self, request, write):
        params = request.get("params", [])
        self.id = request["id"]
        self.command = request["command"]
        self.user = params[0] if params else None
        self.params = params[1:]
        self.attempt = request.get("attempt", 1)
        self.stream = request.get("stream", False)
        self.output = "/agent/.tasks/outputs/" + self.id
        self._write = write

    def progress(self, value):
        """Says how far the task is; any JSON value."""
        self._write({"id": self.id, "progress": value})

    def event(self, value):
        """Sends one event to the caller of `subscribe`; nobody gets it if nobody listens."""
        if self.stream:
            self._write({"id": self.id, "event": value})


def command(name):
    """Makes a function the handler of the command `name`."""

    def register(function):
        if name in _commands:
            raise ValueError("the command %r has two handlers" % name)
        _commands[name] = function
        return function

    return register


def run(stdin=None, stdout=None, commands=None):
    """Serves tasks until standard input ends.

    What handlers print goes to standard error, because standard output belongs to the answers.
    """
    commands = _commands if commands is None else commands
    if stdin is None:
        stdin = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="\n")
    if stdout is None:
        # A copy of the descriptor, so that also what libraries write to 1 goes to standard error.
        stdout = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
        os.dup2(2, 1)
        sys.stdout = sys.stderr

    def write(line):
        stdout.write(_encode(line) + "\n")
        stdout.flush()

    for line in stdin:
        if line.strip():
            write(_answer(commands, Task(json.loads(line), write)))


def _answer(commands, task):
    try:
        handler = commands.get(task.command)
        if handler is None:
            raise TaskError("the agent has no command `%s`" % task.command, "UNKNOWN_COMMAND")
        value = handler(task, *task.params)
        if isinstance(value, types.GeneratorType):
            value = _drain(value, task)
        if isinstance(value, File):
            return {"id": task.id, "file": {"name": value.name, "type": value.media_type}}
        answer = {"id": task.id, "response": value}
        _encode(answer)
        return answer
    except Exception as error:  # pylint: disable=broad-except  # the caller gets it, whatever it is
        return {"id": task.id, "error": _describe(error)}


def _drain(generator, task):
    """Sends what a generator yields; its return value is the result."""
    while True:
        try:
            task.event(next(generator))
        except StopIteration as end:
            return end.value


def _describe(error):
    """The three parts of an error that a caller sees; where it happened goes to standard error."""
    if not isinstance(error, TaskError):
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    code = getattr(error, "code", None)
    if not isinstance(code, str) or not _CODE.match(code):
        code = "HANDLER_FAILED"
    details = getattr(error, "details", {})
    try:
        _encode(details)
    except TaskError:
        details = {}
    return {"message": str(error) or type(error).__name__, "code": code, "details": details}


def _encode(value):
    """One line of JSON; NaN and what is no JSON are errors, not text that nobody can read."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise TaskError("the result is no JSON: %s" % error, "AGENT_BAD_RESULT") from error
