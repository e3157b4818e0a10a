//! The name of a container image.

use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::IMAGE_NAME_MAX_BYTES;

/// An image reference as Podman takes it: `registry/name:tag` or `registry/name@sha256:…`.
///
/// Only the alphabet of references is allowed and the first byte is a letter or digit, so it can be neither an
/// option nor a path nor a Quadlet unit name (`x.image`, `x.build`).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// Why a text is no image name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{}` is not an image name: use a reference such as `docker.io/library/node:22-alpine`, at most {IMAGE_NAME_MAX_BYTES} bytes of A-Z a-z 0-9 . _ - / : @", .0.escape_debug())]
pub struct InvalidImageName(String);

crate::text_type!(ImageName, InvalidImageName);

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let known = text.bytes().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b':' | b'@')
        });
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_unit = Path::new(text)
            .extension()
            .is_some_and(|x| x.eq_ignore_ascii_case("image") || x.eq_ignore_ascii_case("build"));
        let has_transport = text.contains("://") || text.contains("//");
        if known && starts && !is_unit && !has_transport && text.len() <= IMAGE_NAME_MAX_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidImageName(text.chars().take(IMAGE_NAME_MAX_BYTES + 1).collect()))
        }
    }
}

impl ImageName {
    /// How a person gets the image onto the host: a name below `localhost/` is in no registry.
    pub fn remedy(&self) -> String {
        if self.0.starts_with("localhost/") {
            format!(
                "build it with `podman build --tag {self} DIR`, DIR being where its Containerfile is"
            )
        } else {
            format!("pull it with `podman pull {self}`")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_options_units_and_everything_with_a_meaning_in_a_unit_file() {
        for text in [
            "",
            "-v",
            "--privileged",
            "/etc",
            "./x",
            "a b",
            "a\nPodmanArgs=--privileged",
            "%h",
            "$HOME",
            "a\\",
            "a;b",
            "a\"b",
            "a'b",
            "x.image",
            "x.build",
            "docker://a",
            "a//b",
            "a=b",
            "a\u{2028}b",
            &"a".repeat(256),
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text:?} was accepted");
        }
        for text in [
            "busybox",
            "localhost/echo:1",
            "docker.io/library/node:22-alpine",
            "r:5000/a/b@sha256:00ff",
        ] {
            assert!(text.parse::<ImageName>().is_ok(), "{text:?} was refused");
        }
    }

    #[test]
    fn local_images_are_built_and_others_pulled() {
        let remedy = |text: &str| text.parse::<ImageName>().unwrap().remedy();
        assert!(remedy("localhost/echo:1").contains("`podman build --tag localhost/echo:1 DIR`"));
        assert_eq!(
            remedy("docker.io/library/node:22"),
            "pull it with `podman pull docker.io/library/node:22`"
        );
        assert!(remedy("localhost:5000/x").contains("podman pull"));
    }
}
