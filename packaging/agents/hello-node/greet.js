// hello.greet [NAME]: greets NAME, or the caller.
// Arguments after the script: the caller, then the parameters.
const [user, name = user] = process.argv.slice(2);
console.log(JSON.stringify({ greeting: `Hello, ${name}!`, user }));
