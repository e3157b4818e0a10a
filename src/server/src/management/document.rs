//! What admins send: small objects of strings, as JSON or as a form. Nothing of them is shown or logged.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ManagementError;
use crate::guardian::essence;
use crate::refusal::Refusal;

/// A name and a password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

/// A password alone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Password {
    pub(super) password: String,
}

/// Two passwords.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NewPassword {
    pub(super) old_password: String,
    pub(super) new_password: String,
}

/// The first account, and the one-time token for it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirstAccount {
    pub(super) token: String,
    pub(super) username: String,
    pub(super) password: String,
}

/// The body is something else. Nothing of it is repeated, as it may be nearly a password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the body is not the JSON object or the form with the strings that are asked for here")]
pub(crate) struct DocumentError;

/// Parses a body.
pub(super) fn parse<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Refusal> {
    let parsed = if is_form(headers) { of_form(bytes) } else { of_json(bytes) };
    parsed.ok_or(Refusal::Management(ManagementError::Document(DocumentError)))
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        essence(value).eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    })
}

/// An array would do for a struct, so the brace is looked at. Names that are there twice are refused by the
/// types above.
fn of_json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    bytes.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice(bytes).ok())?
}

fn of_form<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut members = Map::new();
    for (name, value) in form_urlencoded::parse(bytes) {
        if members.insert(name.into_owned(), Value::String(value.into_owned())).is_some() {
            return None;
        }
    }
    serde_json::from_value(Value::Object(members)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(media_type: &str, body: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, media_type.parse().unwrap());
        let credentials = parse::<Credentials>(&headers, body.as_bytes()).ok()?;
        Some((credentials.username, credentials.password))
    }

    #[test]
    fn what_is_no_login_is_refused_and_not_repeated() {
        let (json, form) = ("application/json", "application/x-www-form-urlencoded");
        for (media_type, body) in [
            (json, ""),
            (json, "null"),
            (json, r#"["ada","x"]"#),
            (json, r#"{"username":"ada"}"#),
            (json, r#"{"username":"ada","password":1}"#),
            (json, r#"{"username":"ada","password":"x","password":"y"}"#),
            (json, r#"{"username":"ada","password":"x","role":"owner"}"#),
            (json, r#"{"username":"ada","password":"\ud800"}"#),
            (json, r#"{"username":"ada","password":"x"} "#.repeat(2).as_str()),
            (json, "username=ada&password=x"),
            (form, r#"{"username":"ada","password":"x"}"#),
            (form, "username=ada"),
            (form, "username=ada&password=x&password=y"),
            (form, "username=ada&password=x&role=owner"),
        ] {
            assert_eq!(parsed(media_type, body), None, "{body}");
        }
        assert!(!DocumentError.to_string().contains('x'));
    }

    #[test]
    fn every_character_of_a_password_arrives() {
        let expected = Some(("ada".to_owned(), "a b\0ä+&=%".to_owned()));
        let json = r#"{"username":"ada","password":"a b\u0000ä+&=%"}"#;
        assert_eq!(parsed("application/json", json), expected);
        assert_eq!(parsed("application/json; charset=utf-8", json), expected);
        let form = "username=ada&password=a+b%00%C3%A4%2B%26%3D%25";
        assert_eq!(parsed("application/x-www-form-urlencoded", form), expected);
    }
}
