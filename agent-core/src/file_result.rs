//! What a handler calls the file that is its result.

use serde::Deserialize;

/// Name and media type, as the handler says them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub(crate) struct FileName {
    /// The name for who downloads it; the id of the task if absent.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The media type; `application/octet-stream` if absent.
    #[serde(default, rename = "type")]
    pub(crate) media_type: Option<String>,
}

impl FileName {
    /// What stdout says of a file; nothing at all is allowed.
    pub(crate) fn parse(stdout: &[u8]) -> Result<Self, serde_json::Error> {
        if stdout.trim_ascii().is_empty() {
            return Ok(Self { name: None, media_type: None });
        }
        serde_json::from_slice(stdout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_or_an_object_names_a_file() {
        let name = |text: &str| FileName::parse(text.as_bytes()).ok();
        let file = |name: Option<&str>, media_type: Option<&str>| {
            let [name, media_type] = [name, media_type].map(|text| text.map(str::to_owned));
            Some(FileName { name, media_type })
        };
        for text in ["done", "[]x", "\"a.txt\"", "{\"name\":1}", "{"] {
            assert_eq!(name(text), None, "{text}");
        }
        assert_eq!(name(" \n"), file(None, None));
        assert_eq!(name("{\"name\":\"a.txt\"}"), file(Some("a.txt"), None));
        let both = "{\"name\":\"a\",\"type\":\"text/plain\",\"x\":1}";
        assert_eq!(name(both), file(Some("a"), Some("text/plain")));
    }
}
