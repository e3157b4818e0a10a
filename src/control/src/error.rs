//! The errors of the interface; their names are part of it.

/// Why the supervisor refused or could not do what was asked. The text names the value and what to do.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "io.ploinky.Error")]
pub enum ControlError {
    /// The bus itself.
    #[zbus(error)]
    Bus(zbus::Error),
    /// An argument breaks a rule.
    InvalidArgument(String),
    /// polkit says no.
    NotAuthorized(String),
    /// The name or the password is wrong, or the token counts no more.
    Unauthenticated(String),
    /// The password has to be given again.
    PasswordNeeded(String),
    /// What is there already, or must stay, is in the way.
    Conflict(String),
    /// Too many log in at this moment.
    Overloaded(String),
    /// There is no such deployment or agent.
    NotFound(String),
    /// The image is not on this host.
    ImageMissing(String),
    /// The unit did not start; the text ends with what systemd knows.
    StartFailed(String),
    /// `config.json` is broken; nothing is changed until it is repaired.
    ConfigInvalid(String),
    /// Another change is under way and did not end in time.
    Busy(String),
    /// The host did not let the supervisor do it: disk, bus, service manager.
    Failed(String),
}
