//! What a client asks for besides the call itself, in the headers of RFC 7240, RFC 9218 and our own.

use std::time::Duration;

use http::HeaderMap;
use ploinky_contract::limits::{
    CALLBACK_URL_MAX_BYTES, IDEMPOTENCY_KEY_MAX_BYTES, TASK_DEADLINE_MAX, URGENCY_DEFAULT,
    URGENCY_MAX,
};

use super::header_value::{HeaderError, single};
use super::prefer;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const PRIORITY: &str = "priority";
const TASK_DEADLINE: &str = "task-deadline";
const CALLBACK_URL: &str = "callback-url";

/// How a call is to be carried out. The default is that of a call without any of these headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Wishes {
    /// The task is to be accepted and kept instead of waited for.
    pub(crate) is_async: bool,
    /// How long an accepted task is waited for all the same.
    pub(crate) wait: Option<Duration>,
    /// Makes a repeated call the same task.
    pub(crate) key: Option<String>,
    /// 0 to 7, 0 first.
    pub(crate) urgency: u8,
    /// Time from the submission on that the task has to come to its end.
    pub(crate) deadline: Option<Duration>,
    /// Where the outcome is to be posted to. Whether that is allowed is the configuration's to say.
    pub(crate) callback: Option<String>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            is_async: false,
            wait: None,
            key: None,
            urgency: URGENCY_DEFAULT,
            deadline: None,
            callback: None,
        }
    }
}

impl Wishes {
    /// Whether the task has to outlive this connection, and this host's fall.
    pub(crate) fn is_durable(&self) -> bool {
        self.is_async || self.key.is_some()
    }

    /// The deadline, which must not be beyond `limit`.
    pub(crate) fn deadline_within(&self, limit: Duration) -> Result<Option<Duration>, HeaderError> {
        match self.deadline {
            Some(deadline) if limit < deadline => {
                let rule = format!(
                    "a call that is waited for has at most the {} s of its command",
                    limit.as_secs()
                );
                Err(HeaderError::new(
                    TASK_DEADLINE,
                    deadline.as_secs().to_string().as_bytes(),
                    rule,
                ))
            }
            known => Ok(known),
        }
    }

    /// The wishes in `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, HeaderError> {
        let prefer = prefer::of(headers)?;
        let wishes = Self {
            is_async: prefer.respond_async,
            wait: prefer.wait,
            key: single(headers, IDEMPOTENCY_KEY)?.map(key).transpose()?,
            urgency: single(headers, PRIORITY)?.map_or(Ok(URGENCY_DEFAULT), urgency)?,
            deadline: single(headers, TASK_DEADLINE)?.map(deadline).transpose()?,
            callback: single(headers, CALLBACK_URL)?.map(callback).transpose()?,
        };
        if let (Some(url), false) = (&wishes.callback, wishes.is_async) {
            let rule = "a callback goes with `Prefer: respond-async`";
            return Err(HeaderError::new(CALLBACK_URL, url.as_bytes(), rule));
        }
        Ok(wishes)
    }
}

fn key(value: &[u8]) -> Result<String, HeaderError> {
    visible(value, IDEMPOTENCY_KEY_MAX_BYTES).ok_or_else(|| {
        let rule = format!("a key is 1 to {IDEMPOTENCY_KEY_MAX_BYTES} visible ASCII characters");
        HeaderError::new(IDEMPOTENCY_KEY, value, rule)
    })
}

fn callback(value: &[u8]) -> Result<String, HeaderError> {
    visible(value, CALLBACK_URL_MAX_BYTES).ok_or_else(|| {
        let rule = format!(
            "a callback is an http or https URL of at most {CALLBACK_URL_MAX_BYTES} visible ASCII characters"
        );
        HeaderError::new(CALLBACK_URL, value, rule)
    })
}

fn visible(value: &[u8], limit: usize) -> Option<String> {
    let is_visible = (1..=limit).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    is_visible.then(|| String::from_utf8_lossy(value).into_owned())
}

/// `u` of RFC 9218; what else the header may say is for others.
fn urgency(value: &[u8]) -> Result<u8, HeaderError> {
    let refused = || {
        let rule = format!("write `u=` and a number from 0 to {URGENCY_MAX} (RFC 9218)");
        HeaderError::new(PRIORITY, value, rule)
    };
    let dictionary =
        sfv::Parser::new(value).parse::<sfv::Dictionary>().map_err(|_invalid| refused())?;
    match dictionary.get("u") {
        None => Ok(URGENCY_DEFAULT),
        Some(sfv::ListEntry::Item(item)) => item
            .bare_item
            .as_integer()
            .and_then(|number| u8::try_from(number).ok())
            .filter(|number| *number <= URGENCY_MAX)
            .ok_or_else(refused),
        Some(sfv::ListEntry::InnerList(_)) => Err(refused()),
    }
}

fn deadline(value: &[u8]) -> Result<Duration, HeaderError> {
    seconds(value, TASK_DEADLINE_MAX).filter(|span| !span.is_zero()).ok_or_else(|| {
        let rule = format!(
            "a deadline is 1 to {} whole seconds from the submission on",
            TASK_DEADLINE_MAX.as_secs()
        );
        HeaderError::new(TASK_DEADLINE, value, rule)
    })
}

/// A number of whole seconds, at most `limit`.
pub(super) fn seconds(value: &[u8], limit: Duration) -> Option<Duration> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(Duration::from_secs(number)).filter(|span| *span <= limit)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(lines: &[(&'static str, &str)]) -> Result<Wishes, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        Wishes::of(&headers).map_err(|error| error.to_string())
    }

    #[test]
    fn a_wrong_value_is_refused_by_name_value_and_rule() {
        let long_key = "k".repeat(256);
        let long_url = format!("https://a/{}", "x".repeat(CALLBACK_URL_MAX_BYTES));
        for (name, value, rule) in [
            (IDEMPOTENCY_KEY, "", "1 to 255 visible ASCII"),
            (IDEMPOTENCY_KEY, "a b", "1 to 255 visible ASCII"),
            (IDEMPOTENCY_KEY, "ä", "1 to 255 visible ASCII"),
            (IDEMPOTENCY_KEY, &long_key, "1 to 255 visible ASCII"),
            (PRIORITY, "u=8", "from 0 to 7"),
            (PRIORITY, "u=-1", "from 0 to 7"),
            (PRIORITY, "u=1.5", "from 0 to 7"),
            (PRIORITY, "u", "from 0 to 7"),
            (PRIORITY, "u=(1)", "from 0 to 7"),
            (PRIORITY, "u=\"1\"", "from 0 to 7"),
            (PRIORITY, "U=1", "from 0 to 7"),
            (PRIORITY, "u=1,,", "from 0 to 7"),
            (TASK_DEADLINE, "", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "0", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "604801", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "-1", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "+1", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "1.5", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "1s", "1 to 604800 whole seconds"),
            (TASK_DEADLINE, "99999999999999999999999", "1 to 604800 whole seconds"),
            (CALLBACK_URL, "", "visible ASCII"),
            (CALLBACK_URL, "https://a/ b", "visible ASCII"),
            (CALLBACK_URL, &long_url, "visible ASCII"),
            (CALLBACK_URL, "https://a/", "goes with `Prefer: respond-async`"),
        ] {
            let said = of(&[(name, value)]).expect_err(value);
            assert!(said.starts_with(&format!("the header {name} has the value `")), "{said}");
            assert!(said.contains(rule), "{said}");
            let shown = value.chars().take(50).collect::<String>().escape_debug().to_string();
            assert!(said.contains(&shown), "{said}");
        }
        for name in [IDEMPOTENCY_KEY, PRIORITY, TASK_DEADLINE, CALLBACK_URL] {
            let said = of(&[(name, "1"), (name, "1")]).expect_err(name);
            assert!(said.contains("must be there once"), "{said}");
        }
    }

    #[test]
    fn a_call_that_is_waited_for_has_no_more_time_than_its_command() {
        let wishes = of(&[(TASK_DEADLINE, "31")]).unwrap();
        let said = wishes.deadline_within(Duration::from_secs(30)).unwrap_err().to_string();
        assert_eq!(
            said,
            "the header task-deadline has the value `31`: a call that is waited for has at most the 30 s of its command"
        );
        let span = Duration::from_secs(31);
        assert_eq!(wishes.deadline_within(span), Ok(Some(span)));
        assert_eq!(Wishes::default().deadline_within(Duration::ZERO), Ok(None));
    }

    #[test]
    fn no_header_is_no_wish() {
        assert_eq!(of(&[]), Ok(Wishes::default()));
        assert_eq!(of(&[(PRIORITY, "i")]), Ok(Wishes::default()));
        assert!(!Wishes::default().is_durable());
    }

    #[test]
    fn all_wishes_are_understood() {
        let wishes = of(&[
            ("prefer", "respond-async, wait=5"),
            (IDEMPOTENCY_KEY, "\"8e03\"~!"),
            (PRIORITY, "u=0, i"),
            (TASK_DEADLINE, "604800"),
            (CALLBACK_URL, "https://example.org/x?y"),
        ]);
        let expected = Wishes {
            is_async: true,
            wait: Some(Duration::from_secs(5)),
            key: Some("\"8e03\"~!".to_owned()),
            urgency: 0,
            deadline: Some(TASK_DEADLINE_MAX),
            callback: Some("https://example.org/x?y".to_owned()),
        };
        assert_eq!(wishes, Ok(expected));
        assert!(of(&[(IDEMPOTENCY_KEY, "k")]).unwrap().is_durable());
    }
}
