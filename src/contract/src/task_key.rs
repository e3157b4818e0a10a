//! The shape of the secret of the workers, as the file `task.key` holds it.

/// Hexadecimal digits of the secret: two for each of the 32 bytes that HMAC-SHA256 uses.
pub const TASK_KEY_DIGITS: usize = 64;

/// Whether a text is such a secret, without anything around it.
pub fn is_task_key(text: &[u8]) -> bool {
    text.len() == TASK_KEY_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hexadecimal_digits_are_a_key() {
        let key = format!("{}{}", "0123456789abcdef".repeat(3), "0123456789ABCDEF");
        for text in [
            "",
            &"a".repeat(63),
            &"a".repeat(65),
            &"g".repeat(64),
            &format!("{key}\n"),
            &format!("{}\n", "a".repeat(63)),
            &"é".repeat(32),
        ] {
            assert!(!is_task_key(text.as_bytes()), "{text:?} was accepted");
        }
        assert!(is_task_key(key.as_bytes()));
    }
}
