//! What a client shows to be known: a secret of 256 random bits, and its digest, by which we keep it.

use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of randomness in a token.
pub const TOKEN_BYTES: usize = 32;
/// What a token that an admin made for a program begins with, so that people and scanners know it.
pub const API_TOKEN_PREFIX: &str = "ploinky_";

/// A secret: 64 lower-case hexadecimal digits, for a program with [`API_TOKEN_PREFIX`] before them. Neither
/// shown nor written anywhere.
#[derive(Clone)]
pub struct Token(String);

/// SHA-256 of a token, 64 lower-case hexadecimal digits: what is on the disk in its place.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenDigest(String);

/// The text has not the form of a token. It is not repeated, as it may be nearly one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the token is none: it has 64 hexadecimal digits, after `{API_TOKEN_PREFIX}` if it is for a program"
)]
pub struct InvalidToken;

/// Why a text is no digest of a token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not the digest of a token: it has 64 lower-case hexadecimal digits", .0.escape_debug())]
pub struct InvalidTokenDigest(String);

crate::text_type!(TokenDigest, InvalidTokenDigest);

impl Token {
    /// The token of a session from random bytes.
    pub fn of_session(random: [u8; TOKEN_BYTES]) -> Self {
        Self(hex(&random))
    }

    /// The token of a program from random bytes.
    pub fn of_program(random: [u8; TOKEN_BYTES]) -> Self {
        Self(format!("{API_TOKEN_PREFIX}{}", hex(&random)))
    }

    /// The secret itself, for the one who is to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// By which it is kept.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(hex(&Sha256::digest(&self.0)))
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let digits = text.strip_prefix(API_TOKEN_PREFIX).unwrap_or(text);
        if is_hex(digits) { Ok(Self(text.to_owned())) } else { Err(InvalidToken) }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl FromStr for TokenDigest {
    type Err = InvalidTokenDigest;

    fn from_str(text: &str) -> Result<Self, InvalidTokenDigest> {
        if is_hex(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidTokenDigest(text.chars().take(2 * TOKEN_BYTES + 1).collect()))
        }
    }
}

fn is_hex(text: &str) -> bool {
    text.len() == 2 * TOKEN_BYTES && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a string cannot fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_paths_and_other_digits_are_no_tokens() {
        let digits = "a".repeat(64);
        for text in [
            "",
            "Admin",
            "admin",
            "*",
            "../../x",
            "a",
            &"A".repeat(64),
            &"a".repeat(63),
            &"a".repeat(65),
            &format!("{digits}\n"),
            &format!(" {digits}"),
            &format!("\"{digits}\""),
            &format!("ploinky_ploinky_{digits}"),
            &format!("Ploinky_{digits}"),
            "ploinky_",
            &"a".repeat(10 << 10),
        ] {
            assert_eq!(text.parse::<Token>().map(|_token| ()), Err(InvalidToken), "{text:?}");
            assert!(text.parse::<TokenDigest>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_token_is_kept_by_its_digest_and_never_shown() {
        let token = Token::of_session([0xab; 32]);
        assert_eq!(token.reveal(), "ab".repeat(32));
        assert_eq!(format!("{token:?}"), "Token");
        // SHA-256 of these 64 characters, as sha256sum(1) has it.
        let digest = "271a413bd339c5709fdceaec41f14f11e9fbfb5042d72d331c65f32b284cd09a";
        assert_eq!(token.digest(), digest.parse().unwrap());
        let program = Token::of_program([0xab; 32]);
        assert_eq!(program.reveal(), format!("ploinky_{}", "ab".repeat(32)));
        assert_ne!(program.digest(), token.digest());
        assert_eq!(program.reveal().parse::<Token>().unwrap().digest(), program.digest());
    }
}
