// The commands that go to the manifest's `worker`: processes that are already running.
const { worker, TaskError } = require('/agentCore/lib/taskQueue.js');

worker({
  // hello.fast [NAME]: as hello.greet, without the start of a process.
  'hello.fast': (task, name = task.user) => ({ greeting: `Hello, ${name}!`, user: task.user, pid: process.pid }),

  // hello.count N: counts to N; `subscribe` gets each number as an event.
  async *'hello.count'(task, most) {
    if (!Number.isInteger(most) || most < 0) throw new TaskError(`${JSON.stringify(most)} is not a number`, 'NOT_A_NUMBER');
    for (let number = 1; number <= most; number += 1) {
      task.progress({ percent: Math.floor((number * 100) / most) });
      yield number;
    }
    return most;
  },
});
