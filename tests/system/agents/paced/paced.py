import sys
import time

sys.path.insert(0, "/agentCore/lib")
import ploinky


@ploinky.command("paced.work")
def work(task, *_):
    time.sleep(0.004)


ploinky.run()
