//! Which passwords are taken (NIST SP 800-63B-4, 3.1.1.2): long ones that are not made of what everybody tries first.
//!
//! There are no rules on kinds of characters, and nothing ends by its age.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::Password;

/// Characters of a password that is the only thing asked for.
pub const PASSWORD_MIN_CHARS: usize = 15;
/// Different characters that a password has beside what everybody tries first.
const OWN_CHARS_MIN: usize = 6;
/// Shortest word that is passed over in a password.
const WORD_MIN_CHARS: usize = 4;

/// The passwords that people choose most, as they were found in leaks, in lower case: the 3,000 first, and the
/// longest ones of the 30,000 first.
static COMMON: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("../common.txt").lines().collect());
static LONGEST: LazyLock<usize> =
    LazyLock::new(|| COMMON.iter().map(|word| word.len()).max().unwrap_or(0));

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WeakPassword {
    /// It is too short.
    #[error("the password has {found} characters; it needs at least {PASSWORD_MIN_CHARS}")]
    TooShort {
        /// Its characters.
        found: usize,
    },
    /// It ends in a character that the hash does not see.
    #[error("the password ends in NUL; the character counts everywhere but there")]
    EndsInNul,
    /// It is the name, or little else.
    #[error(
        "the password is little else than the user's name, passwords that many people have, or one sequence"
    )]
    Common,
}

/// Whether `password` is taken as the new one of the user `name`.
///
/// # Errors
/// Says which rule it breaks, and never repeats it.
pub fn check_new(password: &Password, name: &str) -> Result<(), WeakPassword> {
    let found = password.reveal().chars().count();
    if found < PASSWORD_MIN_CHARS {
        return Err(WeakPassword::TooShort { found });
    }
    if password.ends_in_nul() {
        return Err(WeakPassword::EndsInNul);
    }
    if own_characters(password.reveal(), name) < OWN_CHARS_MIN {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// How many different characters are left when everything is taken away that is tried first: passwords of the
/// list, the name, our own name, and characters that go on from the one before (`aaaa`, `1234`, `fedc`).
fn own_characters(password: &str, name: &str) -> usize {
    let text: Vec<char> = password.to_lowercase().chars().collect();
    let name = name.to_lowercase();
    let names = [name.as_str(), "ploinky"];
    let longest = LONGEST.max(name.chars().count()).max("ploinky".len());
    let mut own = HashSet::new();
    let mut before: Option<char> = None;
    let mut rest = text.as_slice();
    while let Some((first, others)) = rest.split_first() {
        if let Some(length) = common_prefix(rest, &names, longest) {
            rest = rest.get(length..).unwrap_or_default();
            before = None;
            continue;
        }
        let goes_on =
            before.is_some_and(|before| u32::from(before).abs_diff(u32::from(*first)) <= 1);
        if !goes_on {
            own.insert(*first);
        }
        before = Some(*first);
        rest = others;
    }
    own.len()
}

/// Length of the longest word at the beginning of `text` that everybody tries.
fn common_prefix(text: &[char], names: &[&str], longest: usize) -> Option<usize> {
    (WORD_MIN_CHARS..=longest.min(text.len())).rev().find(|length| {
        let word: String = text.iter().take(*length).collect();
        COMMON.contains(word.as_str()) || names.contains(&word.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: &str) -> Result<(), WeakPassword> {
        check_new(&text.to_owned().try_into().unwrap(), name)
    }

    #[test]
    fn a2_short_passwords_are_refused_by_characters_not_bytes() {
        assert_eq!(check("", "alice"), Err(WeakPassword::TooShort { found: 0 }));
        assert_eq!(check("k7#Qz!p2Lm9x", "alice"), Err(WeakPassword::TooShort { found: 12 }));
        assert_eq!(check("äöüßéèêñçøåæœþ", "alice"), Err(WeakPassword::TooShort { found: 14 }));
        assert_eq!(check("äöüßéèêñçøåæœþđ", "alice"), Ok(()));
    }

    #[test]
    fn a2_nul_counts_everywhere_but_at_the_end() {
        assert_eq!(check("seven blue lamps on a wall\0", "alice"), Err(WeakPassword::EndsInNul));
        assert_eq!(check("seven blue lamps\0on a wall", "alice"), Ok(()));
    }

    #[test]
    fn a2_what_everybody_tries_first_is_refused() {
        for text in [
            "aaaaaaaaaaaaaaaaaaaa",
            "123456789012345",
            "abcdefghijklmnopqrstuvwxyz",
            "zyxwvutsrqponmlkjihg",
            "passwordpassword",
            "Password123456789!",
            "PASSWORD12345678",
            "qwertyuiopasdfghjkl",
            "dragon-monkey-shadow",
            "Summer2024Summer2024",
            "abcabcabcabcabcabc",
            "               ",
            "mailcreated5240",
            "ploinkyploinky1!",
            "alice.miller!alice.miller",
            "ALICE.MILLER2026",
            "alice.milleralice.millerabc",
        ] {
            assert_eq!(check(text, "alice.miller"), Err(WeakPassword::Common), "{text}");
        }
    }

    #[test]
    fn a2_long_passwords_of_any_kind_are_taken() {
        for text in [
            "correct horse battery staple",
            "seven blue lamps on a wall",
            "k7#Qz!p2Lm9xR4vB",
            "\0\u{1}\u{7f} tab\tand more of it",
            "パスワードではない長い文章です",
            &"wide field of barley ".repeat(48),
        ] {
            assert_eq!(check(text, "alice"), Ok(()), "{text:?}");
        }
        // A short name is part of many words.
        assert_eq!(check("seven blue lamps on a wall", "a"), Ok(()));
        assert_eq!(check("seven blue lamps on a wall", ""), Ok(()));
    }

    #[test]
    fn the_list_is_in_lower_case_and_has_no_word_that_is_passed_over_in_vain() {
        assert!(3000 <= COMMON.len());
        for word in COMMON.iter() {
            assert_eq!(*word, word.to_lowercase());
            assert!(WORD_MIN_CHARS <= word.len(), "{word}");
        }
    }
}
