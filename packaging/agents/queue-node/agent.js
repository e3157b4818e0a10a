// Serves the task files itself. What is taken from /agentCore does not change for such a program.
const TaskQueue = require('/agentCore/lib/taskQueue.js');

async function handle(command, params) {
  const [runForUserId, ...rest] = params;
  switch (command) {
    case 'queue.greet':
      return { greeting: `Hello, ${rest[0] ?? runForUserId}!` };
    case 'queue.fail':
      throw { error: true, message: 'queue.fail was called', code: 'QUEUE_FAILED', details: { rest } };
    default:
      throw new TaskQueue.TaskError(`the agent has no command \`${command}\``, 'UNKNOWN_COMMAND');
  }
}

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => stop.abort());
new TaskQueue('/agent').serve(handle, { signal: stop.signal });
