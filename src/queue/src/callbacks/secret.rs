//! The secret that an agent's callbacks are signed with, as the Standard Webhooks specification has it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use ploinky_contract::{AgentId, TASK_KEY_DIGITS, is_task_key};
use sha2::Sha256;

/// Separates these secrets from everything else that is made from the same key.
const PURPOSE: &[u8] = b"callback\0";

/// A text is no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a key: a key is {TASK_KEY_DIGITS} hexadecimal digits")]
pub struct InvalidKey;

/// The secret of one agent. It follows from the key of the host, so there is nothing to keep.
pub struct CallbackSecret([u8; 32]);

impl CallbackSecret {
    /// The secret of `agent` on the host whose `task.key` holds the text `key`.
    ///
    /// # Errors
    /// When the text is no key.
    pub fn of(key: &str, agent: &AgentId) -> Result<Self, InvalidKey> {
        if !is_task_key(key.as_bytes()) {
            return Err(InvalidKey);
        }
        Ok(Self(mac(key.as_bytes(), &[PURPOSE, agent.as_str().as_bytes()])))
    }

    /// The secret as receivers configure it: `whsec_` and base64.
    pub fn to_text(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.0))
    }

    /// The value of `webhook-signature` for a message.
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let timestamp = timestamp_s.to_string();
        let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
        format!("v1,{}", STANDARD.encode(mac(&self.0, &parts)))
    }
}

impl fmt::Debug for CallbackSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackSecret")
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is fine (RFC 2104), so this has no error.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the specification's reference libraries.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let parts: [&[u8]; 5] = [b"msg_p5jXN8AQM9LWM0D4loKWxJek", b".", b"1614265330", b".", body];
        let signed = format!("v1,{}", STANDARD.encode(mac(&secret, &parts)));
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn agents_and_hosts_have_secrets_of_their_own() {
        let of = |key: &str, path: &str| {
            let agent =
                AgentId::new(&"localhost".parse().unwrap(), &path.parse().unwrap()).unwrap();
            CallbackSecret::of(&key.repeat(64), &agent).unwrap().to_text()
        };
        let secrets =
            std::collections::BTreeSet::from([of("a", "/a"), of("a", "/b"), of("b", "/a")]);
        assert_eq!(secrets.len(), 3);
        assert_eq!(of("a", "/a"), of("a", "/a"));
        assert!(of("a", "/a").starts_with("whsec_"));
    }
}
