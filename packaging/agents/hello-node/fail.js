// hello.fail [CODE]: fails with an error of its own. The code NOT_FOUND becomes HTTP status 404.
const [user, code = 'HELLO_FAILED'] = process.argv.slice(2);
console.log(
  JSON.stringify({ error: true, message: 'hello.fail was called, and it fails', code, details: { user } }),
);
process.exitCode = 1;
