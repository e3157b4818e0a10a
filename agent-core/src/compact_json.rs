//! JSON text without white space between its parts; numbers and the order of keys stay as they are.

/// `json`, which has to be valid, without white space outside of strings.
pub(crate) fn compact(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            text.push(c);
        } else if !c.is_ascii_whitespace() {
            in_string = c == '"';
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_spaces() {
        let json = "{ \"a b\\\" c\" : [ 1.50 ,\n\t\" \\\\\" , null ] }";
        assert_eq!(compact(json), "{\"a b\\\" c\":[1.50,\" \\\\\",null]}");
    }
}
