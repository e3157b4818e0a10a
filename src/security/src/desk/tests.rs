//! Who may log in, what wrong passwords cost, and who may manage users.

use std::cell::Cell;

use super::*;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(1_000_000_000) };
}

const GOOD: &str = "seven blue lamps on a wall";
const OTHER: &str = "nine green doors by a lake";

struct Place {
    root: tempfile::TempDir,
    desk: Desk,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let desk = desk(root.path());
    Place { root, desk }
}

fn desk(root: &Path) -> Desk {
    Desk { clock: || NOW_MS.get(), ..Desk::open(root).unwrap() }
}

impl Place {
    /// The answer, or the code of the refusal.
    fn ask(&self, caller: &str, command: &str, params: Value) -> Result<Value, &'static str> {
        let Value::Array(params) = params else { panic!("parameters are a list") };
        let order = Order::parse(command, params).map_err(|refused| refused.code())?;
        let (caller, command) = (caller.parse().unwrap(), command.parse().unwrap());
        self.desk.carry_out(&caller, &command, order).map_err(|refused| refused.code())
    }

    fn add(&self, name: &str, patterns: &[&str]) {
        self.ask("Admin", "user.add", json!([name, GOOD, patterns])).unwrap();
    }

    fn login(&self, name: &str, password: &str) -> Result<Value, &'static str> {
        self.ask("InternetUser", "login", json!([name, password]))
    }
}

fn later(milliseconds: u64) {
    NOW_MS.set(NOW_MS.get() + milliseconds);
}

#[test]
fn s8_unknown_wrong_disabled_and_no_name_at_all_have_one_answer() {
    let place = place();
    place.add("alice", &["*"]);
    place.add("bob", &["*"]);
    place.ask("Admin", "user.disable", json!(["bob"])).unwrap();
    for (name, password) in [
        ("alice", OTHER),
        ("alice", ""),
        ("Alice", GOOD),
        ("bob", GOOD),
        ("carol", GOOD),
        ("../users/alice", GOOD),
        ("Admin", GOOD),
        ("InternetUser", GOOD),
        ("", GOOD),
        ("a b\0\n", GOOD),
    ] {
        assert_eq!(place.login(name, password), Err("INVALID_CREDENTIALS"), "{name:?}");
    }
    let expected = json!({"userId": "alice", "allowedCommands": ["*"]});
    assert_eq!(place.login("alice", GOOD), Ok(expected));
    // Strangers leave one file behind, however many they are.
    let left: Vec<_> = std::fs::read_dir(place.root.path().join("failures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn s9_after_five_wrong_passwords_the_right_one_has_to_wait_and_an_admin_can_help() {
    let place = place();
    place.add("alice", &[]);
    place.add("bob", &[]);
    for _ in 0..5 {
        assert_eq!(place.login("alice", OTHER), Err("INVALID_CREDENTIALS"));
    }
    assert_eq!(place.login("alice", GOOD), Err("INVALID_CREDENTIALS"));
    assert!(place.login("bob", GOOD).is_ok(), "others do not wait");
    // Another process of the agent knows it, too.
    let other = Place { root: tempfile::tempdir().unwrap(), desk: desk(place.root.path()) };
    assert_eq!(other.login("alice", GOOD), Err("INVALID_CREDENTIALS"));
    assert_eq!(place.ask("Admin", "user.show", json!(["alice"])).unwrap()["failures"], 5);
    later(1000);
    assert!(place.login("alice", GOOD).is_ok());
    assert_eq!(place.ask("Admin", "user.show", json!(["alice"])).unwrap()["failures"], 0);
    for help in [json!(["alice", GOOD]), json!(["alice"])] {
        for _ in 0..5 {
            assert_eq!(place.login("alice", OTHER), Err("INVALID_CREDENTIALS"));
        }
        let command = if help[1].is_null() { "user.enable" } else { "user.password" };
        place.ask("Admin", command, help).unwrap();
        assert!(place.login("alice", GOOD).is_ok(), "{command}");
    }
}

#[test]
fn u1_users_are_managed_by_the_admin_and_by_whom_that_was_given_by_name() {
    let place = place();
    place.add("alice", &["*"]);
    place.add("helper", &["user.list", "user.disable", "user.enable", "echo.*"]);
    place.add("former", &["user.*"]);
    place.ask("Admin", "user.disable", json!(["former"])).unwrap();
    let all = [
        ("user.add", json!(["x", GOOD])),
        ("user.list", json!([])),
        ("user.show", json!(["alice"])),
        ("user.password", json!(["alice", OTHER])),
        ("user.disable", json!(["alice"])),
        ("user.enable", json!(["alice"])),
        ("user.remove", json!(["alice"])),
        ("user.permissions", json!(["alice", ["*"]])),
    ];
    for (command, params) in &all {
        for caller in ["InternetUser", "alice", "nobody", "former", "admin", "ADMIN"] {
            let refused = place.ask(caller, command, params.clone());
            assert_eq!(refused, Err("FORBIDDEN"), "{caller} {command}");
        }
    }
    place.add("echoer", &["echo.say"]);
    assert!(place.ask("helper", "user.list", json!([])).is_ok());
    assert!(place.ask("helper", "user.disable", json!(["echoer"])).is_ok());
    let beyond = [
        ("user.disable", json!(["alice"])),
        ("user.enable", json!(["former"])),
        ("user.permissions", json!(["helper", ["user.*"]])),
        ("user.remove", json!(["echoer"])),
    ];
    for (command, params) in beyond {
        assert_eq!(place.ask("helper", command, params), Err("FORBIDDEN"), "{command}");
    }
    assert_eq!(place.login("alice", OTHER), Err("INVALID_CREDENTIALS"));
    assert!(place.login("alice", GOOD).is_ok());
    // One that has them all may do what the admin does, within their own rights.
    place.add("chief", &["user.*", "echo.*"]);
    assert!(place.ask("chief", "user.add", json!(["new", GOOD, ["echo.say"]])).is_ok());
    assert_eq!(place.ask("chief", "user.add", json!(["newer", GOOD])), Err("FORBIDDEN"));
    assert_eq!(place.ask("chief", "user.password", json!(["alice", OTHER])), Err("FORBIDDEN"));
}

#[test]
fn u5_what_ends_sessions_says_so() {
    let place = place();
    place.add("alice", &["echo.*"]);
    let revoked = |command: &str, params: Value| {
        place.ask("Admin", command, params).unwrap()["revokeUser"].clone()
    };
    assert_eq!(revoked("user.permissions", json!(["alice", ["shop.*"]])), "alice");
    assert_eq!(revoked("user.password", json!(["alice", OTHER])), "alice");
    assert_eq!(revoked("user.disable", json!(["alice"])), "alice");
    assert_eq!(revoked("user.enable", json!(["alice"])), Value::Null);
    assert_eq!(
        place.login("alice", OTHER).unwrap(),
        json!({"userId": "alice", "allowedCommands": ["shop.*", "password.change"]})
    );
    let changed = place.ask("alice", "password.change", json!([OTHER, GOOD])).unwrap();
    assert_eq!(changed, json!({"userId": "alice", "revokeUser": "alice"}));
    assert_eq!(revoked("user.remove", json!(["alice"])), "alice");
    assert_eq!(place.login("alice", GOOD), Err("INVALID_CREDENTIALS"));
}

#[test]
fn a2_a_new_password_needs_the_old_one_and_follows_the_rules() {
    let place = place();
    place.add("alice", &[]);
    for (old, new, code) in [
        (OTHER, "ten red chairs in a garden", "INVALID_CREDENTIALS"),
        (GOOD, "short", "BAD_REQUEST"),
        (GOOD, "alicealicealice", "BAD_REQUEST"),
        (GOOD, "password123456789", "BAD_REQUEST"),
    ] {
        assert_eq!(place.ask("alice", "password.change", json!([old, new])), Err(code), "{new}");
    }
    for caller in ["InternetUser", "Admin"] {
        let refused = place.ask(caller, "password.change", json!([GOOD, OTHER]));
        assert_eq!(refused, Err("FORBIDDEN"));
    }
    let unknown = place.ask("bob", "password.change", json!([GOOD, OTHER]));
    assert_eq!(unknown, Err("INVALID_CREDENTIALS"));
    assert!(place.login("alice", GOOD).is_ok());
    assert!(place.ask("alice", "password.change", json!([GOOD, OTHER])).is_ok());
    assert_eq!(place.login("alice", GOOD), Err("INVALID_CREDENTIALS"));
    assert!(place.login("alice", OTHER).is_ok());
}

#[test]
fn s7_a_hash_that_was_made_with_fewer_rounds_is_renewed_by_the_next_login() {
    let place = place();
    place.add("alice", &[]);
    let name: UserName = "alice".parse().unwrap();
    let mut user = place.desk.book.user(&name).unwrap().unwrap();
    // `hashlib.pbkdf2_hmac('sha256', b'pass\0word', b'0123456789abcdef', 1000)` of Python.
    user.password = "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$tMECn4gms2gmvixjGQCSH1Sq72EoXumvT+w48cuT2ec"
        .parse()
        .unwrap();
    place.desk.book.pen().unwrap().put(&user).unwrap();
    assert_eq!(place.login("alice", "pass\0wore"), Err("INVALID_CREDENTIALS"));
    assert_eq!(place.desk.book.user(&name).unwrap().unwrap().password, user.password);
    assert!(place.login("alice", "pass\0word").is_ok());
    let renewed = place.desk.book.user(&name).unwrap().unwrap().password;
    assert!(!renewed.is_outdated());
    assert!(place.login("alice", "pass\0word").is_ok());
}

#[test]
fn as1_what_is_shown_of_users_has_no_password_and_no_hash() {
    let place = place();
    assert_eq!(
        place.ask("Admin", "user.add", json!(["bob@example.org", GOOD, ["echo.*"]])).unwrap(),
        json!({"userId": "bob@example.org", "allowedCommands": ["echo.*"], "disabled": false,
            "createdAt": 1_000_000, "passwordSetAt": 1_000_000, "failures": 0})
    );
    place.add("alice", &[]);
    for name in ["alice", "bob@example.org"] {
        assert_eq!(place.ask("Admin", "user.add", json!([name, OTHER])), Err("CONFLICT"));
    }
    for (command, params) in [("user.show", json!(["x"])), ("user.remove", json!(["x"]))] {
        assert_eq!(place.ask("Admin", command, params), Err("NOT_FOUND"));
    }
    let listed = place.ask("Admin", "user.list", json!([])).unwrap();
    let names: Vec<_> =
        listed["users"].as_array().unwrap().iter().map(|user| &user["userId"]).collect();
    assert_eq!(names, ["alice", "bob@example.org"]);
    let shown = listed.to_string()
        + &place.ask("Admin", "user.show", json!(["alice"])).unwrap().to_string();
    assert!(!shown.contains("pbkdf2") && !shown.contains(GOOD), "{shown}");
}

#[test]
fn k4_what_a_crash_leaves_is_the_old_user_or_the_new_one() {
    let place = place();
    place.add("alice", &[]);
    let root = place.root.path();
    std::fs::File::create(root.join("users/.bob.json.tmp")).unwrap();
    std::fs::File::create(root.join("failures/alice")).unwrap();
    let again = Place { root: tempfile::tempdir().unwrap(), desk: desk(root) };
    let listed = again.ask("Admin", "user.list", json!([])).unwrap();
    assert_eq!(listed["users"].as_array().unwrap().len(), 1);
    assert!(again.login("alice", GOOD).is_ok());
    assert!(Desk::open(&root.join("not there")).is_err());
}
