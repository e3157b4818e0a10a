//! What introspection tells of an interface, to be compared with what is written down; for tests.

/// The lines of an interface, without indentation and comments.
pub(crate) fn interface(name: &str, xml: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = xml;
    while let Some((before, after)) = rest.split_once("<!--") {
        plain.push_str(before);
        rest = after.split_once("-->").unwrap().1;
    }
    plain.push_str(rest);
    let (_, inner) = plain.split_once(&format!("<interface name=\"{name}\"")).unwrap();
    let (inner, _) = inner.split_once("</interface>").unwrap();
    inner.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}
