//! Everything that a person or a program reads is written here, to streams that tests can hand in.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::words::printable;

/// Data for the caller and words about it, apart.
pub(crate) struct Output<'a> {
    /// Data.
    pub(crate) out: Stream<'a>,
    /// Progress, warnings, errors.
    pub(crate) err: Stream<'a>,
    /// `--json`: data is for a program.
    pub(crate) json: bool,
}

/// One of the two streams.
pub(crate) struct Stream<'a> {
    to: &'a mut dyn Write,
    terminal: bool,
    colour: bool,
}

/// The stream does not take what is written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output")]
pub(crate) struct WriteError(#[source] pub(crate) io::Error);

/// How a word stands out; never the only sign of what it means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    /// As it should be.
    Good,
    /// On the way, or wanted so.
    Notice,
    /// Someone must act.
    Bad,
    /// Less important than the rest.
    Faint,
    /// A heading or a label.
    Strong,
    /// As the rest.
    Plain,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Notice => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default().bold(),
            Self::Faint => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Plain => Style::new(),
        }
    }
}

/// Hands the process's own streams to `act`. Colours only where the stream is a terminal that shows them and
/// neither `NO_COLOR` nor `TERM=dumb` says otherwise.
pub(crate) fn with_standard_streams<T>(act: impl FnOnce(&mut Output<'_>) -> T) -> T {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let shows = |choice| choice != anstream::ColorChoice::Never;
    let colours = [anstream::AutoStream::choice(&out), anstream::AutoStream::choice(&err)];
    let [out_colour, err_colour] = colours.map(shows);
    let (out_terminal, err_terminal) = (out.is_terminal(), err.is_terminal());
    act(&mut Output {
        out: Stream::new(&mut out, out_terminal, out_colour),
        err: Stream::new(&mut err, err_terminal, err_colour),
        json: false,
    })
}

impl Output<'_> {
    /// One JSON value, indented, as the whole data of a verb.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        let text = serde_json::to_string_pretty(value).map_err(|e| WriteError(e.into()))?;
        self.out.line(&text)
    }

    /// What happens now; only for a person who watches.
    pub(crate) fn progress(&mut self, text: &dyn Display) -> Result<(), WriteError> {
        if self.err.terminal {
            self.err.labelled(Tone::Faint, "", &text.to_string())?;
        }
        Ok(())
    }

    /// Something that does not stop the verb.
    pub(crate) fn warning(&mut self, text: &str) -> Result<(), WriteError> {
        self.err.labelled(Tone::Notice, "warning: ", text)
    }
}

impl<'a> Stream<'a> {
    pub(crate) fn new(to: &'a mut dyn Write, terminal: bool, colour: bool) -> Self {
        Self { to, terminal, colour }
    }

    /// Whether a person reads at a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether colours are shown.
    pub(crate) fn has_colour(&self) -> bool {
        self.colour
    }

    /// `text` and a line feed.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), WriteError> {
        writeln!(self.to, "{text}").and_then(|()| self.to.flush()).map_err(WriteError)
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.to.write_all(bytes).and_then(|()| self.to.flush()).map_err(WriteError)
    }

    /// A label that stands out, then text from elsewhere; its further lines are indented.
    pub(crate) fn labelled(
        &mut self,
        tone: Tone,
        label: &str,
        text: &str,
    ) -> Result<(), WriteError> {
        let indent = " ".repeat(label.chars().count());
        for (index, line) in text.trim_end().split('\n').enumerate() {
            let label = if index == 0 { self.paint(tone, label) } else { indent.clone() };
            self.line(&format!("{label}{}", printable(line)))?;
        }
        Ok(())
    }

    /// clap's own text.
    pub(crate) fn styled(&mut self, text: &StyledStr) -> Result<(), WriteError> {
        let text = if self.colour { text.ansi().to_string() } else { text.to_string() };
        self.bytes(text.as_bytes())
    }

    /// `text` in the colours of `tone`, if the stream has colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if self.colour && tone != Tone::Plain && !text.is_empty() {
            let style = tone.style();
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_cannot_command_the_terminal() {
        let mut written = Vec::new();
        let mut stream = Stream::new(&mut written, true, false);
        stream.labelled(Tone::Bad, "cause: ", "a\u{1b}[2Jb\n\u{9b}31mc\u{202e}").unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "cause: a\\u{1b}[2Jb\n       \\u{9b}31mc\\u{202e}\n"
        );
    }

    #[test]
    fn colours_are_left_out_where_they_are_not_shown() {
        let mut written = Vec::new();
        let painted = |colour| Stream::new(&mut Vec::new(), true, colour).paint(Tone::Good, "ok");
        assert_eq!((painted(false), painted(true)), ("ok".into(), "\u{1b}[32mok\u{1b}[0m".into()));
        Stream::new(&mut written, true, true).line("plain").unwrap();
        assert_eq!(written, b"plain\n");
    }
}
