'use strict';
// For agents in JavaScript. Two ways to use it:
//
//   worker(handlers)          the handlers of a manifest's `worker`: one JSON line per task in and out
//   new TaskQueue('/agent')   for a program of your own that serves the task files itself (manifest key `run`)
//
// Needs Node.js 16 or later and nothing else. /agentCore/README.md tells what is promised.

const fs = require('node:fs');
const path = require('node:path');
const crypto = require('node:crypto');
const readline = require('node:readline');

/** How long the queue is not looked at although no file appeared, in milliseconds: hints may get lost. */
const SWEEP_MS = 5000;
/** Waits between two tries to write a result, in milliseconds. */
const RETRY_FIRST_MS = 20;
const RETRY_MAX_MS = 1000;
/** Names of tasks: 32 lower-case hexadecimal digits. Ids of the first Ploinky had a time in them, too. */
const ID = /^(?:[0-9a-f]{32}|[0-9a-f]{32}_[0-9]{1,16}|[0-9]{1,16}_[0-9a-f]{16})$/;
/** Codes of errors: words. */
const CODE = /^[A-Za-z0-9_.-]{1,64}$/;

/**
 * An error with a code that callers can rely on. `NOT_FOUND` becomes HTTP status 404, every other one 500.
 * `retryable: false` in `details` ends the retries of a task that has a retry policy.
 */
class TaskError extends Error {
  constructor(message, code = 'HANDLER_FAILED', details = {}) {
    super(message);
    this.name = 'TaskError';
    this.code = code;
    this.details = details;
  }
}

/** The three parts of an error that a caller sees, whatever was thrown: an Error, an object, a string. */
function describe(thrown) {
  const object = thrown !== null && typeof thrown === 'object' ? thrown : {};
  const message = typeof object.message === 'string' && object.message !== '' ? object.message : String(thrown);
  const code = typeof object.code === 'string' && CODE.test(object.code) ? object.code : 'HANDLER_FAILED';
  const details = object.details !== undefined && isJson(object.details) ? object.details : {};
  return { message, code, details };
}

function isJson(value) {
  try {
    return JSON.stringify(value) !== undefined;
  } catch {
    return false;
  }
}

/** What a handler returned, as JSON text; `undefined` is null. */
function encode(value) {
  let text;
  try {
    text = JSON.stringify(value === undefined ? null : value);
  } catch (error) {
    throw new TaskError(`the result is no JSON: ${error.message}`, 'AGENT_BAD_RESULT');
  }
  if (text === undefined) {
    throw new TaskError(`the result is no JSON: ${typeof value}`, 'AGENT_BAD_RESULT');
  }
  return text;
}

/** A task as a handler of `worker` gets it. */
class Task {
  #write;

  constructor(request, write) {
    const { id, command, params = [], attempt = 1, stream = false } = request;
    this.id = id;
    this.command = command;
    /** For whom it runs: `InternetUser`, `Admin`, or the id of a user. */
    this.user = params[0];
    /** What the caller gave. */
    this.params = params.slice(1);
    /** 1, or more if it was run before. */
    this.attempt = attempt;
    /** Whether the caller listens to events. */
    this.stream = stream;
    /** Where a handler writes a result that is a file; return `task.file(name, type)` then. */
    this.output = `/agent/.tasks/outputs/${id}`;
    this.#write = write;
  }

  /** Says how far the task is; any JSON value. */
  progress(value) {
    this.#write({ id: this.id, progress: value });
  }

  /** Sends one event to the caller of `subscribe`; any JSON value. Nobody gets it if nobody listens. */
  event(value) {
    if (this.stream) this.#write({ id: this.id, event: value });
  }

  /** The result of a handler that wrote a file to `output`. */
  file(name, type = 'application/octet-stream') {
    return new FileResult(name, type);
  }
}

class FileResult {
  constructor(name, type) {
    this.name = name;
    this.type = type;
  }
}

/**
 * Serves tasks from standard input until it ends: `handlers` maps a command to a function `(task, ...params)`
 * that returns a value, or a promise of one. A generator's values are events of the stream. What console.log
 * writes goes to standard error, because standard output belongs to the answers.
 */
function worker(handlers, { input = process.stdin, output = process.stdout } = {}) {
  if (output === process.stdout) {
    console.log = console.error;
    console.info = console.error;
    console.debug = console.error;
  }
  const write = (line) => {
    output.write(`${encode(line)}\n`);
  };
  const lines = readline.createInterface({ input, crlfDelay: Infinity, terminal: false });
  return (async () => {
    for await (const line of lines) {
      if (line.trim() === '') continue;
      const request = JSON.parse(line);
      const task = new Task(request, write);
      write(await answer(handlers, task));
    }
  })();
}

async function answer(handlers, task) {
  const { id, command } = task;
  try {
    if (!Object.hasOwn(handlers, command) || typeof handlers[command] !== 'function') {
      throw new TaskError(`the agent has no command \`${command}\``, 'UNKNOWN_COMMAND');
    }
    let value = handlers[command](task, ...task.params);
    if (value !== null && typeof value === 'object' && typeof value.next === 'function') {
      value = await drain(value, task);
    }
    value = await value;
    if (value instanceof FileResult) return { id, file: { name: value.name, type: value.type } };
    encode(value);
    return { id, response: value === undefined ? null : value };
  } catch (thrown) {
    return { id, error: describe(thrown) };
  }
}

/** Sends what a generator yields; its return value is the result. */
async function drain(generator, task) {
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return value;
    task.event(value);
  }
}

/**
 * The queue of an agent in `base/.tasks`, for a program that serves it without agent-core's help. A result
 * appears whole or not at all and never replaces another one.
 */
class TaskQueue {
  #known = new Set();

  constructor(basePath) {
    this.basePath = basePath;
    const of = (name) => path.join(basePath, '.tasks', name);
    this.dirs = {
      requests: of('requests'),
      responses: of('responses'),
      errors: of('errors'),
      locks: of('locks'),
      urgent: of('urgent'),
    };
  }

  /** Makes the directories that are missing; in a container of Ploinky they all are there. */
  async init() {
    for (const directory of Object.values(this.dirs)) {
      await fs.promises.mkdir(directory, { recursive: true });
    }
  }

  /** Ids of the tasks that wait, in the order of their submission. Throws if the queue cannot be read. */
  async getPendingTasks() {
    const names = await fs.promises.readdir(this.dirs.requests);
    const waiting = [];
    for (const id of names) {
      if (!ID.test(id) || this.#known.has(id) || (await this.#isTaken(id))) continue;
      waiting.push({ id, order: await this.#order(id) });
    }
    for (const id of this.#known) {
      if (!names.includes(id)) this.#known.delete(id);
    }
    waiting.sort((a, b) => a.order - b.order || (a.id < b.id ? -1 : 1));
    return waiting.map(({ id }) => id);
  }

  async #isTaken(id) {
    const { locks, responses, errors } = this.dirs;
    return [locks, responses, errors].some((directory) => fs.existsSync(path.join(directory, id)));
  }

  async #order(id) {
    try {
      const { seq } = JSON.parse(await fs.promises.readFile(path.join(this.dirs.requests, id), 'utf8'));
      return typeof seq === 'number' ? seq : Number.MAX_SAFE_INTEGER;
    } catch {
      return Number.MAX_SAFE_INTEGER;
    }
  }

  /** Takes a task; `false` if somebody has it, or had it. */
  async acquireLock(taskId) {
    check(taskId);
    try {
      await fs.promises.mkdir(path.join(this.dirs.locks, taskId), { mode: 0o770 });
      return true;
    } catch (error) {
      if (error.code === 'EEXIST') return false;
      throw error;
    }
  }

  /** Gives a task back. Only after its result was written, or before it was begun. */
  async releaseLock(taskId) {
    check(taskId);
    try {
      await fs.promises.rmdir(path.join(this.dirs.locks, taskId));
    } catch (error) {
      // The server has cleaned up, or made this lock itself to cancel the task.
      if (!['ENOENT', 'EPERM', 'EACCES'].includes(error.code)) throw error;
    }
  }

  /** Whether the caller of the task went away or its time is over: end it, and throw a TaskError. */
  async isCancelled(taskId) {
    check(taskId);
    return fs.existsSync(path.join(this.dirs.urgent, taskId));
  }

  /**
   * Runs a task with `handler(command, params, metadata)`; `params[0]` is the user. `false` if it is not ours
   * to run. A value becomes the response, an exception the error.
   */
  async processTask(taskId, handler) {
    if (this.#known.has(taskId) || !(await this.acquireLock(taskId))) return false;
    // The outcome first, then the request: the server removes them in the other order.
    const isOver = ['responses', 'errors'].some((kind) => fs.existsSync(path.join(this.dirs[kind], taskId)));
    let text = null;
    if (!isOver) {
      text = await fs.promises.readFile(path.join(this.dirs.requests, taskId), 'utf8').catch((error) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      });
    }
    if (text === null) {
      await this.releaseLock(taskId);
      return false;
    }
    let outcome;
    let isDurable = true;
    try {
      const task = JSON.parse(text);
      isDurable = task.mode === 'async';
      const metadata = { id: taskId, attempt: task.attempt ?? 1, owner: task.owner, mode: task.mode };
      const value = await handler(task.command, task.params, metadata);
      outcome = ['responses', `{"v":1,"id":"${taskId}","response":${encode(value)}}`];
    } catch (thrown) {
      outcome = ['errors', encode({ v: 1, id: taskId, error: true, ...describe(thrown) })];
    }
    this.#known.add(taskId);
    await this.#publish(taskId, outcome, isDurable);
    await this.releaseLock(taskId);
    return true;
  }

  /** Writes until it is written: a task is never released without an outcome. */
  async #publish(taskId, [kind, text], isDurable) {
    const directory = this.dirs[kind];
    const staged = path.join(directory, `.tmp-${taskId}-${process.pid}`);
    for (let wait = RETRY_FIRST_MS; ; wait = Math.min(wait * 2, RETRY_MAX_MS)) {
      try {
        const file = await fs.promises.open(staged, 'w', 0o644);
        try {
          await file.writeFile(text);
          if (isDurable) await file.sync();
        } finally {
          await file.close();
        }
        await this.#show(taskId, staged, kind, isDurable);
        await fs.promises.rm(staged, { force: true });
        return;
      } catch (error) {
        console.error(`cannot write the outcome of task ${taskId}, trying again: ${error.message}`);
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /**
   * Gives the staged file its name, unless the server has ended the task. In the sticky directories of a
   * container nobody can rename over the server's record, whatever happens between look and rename.
   */
  async #show(taskId, staged, kind, isDurable) {
    const isThere = () => ['responses', 'errors'].some((name) => fs.existsSync(path.join(this.dirs[name], taskId)));
    if (isThere()) return;
    try {
      await fs.promises.rename(staged, path.join(this.dirs[kind], taskId));
    } catch (error) {
      if (['EPERM', 'EACCES'].includes(error.code) && isThere()) return;
      throw error;
    }
    if (isDurable) await syncDirectory(this.dirs[kind]);
  }

  /**
   * Serves the queue for good: `handler(command, params, metadata)` for each task, `concurrency` at once.
   * Wakes when a file appears. Ends when `signal` (an AbortSignal) is aborted and what runs has ended.
   */
  async serve(handler, { concurrency = 4, signal } = {}) {
    await this.init();
    const running = new Map();
    let wake = () => {};
    const watcher = fs.watch(this.dirs.requests, () => wake());
    watcher.on('error', (error) => console.error(`cannot watch the queue: ${error.message}`));
    signal?.addEventListener('abort', () => wake(), { once: true });
    try {
      while (!signal?.aborted) {
        // Made before the look, so that what appears meanwhile is not slept over.
        const woken = new Promise((resolve) => {
          wake = resolve;
        });
        for (const id of await this.getPendingTasks()) {
          while (concurrency <= running.size) await Promise.race(running.values());
          if (signal?.aborted) break;
          if (running.has(id)) continue;
          const task = this.processTask(id, handler)
            .catch((error) => console.error(`cannot serve task ${id}: ${error.message}`))
            .finally(() => running.delete(id));
          running.set(id, task);
        }
        let timer;
        const sweep = new Promise((resolve) => {
          timer = setTimeout(resolve, SWEEP_MS);
        });
        await Promise.race([woken, sweep]);
        clearTimeout(timer);
      }
      await Promise.all(running.values());
    } finally {
      watcher.close();
    }
  }

  /** A fresh id. */
  generateTaskId() {
    return crypto.randomBytes(16).toString('hex');
  }

  /** Puts a task into the queue. Only where the requests may be written: in tests, not in a container. */
  async enqueue(command, params = [], metadata = {}) {
    const id = this.generateTaskId();
    const task = { v: 1, id, command, params, metadata, seq: Number(process.hrtime.bigint()) };
    const staged = path.join(this.dirs.requests, `.tmp-${id}`);
    try {
      await fs.promises.writeFile(staged, encode(task), { flag: 'wx', mode: 0o640 });
      await fs.promises.rename(staged, path.join(this.dirs.requests, id));
    } catch (error) {
      throw explained(error, 'an agent cannot write requests; call the other agent over HTTP');
    }
    return id;
  }

  /** Waits for the outcome of a task: `{success: true, data}` or `{success: false, error}`; removes it. */
  async checkResponse(taskId, timeout = 30000) {
    check(taskId);
    const end = Date.now() + timeout;
    const places = [
      [path.join(this.dirs.responses, taskId), (record) => ({ success: true, data: bare(record) })],
      [path.join(this.dirs.errors, taskId), (record) => ({ success: false, error: record })],
    ];
    while (Date.now() < end) {
      for (const [place, outcome] of places) {
        const text = await fs.promises.readFile(place, 'utf8').catch(() => null);
        if (text !== null) {
          await fs.promises.unlink(place);
          const record = JSON.parse(text);
          return record?.error === true ? { success: false, error: record } : outcome(record);
        }
      }
      await appeared([this.dirs.responses, this.dirs.errors], Math.min(1000, end - Date.now()));
    }
    throw new Error(`Task ${taskId} timed out after ${timeout}ms`);
  }

  /** Asks to end a task. Only where the queue may be written. */
  async cancel(taskId) {
    check(taskId);
    await fs.promises.writeFile(path.join(this.dirs.urgent, taskId), '').catch((error) => {
      throw explained(error, 'only the server may cancel a task');
    });
  }
}

function check(taskId) {
  if (typeof taskId !== 'string' || !ID.test(taskId)) {
    throw new TypeError(`not a task id: ${JSON.stringify(taskId)}`);
  }
}

function explained(error, why) {
  if (!['EACCES', 'EPERM', 'EROFS'].includes(error.code)) return error;
  return Object.assign(new Error(`${why} (${error.code})`), { code: error.code });
}

/** The value of a response record; the first Ploinky wrote it bare. */
function bare(record) {
  return record?.v === 1 && 'response' in record ? record.response : record;
}

async function syncDirectory(directory) {
  const handle = await fs.promises.open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Until a file appears in one of the directories, at most `limit` milliseconds. */
function appeared(directories, limit) {
  return new Promise((resolve) => {
    const watchers = [];
    const done = () => {
      clearTimeout(timer);
      for (const watcher of watchers) watcher.close();
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, limit));
    for (const directory of directories) {
      const watcher = fs.watch(directory, done);
      watcher.on('error', done);
      watchers.push(watcher);
    }
  });
}

module.exports = TaskQueue;
module.exports.TaskQueue = TaskQueue;
module.exports.TaskError = TaskError;
module.exports.worker = worker;
