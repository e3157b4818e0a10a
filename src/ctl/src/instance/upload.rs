//! The body of an upload: form fields and files, read from disk while they are sent (RFC 7578).

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;

use ploinky_contract::TaskId;
use rustix::fs::{Mode, OFlags};

use super::AskError;

/// A multipart body whose length is known before it is sent.
pub(crate) struct Upload {
    boundary: String,
    parts: std::collections::VecDeque<Part>,
    length: u64,
    failed: Option<(PathBuf, io::Error)>,
}

enum Part {
    Text(Cursor<Vec<u8>>),
    Content { path: PathBuf, file: File, left: u64 },
}

impl Upload {
    /// Of fields and of files, each with the field it belongs to.
    ///
    /// # Errors
    /// When a file cannot be opened, or is no regular file; or the kernel has nothing random.
    pub(crate) fn open(
        fields: &[(&str, &str)],
        files: &[(&str, PathBuf)],
    ) -> Result<Self, AskError> {
        let mut upload = Self {
            boundary: boundary()?,
            parts: std::collections::VecDeque::new(),
            length: 0,
            failed: None,
        };
        for (name, value) in fields {
            upload.head(name, None);
            upload.text(value.to_string());
            upload.text("\r\n".to_owned());
        }
        for (name, path) in files {
            let (file, size) =
                open(path).map_err(|source| AskError::File { path: path.clone(), source })?;
            let file_name = path.file_name().unwrap_or_default().to_string_lossy();
            upload.head(name, Some(&file_name));
            upload.length += size;
            upload.parts.push_back(Part::Content { path: path.clone(), file, left: size });
            upload.text("\r\n".to_owned());
        }
        upload.text(format!("--{}--\r\n", upload.boundary));
        Ok(upload)
    }

    /// `Content-Type` of the body.
    pub(super) fn media_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }

    /// `Content-Length` of the body.
    pub(super) fn length(&self) -> String {
        self.length.to_string()
    }

    /// Why the body could not be read to its end.
    pub(super) fn failed(&mut self) -> Option<AskError> {
        self.failed.take().map(|(path, source)| AskError::File { path, source })
    }

    fn head(&mut self, name: &str, file: Option<&str>) {
        let file = file.map(|file| format!("; filename=\"{}\"", quoted(file))).unwrap_or_default();
        let kind = if file.is_empty() { "" } else { "Content-Type: application/octet-stream\r\n" };
        self.text(format!(
            "--{}\r\nContent-Disposition: form-data; name=\"{}\"{file}\r\n{kind}\r\n",
            self.boundary,
            quoted(name)
        ));
    }

    fn text(&mut self, text: String) {
        self.length += text.len() as u64;
        self.parts.push_back(Part::Text(Cursor::new(text.into_bytes())));
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self.parts.front_mut() {
                None => return Ok(0),
                Some(Part::Text(text)) => text.read(buffer)?,
                Some(Part::Content { left: 0, .. }) => 0,
                Some(Part::Content { path, file, left }) => {
                    let read = file.take(*left).read(buffer).and_then(|read| match read {
                        0 => Err(io::Error::other("it got shorter while it was sent")),
                        read => Ok(read),
                    });
                    match read {
                        Ok(read) => {
                            *left -= read as u64;
                            read
                        }
                        Err(e) => {
                            let kind = e.kind();
                            self.failed = Some((path.clone(), e));
                            return Err(kind.into());
                        }
                    }
                }
            };
            if read != 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.parts.pop_front();
        }
    }
}

/// What stands between the parts; random, so that nobody writes a file that has it.
fn boundary() -> Result<String, AskError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|e| AskError::File {
        path: "/dev/urandom".into(),
        source: io::Error::other(e.to_string()),
    })?;
    Ok(format!("ploinky-{}", TaskId::from_random(random)))
}

fn open(path: &PathBuf) -> io::Result<(File, u64)> {
    // A FIFO would make the open wait.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata.len()))
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// A name between quotes, as browsers write it.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_is_no_file_or_gets_shorter_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| Upload::open(&[], &[("f", directory.path().join(name))]);
        assert!(matches!(open("none"), Err(AskError::File { .. })));
        assert!(matches!(open("."), Err(AskError::File { .. })));
        let path = directory.path().join("a");
        File::create(&path).unwrap().write_all(b"12345").unwrap();
        let mut upload = open("a").unwrap();
        File::create(&path).unwrap().write_all(b"123").unwrap();
        assert!(upload.read_to_end(&mut Vec::new()).is_err());
        let Some(AskError::File { source, .. }) = upload.failed() else { panic!("no failure") };
        assert_eq!(source.to_string(), "it got shorter while it was sent");
    }

    #[test]
    fn fields_and_files_come_in_order_with_the_length_that_was_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a\".bin");
        File::create(&path).unwrap().write_all(b"\0\r\n--x").unwrap();
        let mut upload = Upload::open(&[("note", "1")], &[("file", path)]).unwrap();
        let (length, boundary) = (upload.length(), upload.boundary.clone());
        let mut body = Vec::new();
        upload.read_to_end(&mut body).unwrap();
        assert_eq!(length, body.len().to_string());
        assert_eq!(
            String::from_utf8(body).unwrap().replace(&boundary, "B"),
            "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n1\r\n\
             --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a%22.bin\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n\0\r\n--x\r\n--B--\r\n"
        );
    }
}
