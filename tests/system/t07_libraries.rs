//! The libraries in `/agentCore/lib`, each through its example agent in a real container.

use serde_json::{Value, json};

use crate::host::{json as json_of, ok, sh, wait_for};
use crate::http::{Reply, call, call_with, request};

/// Deploys a bundled agent and waits until `command` answers with anything but "not there yet".
fn deploy(path: &str, agent: &str, command: &str) {
    sh("systemctl start ploinky-supervisor ploinky@1");
    ok(&["ploinkyctl", "deploy", "localhost", path, agent]);
    wait_for(&format!("a route to {path}"), || {
        let reply = call(path, command, &json!([])).ok()?;
        (reply.status != 404 && reply.status != 503).then_some(())
    });
}

fn data(path: &str, command: &str, params: &Value) -> Value {
    let reply = call(path, command, params).unwrap();
    assert_eq!(reply.status, 200, "{command}: {}", reply.text());
    reply.json()["data"].clone()
}

fn refusal(path: &str, command: &str, params: &Value) -> (u16, String) {
    let reply = call(path, command, params).unwrap();
    let code = reply.json()["code"].as_str().unwrap_or_default().to_owned();
    (reply.status, code)
}

/// The events of a stream, as (event, data).
fn stream(path: &str, query: &str) -> Vec<(String, Value)> {
    let reply = request("GET", &format!("{path}/subscribe?{query}"), "", b"").unwrap();
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("text/event-stream")),
        "{}",
        reply.text()
    );
    events(&reply)
}

fn events(reply: &Reply) -> Vec<(String, Value)> {
    let field = |block: &str, name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    reply
        .text()
        .split("\n\n")
        .filter_map(|block| {
            let data = field(block, "data: ")?;
            let name = field(block, "event: ").unwrap_or_else(|| "message".to_owned());
            Some((name, serde_json::from_str(&data).unwrap_or_else(|e| panic!("{e}: {data}"))))
        })
        .collect()
}

fn message(data: Value) -> (String, Value) {
    ("message".to_owned(), data)
}

/// The document of a task that has come to its end.
fn ended(id: &str) -> Value {
    let (document, _) = wait_for(&format!("the end of task {id}"), || {
        let document = request("GET", &format!("/tasks/{id}"), "", b"").ok()?.json();
        ["done", "failed", "dead", "cancelled"]
            .contains(&document["state"].as_str()?)
            .then_some(document)
    });
    document
}

fn accepted(path: &str, command: &str, params: &Value) -> String {
    let reply = call_with(path, "Prefer: respond-async\r\n", command, params).unwrap();
    assert_eq!(reply.status, 202, "{}", reply.text());
    let location = reply.header("location").unwrap().to_owned();
    location.strip_prefix("/tasks/").unwrap().to_owned()
}

#[test]
fn handlers_in_python_answer_say_progress_stream_and_give_files() {
    deploy("/text", "hello-python", "text.count");
    assert_eq!(refusal("/text", "text.count", &json!([7])), (500, "NOT_A_TEXT".to_owned()));
    assert_eq!(refusal("/text", "text.no", &json!([])), (404, "UNKNOWN_COMMAND".to_owned()));
    assert_eq!(
        data("/text", "text.count", &json!(["zwei Wörter"])),
        json!({"characters": 11, "words": 2, "user": "InternetUser"})
    );
    assert_eq!(
        stream("/text", "command=text.words&params=%5B%22a%20b%22%5D"),
        [
            message(json!("a")),
            message(json!("b")),
            ("end".to_owned(), json!({"success": true, "data": 2}))
        ]
    );
    let file = call("/text", "text.report", &json!(["one two\nthree"])).unwrap();
    assert_eq!(
        (file.status, file.header("content-type")),
        (200, Some("text/csv")),
        "{}",
        file.text()
    );
    assert_eq!(file.text(), "lines,words,characters\n2,3,13\n");

    // The first two runs fail, the third one is the last that is allowed.
    let good = ended(&accepted("/text", "text.flaky", &json!([3])));
    assert_eq!((&good["state"], &good["attempt"]), (&json!("done"), &json!(3)), "{good}");
    let dead = ended(&accepted("/text", "text.flaky", &json!([4])));
    assert_eq!(
        (&dead["state"], &dead["attempt"], &dead["error"]["code"]),
        (&json!("dead"), &json!(3), &json!("NOT_YET")),
        "{dead}"
    );

    let slow = accepted("/text", "text.slow", &json!([3]));
    let (percent, _) = wait_for("progress", || {
        let document = request("GET", &format!("/tasks/{slow}"), "", b"").ok()?.json();
        document["progress"]["percent"].as_u64().filter(|percent| 0 < *percent)
    });
    assert!(percent <= 100, "{percent}");
    let slow = ended(&slow);
    assert_eq!((&slow["data"], &slow["progress"]), (&json!(3), &json!({"percent": 100})), "{slow}");
}

#[test]
fn handlers_in_javascript_answer_and_stream() {
    deploy("/node", "hello-node", "hello.fast");
    assert_eq!(refusal("/node", "hello.count", &json!(["x"])), (500, "NOT_A_NUMBER".to_owned()));
    assert_eq!(data("/node", "hello.fast", &json!(["Ada"]))["greeting"], "Hello, Ada!");
    assert_eq!(
        stream("/node", "command=hello.count&params=%5B2%5D"),
        [
            message(json!(1)),
            message(json!(2)),
            ("end".to_owned(), json!({"success": true, "data": 2}))
        ]
    );
}

#[test]
fn handlers_in_shell_answer_stream_and_give_files() {
    deploy("/shell", "hello-shell", "shell.greet");
    assert_eq!(
        refusal("/shell", "shell.find", &json!(["it's \"x\"\n"])),
        (404, "NOT_FOUND".to_owned())
    );
    assert_eq!(
        refusal("/shell", "shell.count", &json!(["1; id"])),
        (500, "NOT_A_NUMBER".to_owned())
    );
    // Nothing of a parameter is read by a shell.
    let hostile = "$(id) `id` \"'\\ \u{e9}\n\t";
    assert_eq!(
        data("/shell", "shell.greet", &json!([hostile]))["greeting"],
        json!(format!("Hello, {hostile}!"))
    );
    assert_eq!(
        stream("/shell", "command=shell.count&params=%5B3%5D")[..3],
        [message(json!(1)), message(json!(2)), message(json!(3))]
    );
    let file = call("/shell", "shell.lines", &json!(["a line"])).unwrap();
    assert_eq!(
        (file.status, file.header("content-type"), file.text().as_str()),
        (200, Some("text/plain"), "a line\n")
    );
}

#[test]
fn a_program_that_serves_the_task_files_itself_answers() {
    deploy("/queue", "queue-node", "queue.greet");
    assert_eq!(refusal("/queue", "queue.fail", &json!([1])), (500, "QUEUE_FAILED".to_owned()));
    assert_eq!(data("/queue", "queue.greet", &json!(["Ada"])), json!({"greeting": "Hello, Ada!"}));
    let done = ended(&accepted("/queue", "queue.greet", &json!(["later"])));
    assert_eq!(done["data"], json!({"greeting": "Hello, later!"}), "{done}");
    let failed = ended(&accepted("/queue", "queue.fail", &json!([])));
    assert_eq!(
        (&failed["state"], &failed["error"]["code"]),
        (&json!("failed"), &json!("QUEUE_FAILED")),
        "{failed}"
    );
    let status = json_of(&["ploinkyctl", "agent", "status", "/queue", "--json"]);
    assert!(status.to_string().contains("queue-node"), "{status}");
}
