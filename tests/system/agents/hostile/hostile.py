"""hostile.py VERB N: what a program in the container can do beside its handlers.

spin SECONDS    uses two processors, and touches nothing
storm SECONDS   two processes make, rename and remove names in the queues without pause
fill FILES      makes files that stay, and prints how many
usurp 0         takes the place of the files that agent-core keeps
"""

import fcntl
import glob
import os
import sys
import time

ON_DISK = ["/agent/.tasks/" + name for name in ("responses", "errors", "locks")]


def places():
    return glob.glob("/run/ploinky/sync/responses/*") + ["/run/ploinky/sync/locks"] + ON_DISK


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(1000))


def attempt(act, *words):
    try:
        act(*words)
        return True
    except OSError:
        return False


def make(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def storm(seconds):
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        for place in places():
            for _ in range(50):
                number += 1
                # A name that is no task, one that may be a task, and something that is no file.
                strange = "%s/x-%d-%d" % (place, os.getpid(), number)
                task = "%s/%s" % (place, os.urandom(16).hex())
                attempt(make, strange)
                attempt(os.rename, strange, task)
                attempt(os.unlink, task)
                attempt(os.symlink, "/etc/passwd", task)
                attempt(os.unlink, task)
                attempt(os.mkfifo, strange)
                attempt(os.unlink, strange)


def fill(files):
    made = 0
    for place in places():
        for number in range(files // len(places())):
            # Half of them look like results of tasks.
            form = "%s/%032x" if number % 2 else "%s/x%d"
            made += attempt(make, form % (place, number))
    print(made)


def usurp(_):
    # The memory may be full of what `fill` made.
    for number in range(0, 2000, 2):
        attempt(os.unlink, "/run/ploinky/sync/locks/x%d" % number)
    for place in ("/run/ploinky/sync/locks", "/agent/.tasks/locks"):
        for name in (".runner", "claims"):
            path = place + "/" + name
            attempt(os.rename, path, path + ".old")
            attempt(os.mkfifo, path)
            os.listdir(place)
    # And a lease on a file that stands where a directory is looked for.
    path = "/run/ploinky/sync/locks/leased"
    make(path)
    file = os.open(path, os.O_RDONLY)
    attempt(fcntl.fcntl, file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    os.replace(path, "/run/ploinky/sync/locks/.runner")
    time.sleep(10)


verb, number = sys.argv[1], int(sys.argv[2])
if verb in ("spin", "storm"):
    os.fork()
globals()[verb](number)
