"""The handlers of this agent; one process answers one task after the other."""

import sys
import time

sys.path.insert(0, "/agentCore/lib")

import ploinky


@ploinky.command("text.count")
def count(task, text=""):
    """text.count TEXT: how many characters and words it has."""
    if not isinstance(text, str):
        raise ploinky.TaskError("%r is not a text" % (text,), "NOT_A_TEXT", {"found": text})
    return {"characters": len(text), "words": len(text.split()), "user": task.user}


@ploinky.command("text.words")
def words(task, text=""):
    """text.words TEXT: a stream of its words; the result is their number."""
    found = text.split()
    for word in found:
        yield word
    return len(found)


@ploinky.command("text.slow")
def slow(task, seconds=1):
    """text.slow [SECONDS]: takes so long, and says how far it is."""
    steps = 10
    for step in range(steps):
        task.progress({"percent": step * 100 // steps})
        time.sleep(float(seconds) / steps)
    task.progress({"percent": 100})
    return seconds


@ploinky.command("text.report")
def report(task, text=""):
    """text.report TEXT: a file with the number of its lines, words and characters."""
    with open(task.output, "w", encoding="utf-8") as file:
        file.write("lines,words,characters\n")
        file.write("%d,%d,%d\n" % (len(text.splitlines()), len(text.split()), len(text)))
    return ploinky.File("report.csv", "text/csv")


@ploinky.command("text.flaky")
def flaky(task, good_from=3):
    """text.flaky [ATTEMPT]: fails before that attempt."""
    if task.attempt < good_from:
        raise ploinky.TaskError("attempt %d of %d fails" % (task.attempt, good_from), "NOT_YET")
    return {"attempt": task.attempt}


ploinky.run()
