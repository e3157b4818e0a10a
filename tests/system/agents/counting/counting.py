import os
import sys

sys.path.insert(0, "/agentCore/lib")
import ploinky

RUNS = os.open("/agent/runs", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


@ploinky.command("counting.work")
def work(task, *_):
    os.write(RUNS, task.id.encode() + b"\n")
    return task.id


ploinky.run()
