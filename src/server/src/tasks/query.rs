//! The parameters of the URL of `/tasks`, refused by name, value and rule.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use ploinky_contract::limits::{TASKS_PAGE_DEFAULT, TASKS_PAGE_MAX};
use ploinky_contract::{CommandName, TaskState, UserId};

use crate::task_queue::{Position, Wanted};

/// Characters of a name or a value that a refusal repeats.
const SHOWN_MAX_CHARS: usize = 100;

/// A parameter has a value that is not allowed.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
#[error("the parameter `{name}` has the value `{value}`: {rule}")]
pub(crate) struct QueryError {
    name: String,
    value: String,
    rule: String,
}

/// Which tasks of which agent a list is to have.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// `domain/path`; without it all agents.
    pub(super) agent: Option<String>,
    /// Which tasks.
    pub(super) wanted: Wanted,
}

/// Refuses parameters where there are none.
pub(super) fn nothing(query: Option<&str>) -> Result<(), QueryError> {
    match pairs(query)?.next() {
        None => Ok(()),
        Some((name, value)) => Err(refused(&name, &value, "there are no parameters here")),
    }
}

/// The parameters of a list.
pub(super) fn filter(query: Option<&str>) -> Result<Filter, QueryError> {
    let mut filter = Filter::default();
    let mut limit = None;
    for (name, value) in pairs(query)? {
        let no = |rule: &str| refused(&name, &value, rule);
        match &*name {
            "agent" => once(&mut filter.agent, value.clone().into_owned(), &name, &value)?,
            "state" => {
                let state = TaskState::from_word(&value).ok_or_else(|| no(&state_rule()))?;
                once(&mut filter.wanted.state, state, &name, &value)?;
            }
            "command" => {
                let command: CommandName =
                    value.parse().map_err(|_shape| no("is no command name"))?;
                once(&mut filter.wanted.command, command, &name, &value)?;
            }
            "owner" => {
                let owner: UserId = value.parse().map_err(|_shape| no("is no user id"))?;
                once(&mut filter.wanted.owner, owner, &name, &value)?;
            }
            "cursor" => {
                let after = cursor(&value)
                    .ok_or_else(|| no("is no cursor; take `next` of the page before"))?;
                once(&mut filter.wanted.after, after, &name, &value)?;
            }
            "limit" => {
                let number = value
                    .parse()
                    .ok()
                    .filter(|number| (1..=TASKS_PAGE_MAX).contains(number))
                    .ok_or_else(|| no(&format!("is no number from 1 to {TASKS_PAGE_MAX}")))?;
                once(&mut limit, number, &name, &value)?;
            }
            _ => {
                return Err(no("the parameters are agent, state, command, owner, limit, cursor"));
            }
        }
    }
    filter.wanted.limit = limit.unwrap_or(TASKS_PAGE_DEFAULT);
    Ok(filter)
}

/// The agent that is asked for, and nothing else.
pub(super) fn agent(query: Option<&str>) -> Result<String, QueryError> {
    let mut found = None;
    for (name, value) in pairs(query)? {
        if name != "agent" || found.is_some() {
            return Err(refused(&name, &value, "the only parameter is one agent"));
        }
        found = Some(value.into_owned());
    }
    found.ok_or_else(|| refused("agent", "", "is missing; write agent=domain/path"))
}

/// The parameters of a purge: dead tasks are removed and no others.
pub(super) fn purge(query: Option<&str>) -> Result<Filter, QueryError> {
    for (name, value) in pairs(query)? {
        if !matches!(&*name, "agent" | "state") {
            return Err(refused(&name, &value, "a purge has the parameters state and agent"));
        }
    }
    let mut filter = filter(query)?;
    if filter.wanted.state != Some(TaskState::Dead) {
        let found = filter.wanted.state.map(TaskState::as_str).unwrap_or_default();
        return Err(refused("state", found, "only tasks in the state `dead` can be purged"));
    }
    filter.wanted.limit = TASKS_PAGE_MAX;
    Ok(filter)
}

/// The text of a cursor.
pub(super) fn cursor_of(position: Position) -> String {
    format!("{:x}-{}", position.age_ns, position.id)
}

fn cursor(text: &str) -> Option<Position> {
    let (age, id) = text.split_once('-')?;
    let position = Position { age_ns: u64::from_str_radix(age, 16).ok()?, id: id.parse().ok()? };
    (cursor_of(position) == text).then_some(position)
}

fn state_rule() -> String {
    format!("is none of {}", TaskState::ALL.map(TaskState::as_str).join(", "))
}

/// The parameters of a URL, decoded. What is no text is refused: the decoder would put other characters there.
pub(crate) fn pairs(
    query: Option<&str>,
) -> Result<impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)>, QueryError> {
    let query = query.unwrap_or_default();
    if percent_decode_str(query).decode_utf8().is_err() {
        let (name, value) = query.split_once('=').unwrap_or((query, ""));
        return Err(refused(name, value, "is not UTF-8"));
    }
    Ok(form_urlencoded::parse(query.as_bytes()))
}

/// Keeps the value of a parameter that may be there once.
pub(crate) fn once<T>(
    place: &mut Option<T>,
    parsed: T,
    name: &str,
    value: &str,
) -> Result<(), QueryError> {
    match place.replace(parsed) {
        None => Ok(()),
        Some(_first) => Err(refused(name, value, "the parameter must be there once")),
    }
}

/// The refusal of a value.
pub(crate) fn refused(name: &str, value: &str, rule: &str) -> QueryError {
    let shown = |text: &str| {
        let mut shown: String = text.chars().take(SHOWN_MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown.escape_debug().to_string()
    };
    QueryError { name: shown(name), value: shown(value), rule: rule.to_owned() }
}

#[cfg(test)]
mod tests {
    use ploinky_contract::TaskId;

    use super::*;

    #[test]
    fn wrong_parameters_are_refused_by_name_value_and_rule() {
        let long = "x".repeat(1000);
        for (query, name, value, rule) in [
            ("x=1", "x", "1", "the parameters are agent, state"),
            ("State=dead", "State", "dead", "the parameters are agent, state"),
            ("state=", "state", "", "is none of queued, running, retrying, done"),
            ("state=DONE", "state", "DONE", "is none of queued"),
            ("command=a/b", "command", "a/b", "is no command name"),
            ("owner=a%20b", "owner", "a b", "is no user id"),
            ("limit=0", "limit", "0", "from 1 to 1000"),
            ("limit=1001", "limit", "1001", "from 1 to 1000"),
            ("limit=-1", "limit", "-1", "from 1 to 1000"),
            ("limit=1&limit=1", "limit", "1", "must be there once"),
            ("agent=a&agent=a", "agent", "a", "must be there once"),
            ("cursor=1", "cursor", "1", "is no cursor"),
            ("cursor=0x1-0123456789abcdef0123456789abcdef", "cursor", "0x1-0", "is no cursor"),
            ("cursor=%2B1-0123456789abcdef0123456789abcdef", "cursor", "+1-0", "is no cursor"),
            ("state=%00", "state", "\\0", "is none of"),
            (&format!("state={long}"), "state", "xxx", "…`: is none of"),
        ] {
            let said = filter(Some(query)).expect_err(query).to_string();
            let start = format!("the parameter `{name}` has the value `{value}");
            assert!(said.starts_with(&start) && said.contains(rule), "{said}");
            assert!(said.len() < 400, "{said}");
        }
        for (query, rule) in [
            (None, "only tasks in the state `dead`"),
            (Some("state=done"), "only tasks in the state `dead`"),
            (Some("agent=localhost/a"), "only tasks in the state `dead`"),
            (Some("state=dead&owner=a"), "a purge has the parameters"),
            (Some("state=dead&limit=1"), "a purge has the parameters"),
        ] {
            let said = purge(query).expect_err("refused").to_string();
            assert!(said.contains(rule), "{said}");
        }
        for (query, rule) in [
            (None, "is missing"),
            (Some("x=1"), "the only parameter is one agent"),
            (Some("agent=a&agent=a"), "the only parameter is one agent"),
        ] {
            let said = agent(query).expect_err("refused").to_string();
            assert!(said.contains(rule), "{said}");
        }
        assert_eq!(agent(Some("agent=localhost%2Fa")).as_deref(), Ok("localhost/a"));
        assert!(nothing(Some("a")).is_err() && nothing(Some("")).is_ok() && nothing(None).is_ok());
    }

    #[test]
    fn a_list_is_described_by_its_parameters() {
        let position = Position { age_ns: 0x1f, id: TaskId::from_random([7; 16]) };
        let text = format!(
            "agent=localhost%2Fa&state=retrying&command=ns.a&owner=InternetUser&limit=7&cursor={}",
            cursor_of(position)
        );
        let Filter { agent, wanted } = filter(Some(&text)).unwrap();
        assert_eq!(agent.as_deref(), Some("localhost/a"));
        let Wanted { state, command, owner, after, limit } = wanted;
        assert_eq!((state, after, limit), (Some(TaskState::Retrying), Some(position), 7));
        assert_eq!(command.unwrap().as_str(), "ns.a");
        assert_eq!(owner, Some(UserId::internet_user()));
        assert_eq!(filter(None).unwrap().wanted.limit, TASKS_PAGE_DEFAULT);
        assert!(purge(Some("state=dead&agent=localhost/a")).is_ok());
    }
}
