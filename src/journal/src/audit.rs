//! One line in the journal for each act that changes something: who, what, before and after, and the end of it.

/// An act. No field has a secret in it.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// Who did it: the name of an admin or of a token, a user, `uid 1000`, or the service itself.
    pub actor: &'a str,
    /// What it was: `agent.deploy`, `admin.add`, `session.end`.
    pub action: &'a str,
    /// To what: a place, an account, a task.
    pub object: &'a str,
    /// What was true before; empty if nothing was, or it does not matter.
    pub before: &'a str,
    /// What is true now; empty if nothing is.
    pub after: &'a str,
    /// `done`, or why it was not: `denied`, or the reason in words.
    pub result: &'a str,
}

/// Writes an act down. Its fields have the same names in all services: `journalctl AUDIT=1`.
pub fn audit(deed: &Deed<'_>) {
    let Deed { actor, action, object, before, after, result } = *deed;
    tracing::info!(
        AUDIT = 1,
        ACTOR = actor,
        ACTION = action,
        OBJECT = object,
        BEFORE = before,
        AFTER = after,
        RESULT = result,
        "{actor}: {action} {object}: {result}"
    );
}
