// hello.sum NUMBER…: adds numbers, from the request on standard input, where they still are numbers.
const { params } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const numbers = params.slice(1);
const wrong = numbers.find((value) => typeof value !== 'number');
if (wrong !== undefined) {
  const message = `${JSON.stringify(wrong)} is not a number`;
  console.log(JSON.stringify({ error: true, message, code: 'NOT_A_NUMBER', details: { wrong } }));
  process.exitCode = 1;
} else {
  console.log(numbers.reduce((sum, value) => sum + value, 0));
}
