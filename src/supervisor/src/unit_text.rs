//! The only writer of unit syntax: it refuses what has a meaning in a unit file instead of escaping it.
//!
//! Two kinds of values come from strangers and may hold anything: values of environment variables and words
//! of a command. They have a method each, whose output Quadlet and systemd read back as exactly the same
//! text; `tests/quadlet_argv.rs` asks the real generator. Everything else goes through [`UnitText::set`].

/// Bytes of a unit file. Quadlet joins all values to one `ExecStart=` line, and systemd drops a line that is
/// longer than 1 MiB (`LONG_LINE_MAX`); half of it leaves room for what Quadlet adds.
const UNIT_TEXT_MAX_BYTES: usize = 512 * 1024;

/// Characters that mean something to Quadlet, to systemd or to both, somewhere in a line.
const MEANINGFUL: [char; 7] = ['%', '$', '\\', '"', '\'', ';', '#'];

/// A unit file in the making.
#[derive(Debug, Default)]
pub(crate) struct UnitText {
    text: String,
}

/// Why a value cannot stand in a unit file. Nothing of the line was written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum UnitTextError {
    /// The character would be read as syntax.
    #[error("`{key}=` cannot hold the character `{}`", .found.escape_default())]
    Character {
        /// The key of the unit file.
        key: String,
        /// The first such character.
        found: char,
    },
    /// The value would be read as something else: an option, a list's end, the reset of a list.
    #[error("`{key}=` cannot hold the value `{}`", .value.escape_default())]
    Shape {
        /// The key of the unit file.
        key: String,
        /// The value.
        value: String,
    },
    /// All values together are too long for the one command line that they become.
    #[error("the unit would have more than {UNIT_TEXT_MAX_BYTES} bytes; shorten `env` or `run`")]
    TooLong,
}

impl UnitText {
    /// Adds a comment line.
    pub(crate) fn comment(&mut self, line: &'static str) -> &mut Self {
        self.line(&format!("# {line}"))
    }

    /// Begins a section.
    pub(crate) fn section(&mut self, name: &'static str) -> &mut Self {
        self.line(&format!("\n[{name}]"))
    }

    /// Adds a value that is ours.
    pub(crate) fn fixed(&mut self, key: &'static str, value: &'static str) -> &mut Self {
        self.line(&format!("{key}={value}"))
    }

    /// Adds a share in percent; systemd reads no specifier in such a value.
    pub(crate) fn percent(&mut self, key: &'static str, percent: u32) -> &mut Self {
        self.line(&format!("{key}={percent}%"))
    }

    /// Adds a value that was made from something else than this program's text.
    ///
    /// # Errors
    /// When the value is empty, starts with `-` or a space, ends with a space, or holds anything but
    /// printable ASCII without the characters that have a meaning.
    pub(crate) fn set(
        &mut self,
        key: &'static str,
        value: &str,
    ) -> Result<&mut Self, UnitTextError> {
        let has_meaning = |c: char| !(c == ' ' || c.is_ascii_graphic()) || MEANINGFUL.contains(&c);
        if let Some(found) = value.chars().find(|c| has_meaning(*c)) {
            return Err(UnitTextError::Character { key: key.to_owned(), found });
        }
        if value.is_empty() || value.starts_with(['-', ' ']) || value.ends_with(' ') {
            return Err(UnitTextError::Shape { key: key.to_owned(), value: value.to_owned() });
        }
        self.bounded(&format!("{key}={value}"))
    }

    /// Adds `Environment=` with one variable whose value may hold nearly everything.
    ///
    /// The word is quoted for Quadlet, which splits words and undoes C escapes. `%` and `$` are doubled for
    /// systemd, which reads the line that Quadlet makes: Quadlet itself passes both on as they are.
    ///
    /// # Errors
    /// When the name is not one, or the value holds NUL, which no environment can, or one of U+0080 to
    /// U+009F, which Quadlet writes as a single byte.
    pub(crate) fn environment(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<&mut Self, UnitTextError> {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name {
            return Err(UnitTextError::Shape {
                key: "Environment".to_owned(),
                value: name.to_owned(),
            });
        }
        let mut line = format!("Environment=\"{name}=");
        for c in value.chars() {
            match c {
                '\0' | '\u{80}'..='\u{9f}' => {
                    let key = format!("Environment={name}");
                    return Err(UnitTextError::Character { key, found: c });
                }
                '\\' | '"' => line.extend(['\\', c]),
                '%' | '$' => line.extend([c, c]),
                c if c.is_ascii_control() => {
                    line.push_str("\\x");
                    push_digits(&mut line, u32::from(c), 2);
                }
                c => line.push(c),
            }
        }
        line.push('"');
        self.bounded(&line)
    }

    /// Adds a key whose value Podman reads as a JSON array of words; each word may hold everything but NUL.
    ///
    /// JSON can write every character in letters and digits, so that neither Quadlet, which copies such a
    /// value as one word, nor systemd finds anything to expand.
    ///
    /// # Errors
    /// When there is no word, or one holds NUL, which no command line can.
    pub(crate) fn words<'w>(
        &mut self,
        key: &'static str,
        words: impl IntoIterator<Item = &'w str>,
    ) -> Result<&mut Self, UnitTextError> {
        let mut line = format!("{key}=");
        let mut separator = '[';
        for word in words {
            line.extend([separator, '"']);
            separator = ',';
            for c in word.chars() {
                if c == '\0' {
                    return Err(UnitTextError::Character { key: key.to_owned(), found: c });
                }
                if c.is_ascii_alphanumeric() || " ._/-:=@,+".contains(c) {
                    line.push(c);
                } else {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        line.push_str("\\u");
                        push_digits(&mut line, u32::from(*unit), 4);
                    }
                }
            }
            line.push('"');
        }
        if separator == '[' {
            return Err(UnitTextError::Shape { key: key.to_owned(), value: String::new() });
        }
        line.push(']');
        self.bounded(&line)
    }

    /// The text of the file.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn bounded(&mut self, line: &str) -> Result<&mut Self, UnitTextError> {
        if UNIT_TEXT_MAX_BYTES < self.text.len() + line.len() {
            return Err(UnitTextError::TooLong);
        }
        Ok(self.line(line))
    }

    fn line(&mut self, line: &str) -> &mut Self {
        self.text.push_str(line);
        self.text.push('\n');
        self
    }
}

/// Writes a number as so many hexadecimal digits.
fn push_digits(line: &mut String, number: u32, count: u32) {
    let digits = (0..count).rev().map(|place| (number >> (4 * place)) & 15);
    line.extend(digits.filter_map(|digit| char::from_digit(digit, 16)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a stranger tries in any field (the list of the test catalogue).
    pub(crate) const HOSTILE: [&str; 24] = [
        "\n[Service]\nExecStartPre=/bin/sh",
        "x\nPodmanArgs=--privileged",
        "\r\nPodmanArgs=--privileged",
        "-v",
        "--privileged",
        "%h",
        "%n",
        "%%",
        "$HOME",
        "${X}",
        "a\\",
        "a;b",
        ";",
        "#",
        "\"",
        "'",
        "\\x0a",
        "a\u{b}b",
        "a\u{85}b",
        "a\u{2028}b",
        "a\u{2029}b",
        "ünïcode",
        "\u{202e}rtl",
        "\0",
    ];

    #[test]
    fn a_value_with_a_meaning_is_refused_and_nothing_is_written() {
        for value in HOSTILE.into_iter().chain(["", " a", "a ", "a\tb", "a\nb"]) {
            let mut unit = UnitText::default();
            assert!(unit.set("Image", value).is_err(), "{value:?} was accepted");
            assert_eq!(unit.finish(), "");
        }
    }

    #[test]
    fn the_refusal_names_key_and_character() {
        let mut unit = UnitText::default();
        let error = unit.set("Image", "a\nPodmanArgs=--privileged").unwrap_err();
        assert_eq!(error.to_string(), "`Image=` cannot hold the character `\\n`");
        let error = unit.set("Image", "--privileged").unwrap_err();
        assert_eq!(error.to_string(), "`Image=` cannot hold the value `--privileged`");
    }

    #[test]
    fn a_plain_value_is_written_as_it_is() {
        let mut unit = UnitText::default();
        unit.section("Container").set("Image", "localhost/a:1@sha256:00").unwrap();
        unit.set("Volume", "/a b/[c]:/d:ro,nosuid").unwrap();
        assert_eq!(
            unit.finish(),
            "\n[Container]\nImage=localhost/a:1@sha256:00\nVolume=/a b/[c]:/d:ro,nosuid\n"
        );
    }

    #[test]
    fn an_environment_line_is_one_line_whatever_the_value() {
        let not_carried = ["\0", "a\u{85}b"];
        for value in HOSTILE.into_iter().filter(|value| !not_carried.contains(value)) {
            let mut unit = UnitText::default();
            unit.environment("A", value).unwrap();
            let text = unit.finish();
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(text.starts_with("Environment=\"A=") && text.ends_with("\"\n"), "{text:?}");
        }
        let mut unit = UnitText::default();
        unit.environment("A", "\\ \" ' % $ \n\t\u{7f} ü").unwrap();
        assert_eq!(unit.finish(), "Environment=\"A=\\\\ \\\" ' %% $$ \\x0a\\x09\\x7f ü\"\n");
        for value in ["a\0b", "\u{80}", "\u{9f}"] {
            let mut unit = UnitText::default();
            assert!(unit.environment("A", value).is_err(), "{value:?} was accepted");
            assert_eq!(unit.finish(), "");
        }
        for name in ["", "1A", "A B", "A=B", "A\nB", "Ä", "A%h"] {
            assert!(UnitText::default().environment(name, "x").is_err(), "{name:?} was accepted");
        }
    }

    #[test]
    fn words_are_json_in_letters_and_digits() {
        let mut unit = UnitText::default();
        unit.words("Entrypoint", ["/bin/a", "", "b c", "%h $X;\\\"'\n😀"]).unwrap();
        let text = unit.finish();
        let json = text.strip_prefix("Entrypoint=").unwrap();
        assert_eq!(
            serde_json::from_str::<Vec<String>>(json).unwrap(),
            ["/bin/a", "", "b c", "%h $X;\\\"'\n😀"]
        );
        let syntax = json.trim_end().chars().filter(|c| !c.is_ascii_alphanumeric());
        assert!(syntax.clone().all(|c| "[]\"\\, ./-".contains(c)), "{json}");
        assert!(UnitText::default().words("Entrypoint", []).is_err());
        assert!(UnitText::default().words("Entrypoint", ["a\0"]).is_err());
    }

    #[test]
    fn a_unit_has_a_bound() {
        let mut unit = UnitText::default();
        let value = "x".repeat(4096);
        let written = (0..200).take_while(|_| unit.environment("A", &value).is_ok()).count();
        assert_eq!(written, UNIT_TEXT_MAX_BYTES / (4096 + "Environment=\"A=\"\n".len()));
        assert_eq!(unit.set("Image", &value).unwrap_err(), UnitTextError::TooLong);
    }
}
