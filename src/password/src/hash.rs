//! What is kept of a password: PBKDF2-HMAC-SHA256 with its salt and its cost, as a PHC string.

use std::str::FromStr;

use pbkdf2::password_hash::{
    PasswordHash as Phc, PasswordHasher as _, PasswordVerifier as _, SaltString,
};
use pbkdf2::{Algorithm, Params, Pbkdf2};
use serde::{Deserialize, Serialize};

use crate::Password;

/// Rounds of a new hash (OWASP for PBKDF2-HMAC-SHA256). Those with fewer are replaced when the password is known.
pub const ROUNDS: u32 = 600_000;
/// Rounds of a hash that is still checked: one of a file that somebody edited must not take minutes.
const ROUNDS_MAX: u32 = 10 * ROUNDS;
/// Random bytes of a salt.
pub const SALT_BYTES: usize = 16;
/// Bytes of the hash itself, as many as the digest has.
const HASH_BYTES: usize = 32;
/// Bytes of a PHC string that is looked at.
const PHC_MAX_BYTES: usize = 256;
/// Its salt and its hash are zeros: no password is known for it.
const OF_NOBODY: &str = "$pbkdf2-sha256$i=600000,l=32$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// `$pbkdf2-sha256$i=<rounds>,l=32$<salt>$<hash>`.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

/// A text is no hash of a password, or not one that is checked. It is not repeated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the hash of a password is none: it is `$pbkdf2-sha256$i=…,l=32$…$…` with at most {ROUNDS_MAX} rounds"
)]
pub struct InvalidHash;

impl PasswordHash {
    /// The hash of `password` with random bytes. Takes a tenth of a second of a processor.
    ///
    /// # Errors
    /// Never for the parameters that are ours; the crate below cannot know.
    pub fn of(password: &Password, salt: [u8; SALT_BYTES]) -> Result<Self, InvalidHash> {
        let salt = SaltString::encode_b64(&salt).map_err(|_too_long| InvalidHash)?;
        let params = Params { rounds: ROUNDS, output_length: HASH_BYTES };
        let algorithm = Some(Algorithm::Pbkdf2Sha256.ident());
        let bytes = password.reveal().as_bytes();
        Pbkdf2
            .hash_password_customized(bytes, algorithm, None, params, &salt)
            .map(|phc| Self(phc.to_string()))
            .map_err(|_unknown| InvalidHash)
    }

    /// One that no password matches, and that takes as long to say so.
    pub fn of_nobody() -> Self {
        Self(OF_NOBODY.to_owned())
    }

    /// Whether `password` is the one. Takes a tenth of a second of a processor; where the two differ does not
    /// show in the time.
    pub fn matches(&self, password: &Password) -> bool {
        let bytes = password.reveal().as_bytes();
        let is_same =
            Phc::new(&self.0).is_ok_and(|phc| Pbkdf2.verify_password(bytes, &phc).is_ok());
        // HMAC fills short keys up with NUL, so it does not see one at the end; no password is taken with it.
        is_same && !password.ends_in_nul()
    }

    /// Whether it is cheaper to try than a new one; then a new one is made of the password that matched.
    pub fn is_outdated(&self) -> bool {
        Phc::new(&self.0)
            .ok()
            .and_then(|phc| Params::try_from(&phc).ok())
            .is_none_or(|params| params.rounds < ROUNDS)
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PasswordHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        if PHC_MAX_BYTES < text.len() {
            return Err(InvalidHash);
        }
        let phc = Phc::new(text).map_err(|_malformed| InvalidHash)?;
        let params = Params::try_from(&phc).map_err(|_unknown| InvalidHash)?;
        let mut salt = [0; 64];
        let salt_length = phc.salt.and_then(|s| s.decode_b64(&mut salt).ok().map(<[u8]>::len));
        let is_ours = phc.algorithm == Algorithm::Pbkdf2Sha256.ident()
            && phc.version.is_none()
            && (1..=ROUNDS_MAX).contains(&params.rounds)
            && phc.hash.is_some_and(|hash| hash.len() == HASH_BYTES)
            && salt_length.is_some_and(|length| SALT_BYTES <= length);
        if is_ours { Ok(Self(text.to_owned())) } else { Err(InvalidHash) }
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = InvalidHash;

    fn try_from(text: String) -> Result<Self, InvalidHash> {
        text.parse()
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> Self {
        hash.0
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hashlib.pbkdf2_hmac('sha256', b'pass\0word', b'0123456789abcdef', 1000)` of Python.
    const OF_1000: &str = "$pbkdf2-sha256$i=1000,l=32$MDEyMzQ1Njc4OWFiY2RlZg$tMECn4gms2gmvixjGQCSH1Sq72EoXumvT+w48cuT2ec";

    fn password(text: &str) -> Password {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn s7_what_is_no_hash_of_ours_is_refused() {
        for text in [
            "",
            "plain text",
            "$pbkdf2-sha256$",
            &OF_1000.replace("sha256", "sha512"),
            &OF_1000.replace("pbkdf2-sha256", "argon2id"),
            &OF_1000.replace("i=1000", "i=6000001"),
            &OF_1000.replace("i=1000", "i=0"),
            &OF_1000.replace("l=32", "l=16"),
            &OF_1000.replace("MDEyMzQ1Njc4OWFiY2RlZg", "MDEyMzQ1"),
            &OF_1000.replace("$MDEyMzQ1Njc4OWFiY2RlZg", ""),
            &format!("{OF_1000}\n"),
            &format!("{OF_1000}{}", "A".repeat(PHC_MAX_BYTES)),
        ] {
            assert_eq!(text.parse::<PasswordHash>(), Err(InvalidHash), "{text}");
        }
    }

    #[test]
    fn s7_every_byte_of_a_password_counts() {
        let known: PasswordHash = OF_1000.parse().unwrap();
        for wrong in ["", "pass", "pass\0", "pass\0wore", "Pass\0word", "pass\0word\0"] {
            assert!(!known.matches(&password(wrong)), "{wrong:?}");
        }
        assert!(known.matches(&password("pass\0word")));
        assert!(known.is_outdated());
    }

    #[test]
    fn s7_a_new_hash_says_how_it_was_made_and_is_of_one_password_alone() {
        let long = "ü".repeat(crate::PASSWORD_MAX_BYTES / 2);
        let hash = PasswordHash::of(&password(&long), [7; SALT_BYTES]).unwrap();
        assert!(hash.as_str().starts_with("$pbkdf2-sha256$i=600000,l=32$"), "{}", hash.as_str());
        assert_eq!(hash.as_str().parse(), Ok(hash.clone()));
        assert!(!hash.is_outdated());
        let last_differs = format!("{}v", long.strip_suffix('ü').unwrap());
        assert!(!hash.matches(&password(&last_differs)));
        assert!(hash.matches(&password(&long)));
        assert_ne!(PasswordHash::of(&password(&long), [8; SALT_BYTES]).unwrap(), hash);
    }

    #[test]
    fn s8_nobody_has_a_hash_that_costs_as_much_and_matches_nothing() {
        let nobody = PasswordHash::of_nobody();
        assert_eq!(nobody.as_str().parse(), Ok(nobody.clone()));
        assert!(!nobody.is_outdated());
        assert!(!nobody.matches(&password("")));
        assert_eq!(format!("{nobody:?}"), "PasswordHash");
    }
}
