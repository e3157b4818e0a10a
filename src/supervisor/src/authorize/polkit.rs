//! One question to polkit.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use zbus::names::UniqueName;
use zbus::{Connection, Variant};

/// Time for the decision: a person may have to type a password.
const LIMIT: Duration = Duration::from_secs(120);
/// `AllowUserInteraction`: an agent of the caller's session may ask for a password.
const ALLOW_USER_INTERACTION: u32 = 1;

/// Kind and details of who is asked about.
type Subject<'a> = (&'a str, HashMap<&'a str, Variant<'a>>);
/// Whether it is allowed, whether a password could change that, and details.
type Decision = (bool, bool, HashMap<String, String>);

#[zbus::proxy(
    interface = "org.freedesktop.PolicyKit1.Authority",
    default_service = "org.freedesktop.PolicyKit1",
    default_path = "/org/freedesktop/PolicyKit1/Authority"
)]
trait Authority {
    fn check_authorization(
        &self,
        subject: &Subject<'_>,
        action_id: &str,
        details: &HashMap<&str, &str>,
        flags: u32,
        cancellation_id: &str,
    ) -> zbus::Result<Decision>;
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolkitError {
    #[error("polkit did not answer within {} s", LIMIT.as_secs())]
    Late,
    #[error("polkit refused the question")]
    Call(#[source] zbus::Error),
}

/// Whether polkit allows `caller` the action.
///
/// # Errors
/// When polkit is not there or does not decide in time.
pub(super) async fn check(
    connection: &Connection,
    caller: &UniqueName<'_>,
    action: &str,
) -> Result<bool, PolkitError> {
    let asked = async {
        let authority = AuthorityProxy::new(connection).await?;
        let name = HashMap::from([("name", Variant::from(caller.as_str()))]);
        let subject: Subject<'_> = ("system-bus-name", name);
        let (allowed, _, _) = authority
            .check_authorization(&subject, action, &HashMap::new(), ALLOW_USER_INTERACTION, "")
            .await?;
        Ok(allowed)
    };
    timeout(LIMIT, asked).await.map_err(|_elapsed| PolkitError::Late)?.map_err(PolkitError::Call)
}
