//! What the first Ploinky kept of a password: PBKDF2-HMAC-SHA512 with 100,000 rounds. Read, and never written anew.

use pbkdf2::password_hash::Output;
use pbkdf2::pbkdf2_hmac;
use sha2::Sha512;

use crate::{InvalidHash, Password};

/// Its rounds.
const ROUNDS: u32 = 100_000;
/// Bytes of its hash.
const HASH_BYTES: usize = 64;

/// A hash of 64 bytes and a salt, both in hexadecimal digits. The digits of the salt themselves are the salt.
#[derive(Clone, Eq, PartialEq)]
pub struct OriginalHash {
    digits: String,
    salt: String,
}

impl OriginalHash {
    /// The hash that these digits are.
    ///
    /// # Errors
    /// When they are not 128 hexadecimal digits, or the salt has none or too many characters.
    pub fn new(digits: String, salt: String) -> Result<Self, InvalidHash> {
        let is_salt = (1..=2 * HASH_BYTES).contains(&salt.len());
        if is_salt && bytes(&digits).is_some() {
            Ok(Self { digits, salt })
        } else {
            Err(InvalidHash)
        }
    }

    /// Whether `password` is the one. Takes as long as [`crate::PasswordHash::matches`], more or less; outputs
    /// are compared in constant time.
    pub fn matches(&self, password: &Password) -> bool {
        let mut found = [0; HASH_BYTES];
        let bytes_of_password = password.reveal().as_bytes();
        pbkdf2_hmac::<Sha512>(bytes_of_password, self.salt.as_bytes(), ROUNDS, &mut found);
        match (bytes(&self.digits).as_deref().map(Output::new), Output::new(&found)) {
            (Some(Ok(kept)), Ok(found)) => kept == found && !password.ends_in_nul(),
            _ => false,
        }
    }

    /// The hash, in digits.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The salt, in digits.
    pub fn salt(&self) -> &str {
        &self.salt
    }
}

impl std::fmt::Debug for OriginalHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OriginalHash")
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    let is_hex = digits.len() == 2 * HASH_BYTES && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    is_hex.then(|| bytes.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hashlib.pbkdf2_hmac('sha512', b'hello', b'00ff', 100000)` of Python.
    const OF_HELLO: &str = "bd6ee27a65ffd827571550986e8cd531c08fd46607396f43ab94f6e55c111fdf\
        b175d8266adb609ac704d50c40c095c8c4a00d31665ebb0637ad86486f9e7389";

    fn password(text: &str) -> Password {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn s7_what_is_no_hash_of_the_original_is_refused() {
        for digits in ["", "ab", &"g".repeat(128), &"a".repeat(127), &"a".repeat(130)] {
            assert!(OriginalHash::new((*digits).to_owned(), "00".to_owned()).is_err(), "{digits}");
        }
        for salt in ["", &"0".repeat(129)] {
            assert!(OriginalHash::new("a".repeat(128), (*salt).to_owned()).is_err(), "{salt}");
        }
    }

    #[test]
    fn s7_a_password_of_the_original_is_recognised() {
        let kept = OriginalHash::new(OF_HELLO.to_owned(), "00ff".to_owned()).unwrap();
        for wrong in ["", "hell", "Hello", "hello\0"] {
            assert!(!kept.matches(&password(wrong)), "{wrong:?}");
        }
        assert!(kept.matches(&password("hello")));
        assert_eq!(format!("{kept:?}"), "OriginalHash");
    }
}
