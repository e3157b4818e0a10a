"""Answers with something that is no result, in all places where one is looked for."""

import fcntl
import glob
import itertools
import os
import signal
import sys

sys.path.insert(0, "/agentCore/lib")
import ploinky

# Who holds a lease is asked by a signal to give it back, and does not listen.
signal.signal(signal.SIGIO, signal.SIG_IGN)
kept = []


def lease(path, new):
    file = os.open(new, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(file, b'{"success":true,"data":1}')
    os.close(file)
    file = os.open(new, os.O_RDONLY)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    kept.append(file)
    os.rename(new, path)


def sparse(path, new):
    with open(new, "wb") as file:
        file.truncate(1 << 40)
    os.rename(new, path)


def unreadable(path, new):
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT, 0o000))
    os.rename(new, path)


LIES = itertools.cycle([
    lease,
    lambda path, new: os.mkfifo(path),
    lambda path, new: os.symlink("/etc/passwd", path),
    lambda path, new: os.mkdir(path),
    sparse,
    unreadable,
])


@ploinky.command("hostile.lie")
def lie(task, *_):
    kind = next(LIES)
    if len(kept) > 500:
        os.close(kept.pop(0))
    for place in glob.glob("/run/ploinky/sync/responses/*") + ["/agent/.tasks/responses"]:
        try:
            kind(place + "/" + task.id, place + "/new-" + task.id)
        except OSError:
            pass


@ploinky.command("hostile.tell")
def tell(task, *_):
    return "truth"


ploinky.run()
