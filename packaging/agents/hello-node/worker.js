// hello.fast [NAME]: as hello.greet, by a process that is already running.
// One request per line in, one answer per line out.
const lines = require('node:readline').createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const { id, params } = JSON.parse(line);
  const [user, name = user] = params;
  const answer = { id, response: { greeting: `Hello, ${name}!`, user, pid: process.pid } };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
