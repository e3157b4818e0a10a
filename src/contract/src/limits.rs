//! Every number that bounds something, with its unit and its reason.

use std::time::Duration;

/// Bytes of an agent's name: it is part of messages and tables.
pub const AGENT_NAME_MAX_BYTES: usize = 40;
/// Bytes of an agent id: unit names end at 255 (systemd.unit(5)), `ploinky-agent-` and suffixes need room.
pub const AGENT_ID_MAX_BYTES: usize = 180;
/// Bytes of a domain (RFC 1035: 253 without the trailing dot).
pub const DOMAIN_MAX_BYTES: usize = 253;
/// Bytes of a deployment path; it is one directory name on disk, which ends at 255.
pub const DEPLOY_PATH_MAX_BYTES: usize = 120;
/// Segments of a deployment path; routing looks at each prefix once.
pub const DEPLOY_PATH_SEGMENTS_MAX: usize = 8;
/// Bytes of a command name.
pub const COMMAND_NAME_MAX_BYTES: usize = 128;
/// Bytes of an image reference.
pub const IMAGE_NAME_MAX_BYTES: usize = 255;
/// Bytes of a user id.
pub const USER_ID_MAX_BYTES: usize = 128;

/// Bytes of a manifest (threat model G3).
pub const MANIFEST_MAX_BYTES: usize = 256 * 1024;
/// Commands of one manifest.
pub const MANIFEST_COMMANDS_MAX: usize = 256;
/// Words of one handler.
pub const HANDLER_WORDS_MAX: usize = 64;
/// Bytes of one handler, or of one value of `env`.
pub const MANIFEST_TEXT_MAX_BYTES: usize = 4096;
/// Entries of `env`.
pub const MANIFEST_ENV_MAX: usize = 128;

/// Bytes of `config.json`: 10,000 deployments fit.
pub const CONFIG_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Deployments of one host: each worker has two inotify instances per agent, for its two queues.
pub const DEPLOYMENTS_MAX: usize = 240;
/// Instances `ploinky@N`. All of them, with two inotify instances per agent and one for the configuration, stay
/// below the limit that the package sets (`fs.inotify.max_user_instances=32768`).
pub const WORKERS_MAX: u16 = 64;

/// Bytes of a request body, and of a request file.
pub const REQUEST_MAX_BYTES: usize = 1024 * 1024;
/// Bytes that a request file may be longer than the body it came from (id, owner, deadline …).
pub const REQUEST_ENVELOPE_MAX_BYTES: usize = 4096;
/// Bytes of a result: held once in memory for each waiting request.
pub const RESULT_MAX_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a body, or of a result, that are held without asking what all others hold: nearly all are shorter.
pub const FREE_BYTES: usize = 64 * 1024;
/// Bytes of all bodies of one worker that come at the same time, each beyond [`FREE_BYTES`]; then 503. An
/// eighth of `MemoryMax=` of its unit, as a body that grows may be there twice for a moment.
pub const BODIES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of all results longer than [`FREE_BYTES`] that one worker holds until their clients took them; the
/// others wait on the disk. A quarter of `MemoryMax=` of its unit.
pub const RESULTS_MAX_BYTES: usize = 128 * 1024 * 1024;
/// Bytes of results that are read one after the other before other requests get their turn: they are parsed
/// on the event loop.
pub const RESULT_TURN_BYTES: usize = 256 * 1024;
/// Levels of nesting of a request or result; `serde_json` alone stops at 128, or never for text it only skips.
pub const JSON_DEPTH_MAX: usize = 64;
/// Parameters of one task: each may become one word of a command line.
pub const PARAMS_MAX: usize = 1024;

/// Time that a task has if the manifest does not say `timeout`.
pub const TASK_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest `timeout` of a manifest: one day for one run.
pub const TASK_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);
/// Longest time that a call is waited for; a longer task should not hold a connection. Ask for it with
/// `Prefer: respond-async`.
pub const SYNC_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Longest `wait=` of a `Prefer` header.
pub const PREFER_WAIT_MAX: Duration = Duration::from_secs(60);
/// Time from its acceptance that a task has to come to its end, all runs and waits together, if the client
/// does not say `Task-Deadline`.
pub const TASK_DEADLINE_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Longest `Task-Deadline`.
pub const TASK_DEADLINE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long the outcome of an accepted task is kept if `settings.taskRetention` does not say otherwise.
pub const TASK_RETENTION_DEFAULT: Duration = Duration::from_secs(3600);
/// Longest `settings.taskRetention`.
pub const TASK_RETENTION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a task that failed after its last retry is kept if `settings.deadTaskRetention` does not say
/// otherwise.
pub const DEAD_TASK_RETENTION_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Accepted tasks of one agent, waiting or kept; beyond it 429. Each is two small files.
pub const ACCEPTED_PER_AGENT: usize = 200_000;
/// Accepted tasks of one user with one agent that wait or run; beyond it 429, so that one user cannot take the
/// whole queue.
pub const ACCEPTED_PER_USER: usize = 100_000;
/// Requests that one group commit makes durable together.
pub const COMMIT_BATCH: usize = 256;
/// Requests that wait for the next group commit of one agent; beyond it 503.
pub const COMMIT_WAITING: usize = 1024;
/// Tasks of one page of `GET /tasks` at most.
pub const TASKS_PAGE_MAX: usize = 1000;
/// Tasks of one page of `GET /tasks` if the client does not say `limit`.
pub const TASKS_PAGE_DEFAULT: usize = 100;
/// Bytes of an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header does not say).
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;
/// Bytes of a callback URL.
pub const CALLBACK_URL_MAX_BYTES: usize = 2048;
/// Urgencies of a task, 0 first (RFC 9218).
pub const URGENCY_MAX: u8 = 7;
/// Urgency of a task that does not say (RFC 9218).
pub const URGENCY_DEFAULT: u8 = 3;
/// Most runs of one task.
pub const RETRY_ATTEMPTS_MAX: u16 = 100;
/// Shortest `backoff`.
pub const RETRY_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// `backoff` if the manifest does not say.
pub const RETRY_BACKOFF_DEFAULT: Duration = Duration::from_secs(1);
/// `maxBackoff` if the manifest does not say.
pub const RETRY_BACKOFF_MAX_DEFAULT: Duration = Duration::from_secs(300);
/// Longest `backoff` and `maxBackoff`.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(86_400);
/// Bytes of a progress note.
pub const PROGRESS_MAX_BYTES: usize = 4096;
/// Shortest time between two progress notes of one task that are written; the last one of a run always is.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes of all files of one upload if the manifest does not say `uploads.max`.
pub const UPLOAD_DEFAULT_BYTES: u64 = 100 << 20;
/// Files of one upload.
pub const UPLOAD_FILES_MAX: usize = 16;
/// Bytes of one form field of an upload that is no file.
pub const UPLOAD_FIELD_MAX_BYTES: usize = 256 * 1024;
/// Parts of one upload, files and fields together.
pub const UPLOAD_PARTS_MAX: usize = 128;
/// Bytes of the head of one part.
pub const UPLOAD_PART_HEAD_MAX_BYTES: usize = 16 * 1024;
/// Bytes of the name of a field or a file, as the client calls it.
pub const UPLOAD_FILE_NAME_MAX_BYTES: usize = 255;
/// Bytes that an upload writes at once; one such block is written while the next one comes.
pub const UPLOAD_BLOCK_BYTES: usize = 256 * 1024;
/// Blocks that one worker writes at once, so that a slow disk leaves threads to others.
pub const UPLOAD_WRITERS_MAX: usize = 8;
/// Uploads that one worker takes at once.
pub const UPLOADS_AT_ONCE: usize = 32;
/// Streams (`subscribe`) of one worker at once; beyond it 503.
pub const STREAMS_AT_ONCE: usize = 512;
/// Streams of one worker with one agent at once; beyond it 429. They last long and take no place of a call
/// ([`IN_FLIGHT_PER_AGENT`]); four agents fill a worker.
pub const STREAMS_PER_AGENT: usize = 128;
/// Bytes of one line of a stream.
pub const STREAM_LINE_MAX_BYTES: usize = 64 * 1024;
/// Time without a line after which a stream sends a comment, so that proxies keep it open.
pub const STREAM_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Handlers that run at once if the manifest does not say `concurrency`.
pub const CONCURRENCY_DEFAULT: u16 = 4;
/// Most handlers that run at once in one container.
pub const CONCURRENCY_MAX: u16 = 64;
/// Most persistent worker processes of one container.
pub const WORKER_PROCESSES_MAX: u16 = 64;
/// Time between SIGTERM and SIGKILL for a handler that is cancelled or late.
pub const HANDLER_GRACE: Duration = Duration::from_secs(2);

/// Calls that one worker has in flight with one agent, streams aside; beyond it 429. 16 already use both cores of a small
/// host, 64 keep the median below 4 ms, the rest is patience.
pub const IN_FLIGHT_PER_AGENT: usize = 128;
/// Share of free blocks or inodes, in percent, below which no task is taken (507), unless the next two are less:
/// 5 % of a disk of 4 TB would be room for years of tasks that nobody could use.
pub const FREE_SPACE_FLOOR_PERCENT: u64 = 5;
/// Bytes that are room enough for the outcomes of tasks that were taken: 512 of the longest ones.
pub const FREE_SPACE_ENOUGH_BYTES: u64 = 4 << 30;
/// Inodes that are: twenty for each of the tasks that a worker may have in flight.
pub const FREE_SPACE_ENOUGH_INODES: u64 = 262_144;
/// Share of the memory of lanes, in percent, that workers keep free for results, unless the next two are less:
/// below it new calls go through the disk, and streams are refused (507).
pub const LANE_FLOOR_PERCENT: u64 = 25;
/// Bytes that are room enough for results: 128 of the longest ones.
pub const LANE_ENOUGH_BYTES: u64 = 1 << 30;
/// Inodes that are.
pub const LANE_ENOUGH_INODES: u64 = 65_536;
/// How long a waiting request goes without a hint from the kernel before its result is looked for.
pub const RESULT_POLL: Duration = Duration::from_millis(250);
/// Readings of hints on one agent that bring nothing anybody waits for, in each [`STRANGERS_REST`]; then hints of
/// this agent are gathered until it is over. 500 a second cost less than 1 % of a processor.
pub const STRANGERS_AT_ONCE: u32 = 2;
/// See [`STRANGERS_AT_ONCE`]: the longest time that an agent which floods its queue makes its own results later.
pub const STRANGERS_REST: Duration = Duration::from_millis(4);
/// How long the runner goes without a hint before it lists the inbox.
pub const INBOX_SWEEP: Duration = Duration::from_secs(5);
/// How long a request waits for an agent that is not running (it may be restarting) before 503.
pub const AGENT_DOWN_GRACE: Duration = Duration::from_secs(3);
/// Entries that the janitor looks at in one pass.
pub const JANITOR_ENTRIES: usize = 1000;

/// Connections of one worker; below `LimitNOFILE=` of its unit.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Connections of one address that one worker holds open if `settings.limits` does not say otherwise: browsers open
/// six, and a hundred addresses have to work together to take all. Of IPv6 a /64 counts as one address, as one
/// subscriber has at least that.
pub const CONNECTIONS_PER_ADDRESS: u32 = 100;
/// Requests a second that one worker answers one address, or one token, in the long run if `settings.limits` does
/// not say otherwise. A page with all it needs is some dozens, and a tenth of what a worker can do is left to
/// nobody alone.
pub const REQUESTS_PER_SECOND: u32 = 500;
/// Requests that may come at once after a quiet time if `settings.limits` does not say otherwise.
pub const REQUESTS_BURST: u32 = 1000;
/// Most `requestsPerSecond`: far above what one worker answers.
pub const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;
/// Most `burst`.
pub const REQUESTS_BURST_MAX: u32 = 1_000_000;
/// Addresses, and tokens, whose requests one worker counts at the same time, 16 bytes each. Those that used less
/// than their due are forgotten first, and need nothing kept; beyond that all newcomers count as one.
pub const COUNTED_CLIENTS: usize = 16_384;
/// Entries of `settings.trustedProxies`.
pub const TRUSTED_PROXIES_MAX: usize = 64;
/// Proxies in a row whose word on the address of a client is taken.
pub const PROXY_HOPS_MAX: usize = 16;
/// Connections of the admin, beside those: a few programs of root, some of which wait.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Time in which a client must send the request head, counted from its first byte, or from the connection if it
/// is the first one (CIS benchmark for nginx: at most 10 s).
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection is kept at least while its client asks for nothing (nginx has 75 s, Apache 5 s); what
/// one request leaves behind may take [`HEADER_TIMEOUT`] more.
pub const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Requests of one connection; then it is closed, as by nginx. Whoever opens one for so many pays a thousandth for it,
/// and nobody stays with an instance while others restart and have room.
pub const REQUESTS_PER_CONNECTION: u32 = 1000;
/// Time in which a client must send some more of a body that has not come whole (CIS benchmark for nginx: at most
/// 10 s).
pub const BODY_IDLE: Duration = Duration::from_secs(10);
/// Time in which a client must send the whole body of a call; one of an upload may take as long as
/// [`BODY_FLOOR_BYTES`] allow.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second that the body of an upload must bring while we wait for it, [`BODY_IDLE`] aside.
pub const BODY_FLOOR_BYTES: u64 = 1024;
/// How long a draining worker waits for kept-alive connections to send their next request.
pub const DRAIN_IDLE: Duration = Duration::from_secs(2);
/// How long a draining worker waits for requests in flight; below `TimeoutStopSec=` of its unit.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Bytes of a request head; four times what browsers send, and all that a stranger makes us hold.
pub const HEAD_MAX_BYTES: usize = 32 * 1024;
/// Header lines of a request; browsers send twenty, and proxies in front some more.
pub const HEADERS_MAX: usize = 64;
/// Bytes of a request target.
pub const URI_MAX_BYTES: usize = 8 * 1024;
/// How long a client may take nothing of an answer before its connection is closed.
pub const WRITE_STALL: Duration = Duration::from_secs(60);
/// Bytes of an answer that the kernel holds for a connection and could not send yet; without it, they are up to 4 MiB
/// for each client that does not read. What keeps a connection of 20 ms at 50 Mbit/s busy.
pub const UNSENT_MAX_BYTES: u32 = 128 * 1024;
/// How long a refused body is still read and thrown away: closing at once would reset the connection, and
/// the client would never see why.
pub const LINGER: Duration = Duration::from_secs(2);
/// How long a task that was cancelled may go without a record before the server writes one itself:
/// [`HANDLER_GRACE`] and time to notice.
pub const CANCEL_GRACE: Duration = Duration::from_secs(7);
/// Longest time between a change of the configuration and its effect, if the kernel's hint was lost.
pub const CONFIG_CHECK: Duration = Duration::from_secs(1);
/// Time between two passes of the janitor.
pub const JANITOR_INTERVAL: Duration = Duration::from_secs(5);

/// Bytes of the path of a static file.
pub const STATIC_PATH_MAX_BYTES: usize = 4096;
/// Bytes of a file that is read at once on the event loop; also the block in which longer ones are sent.
pub const STATIC_BLOCK_BYTES: usize = 64 * 1024;

/// Lines on finished tasks that a worker writes per second; each costs a message to the journal.
pub const TASK_LINES_PER_SECOND: u32 = 50;
/// Lines that may come at once after a quiet time.
pub const TASK_LINES_BURST: u32 = 200;
/// Time between two summaries of the lines that were left out.
pub const TASK_LINES_SUMMARY: Duration = Duration::from_secs(10);

/// Bytes of an uploaded agent directory, packed.
pub const ARCHIVE_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of an agent directory, all files together.
pub const TREE_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Files and directories of an agent directory.
pub const TREE_MAX_ENTRIES: usize = 100_000;
/// Levels of an agent directory.
pub const TREE_MAX_DEPTH: usize = 32;

/// First host uid of the agents' ranges; far above what user management hands out.
pub const UID_RANGE_FIRST: u32 = 1 << 30;
/// Uids of one agent.
pub const UID_RANGE_SIZE: u32 = 65_536;

/// Shortest time between two reloads of the service manager: each runs every generator (0.14 to 0.3 s).
pub const RELOAD_INTERVAL: Duration = Duration::from_secs(1);
/// Time that a unit has to start before a deployment is given up.
pub const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Time that a unit has to stop: agent-core ends its handlers within `StopTimeout=` of its container, 10 s.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Time between two signs of life of agent-core, and between two runs of a liveness command.
pub const AGENT_HEARTBEAT: Duration = Duration::from_secs(30);
/// Signs of life that an agent may owe: a host that is busy beyond its means gives them late.
pub const AGENT_HEARTBEATS: u32 = 3;
/// `WatchdogSec=` of an agent's unit: so long after the last sign of life systemd ends the container and starts
/// it anew.
pub const AGENT_WATCHDOG: Duration =
    Duration::from_secs(AGENT_HEARTBEAT.as_secs() * AGENT_HEARTBEATS as u64);
/// Runs of a liveness command that fail in a row before the agent ends itself and is started anew.
pub const LIVENESS_FAILURES: u32 = 3;
/// Bytes of what an agent says of itself: it becomes one line of a status.
pub const CONDITION_MAX_BYTES: usize = 512;

/// Patterns of commands in one list.
pub const COMMAND_PATTERNS_MAX: usize = 256;
/// Bytes of the file of a session or token.
pub const GRANT_MAX_BYTES: usize = 64 * 1024;
/// Characters of the name of a token.
pub const TOKEN_NAME_MAX_CHARS: usize = 64;
/// Time without a request after which a session ends, if the admin set nothing.
pub const SESSION_IDLE_DEFAULT: Duration = Duration::from_secs(30 * 60);
/// Shortest time without a request, and shortest life, that can be set.
pub const SESSION_IDLE_MIN: Duration = Duration::from_secs(60);
/// Life of a session however it is used, if the admin set nothing.
pub const SESSION_MAX_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest life of a session that can be set.
pub const SESSION_MAX_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Uses of a session or token within this time of the last one that was written down are not written.
pub const LAST_USE_GRAIN: Duration = Duration::from_secs(60);
/// Grants that one worker holds in memory, and as many that were used before them.
pub const GRANTS_IN_MEMORY: usize = 5_000;
/// Bytes of the files of these grants; parsed they take about three times as much.
pub const GRANTS_IN_MEMORY_BYTES: usize = 4 << 20;
/// How old the last look at the file of a grant may be when it is used. The kernel tells of changes at once; this
/// is for what it does not tell.
pub const GRANT_LOOK: Duration = Duration::from_millis(500);
/// Sessions of users on one host; beyond it nobody logs in before one ends.
pub const SESSIONS_MAX: usize = 10_000;
/// Sessions of one user of one domain; the next one ends the one that was not used for longest.
pub const SESSIONS_PER_USER: usize = 50;
/// Time between two looks for sessions that are over.
pub const SESSIONS_SWEEP: Duration = Duration::from_secs(60);

/// Accounts of admins on one host: people, and few of them.
pub const ADMINS_MAX: usize = 64;
/// Bytes of the file of accounts: a kilobyte for each.
pub const ADMIN_FILE_MAX_BYTES: usize = 64 * 1024;
/// Characters of the name of an admin: it stands in cookies' files, tables and the journal.
pub const ADMIN_NAME_MAX_CHARS: usize = 64;
/// Passwords that wait to be looked at; beyond it a login is put off.
pub const PASSWORDS_WAITING: usize = 8;
/// Rests of the thread that looks at passwords, in times of the work before: three leave a quarter of one core
/// to whoever floods the login, and the rest to tasks.
pub const PASSWORD_REST: u32 = 3;
/// What a client is told to wait if too many passwords wait.
pub const PASSWORD_RETRY: Duration = Duration::from_secs(5);
/// Wrong passwords of admins from one address in a row before nothing from there is right for a time; more than
/// of an account, as several people may sit behind one address.
pub const ADDRESS_FREE_FAILURES: u32 = 20;
/// First time that an address is closed; each further failure doubles it.
pub const LOCK_FIRST: Duration = Duration::from_secs(1);
/// Longest time that an address is closed.
pub const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// Addresses with failures that are remembered; the one that was quiet longest is forgotten.
pub const LOCKED_ADDRESSES_MAX: usize = 4096;
/// Time without a failure after which an address is forgotten.
pub const ADDRESS_FORGET: Duration = Duration::from_secs(3600);
/// Time without a request after which the session of an admin ends, if nothing is set; also the longest that
/// can be set.
pub const ADMIN_SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 60);
/// Shortest that can be set.
pub const ADMIN_SESSION_IDLE_MIN: Duration = Duration::from_secs(60);
/// Life of an admin's session however it is used, if nothing is set; also the longest that can be set.
pub const ADMIN_SESSION_MAX: Duration = Duration::from_secs(24 * 3600);
/// Sessions of one admin; the oldest ends when one more begins.
pub const SESSIONS_PER_ADMIN: usize = 16;
/// Tokens of programs on one host.
pub const TOKENS_MAX: usize = 1024;
/// Paths that one token may be limited to.
pub const TOKEN_PATHS_MAX: usize = 64;
/// How long ago an admin may have given the password for what is dangerous: accounts, passwords, tokens.
pub const FRESH_PASSWORD: Duration = Duration::from_secs(5 * 60);
/// Connections of the instances to the supervisor: one each, and one that is being replaced.
pub const SUPERVISOR_CONNECTIONS_MAX: usize = 2 * WORKERS_MAX as usize;
/// Calls of one instance that the supervisor answers at once.
pub const SUPERVISOR_CALLS_MAX: usize = 16;
/// Time that one call to the supervisor has.
pub const SUPERVISOR_CALL_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of what an admin sends: two passwords of the longest kind, each byte of which JSON writes with six.
pub const MANAGEMENT_BODY_MAX_BYTES: usize = 16 * 1024;
