//! An error as one line tells it.

use std::error::Error;

/// An error and its causes, joined by colons.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    // A transparent layer says the same as what is below.
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("cannot read {file}")]
        Read { file: &'static str, source: io::Error },
        #[error(transparent)]
        Below(Box<Failure>),
    }

    #[test]
    fn every_cause_is_told_once() {
        let read = Failure::Read { file: "a", source: io::Error::other("no such thing") };
        assert_eq!(chain(&read), "cannot read a: no such thing");
        assert_eq!(chain(&Failure::Below(Box::new(read))), "cannot read a: no such thing");
    }
}
