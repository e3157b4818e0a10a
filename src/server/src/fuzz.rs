//! Parsers that meet a stranger's bytes first, each as a function that fails if one of its promises does.
//!
//! The targets in `tests/fuzz` call them with bytes that a fuzzer makes up; the test here with the corpus of those,
//! so that what was found once stays found.

/// The head of a request, before the parser of HTTP sees it.
pub fn head(bytes: &[u8]) {
    crate::listener::fuzz::head(bytes);
}

/// A chunked body, before the parser of HTTP sees it.
pub fn chunks(bytes: &[u8]) {
    crate::listener::fuzz::chunks(bytes);
}

/// The body of a call.
pub fn json_call(bytes: &[u8]) {
    crate::guardian::fuzz::json_call(bytes);
}

/// The value of `Cookie` or `Authorization`.
pub fn credential(bytes: &[u8]) {
    crate::guardian::fuzz::credential(bytes);
}

/// The path of a URL that may name a file.
pub fn path(bytes: &[u8]) {
    crate::static_files::fuzz::path(bytes);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    type Target = fn(&[u8]);

    #[test]
    fn the_corpus_of_every_fuzz_target_keeps_its_promises() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz");
        let targets: [(&str, Target); 5] = [
            ("chunks", super::chunks),
            ("credential", super::credential),
            ("head", super::head),
            ("json_call", super::json_call),
            ("path", super::path),
        ];
        let names = |directory: &str| {
            let entries = std::fs::read_dir(fuzz.join(directory)).unwrap();
            let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
            let mut names: Vec<_> = entries.map(|entry| name(&entry.unwrap().path())).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("corpus"), targets.map(|(name, _)| name));
        assert_eq!(names("fuzz_targets"), targets.map(|(name, _)| name));
        for (name, target) in targets {
            let mut count = 0;
            for entry in std::fs::read_dir(fuzz.join("corpus").join(name)).unwrap() {
                let bytes = std::fs::read(entry.unwrap().path()).unwrap();
                target(&bytes);
                // A fuzzer would come to its neighbours, too.
                for end in 0..bytes.len().min(256) {
                    target(bytes.get(..end).unwrap());
                }
                count += 1;
            }
            assert!(10 <= count, "{name} has {count} inputs");
        }
    }
}
