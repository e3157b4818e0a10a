//! Stable codes of failed tasks, as they stand in `code` of an error record.

/// The manifest has no such command.
pub const UNKNOWN_COMMAND: &str = "UNKNOWN_COMMAND";
/// The parameters cannot be handed to the handler.
pub const INVALID_PARAMS: &str = "INVALID_PARAMS";
/// The handler could not be started, or it ended with another status than 0.
pub const HANDLER_FAILED: &str = "HANDLER_FAILED";
/// The handler wrote more than a result may have.
pub const RESULT_TOO_LARGE: &str = "RESULT_TOO_LARGE";
/// What the agent left as a result is none.
pub const AGENT_BAD_RESULT: &str = "AGENT_BAD_RESULT";
/// The agent ended while the task ran: it was killed, or stopped before the task was done.
pub const AGENT_CRASHED: &str = "AGENT_CRASHED";
/// The task had no result in time.
pub const DEADLINE: &str = "DEADLINE";
/// The task was ended on request, or because nobody waits for it.
pub const CANCELLED: &str = "CANCELLED";
