//! A tar archive from a caller's file descriptor → entries of a tree.
//!
//! The archive is read in the raw, so that the extension records (long names, PAX) have a bound of their own
//! before they are held in memory. Hard links, devices, sparse files and everything else that is neither a
//! directory, a regular file nor a symbolic link are refused by name.

use std::fs::File;
use std::io::{self, Read};

use ploinky_contract::limits::ARCHIVE_MAX_BYTES;
use tar::{Archive, EntryType};

use super::{TreeError, TreePath, TreeWriter, shown};

/// Bytes of one extension record: a path ends at 4096, PAX adds times and owners.
const EXTENSION_MAX_BYTES: u64 = 64 * 1024;

/// What extension records say of the entry that follows.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

/// Unpacks the archive in `file` through `writer`.
///
/// # Errors
/// When the file is no regular one, too large, or an entry breaks a rule; what was made so far stays in the
/// staging directory.
pub(crate) fn unpack(file: File, writer: &mut TreeWriter) -> Result<(), TreeError> {
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(TreeError::Archive { rule: "is not a regular file".to_owned() });
    }
    if ARCHIVE_MAX_BYTES < metadata.len() {
        let rule = format!("has {} bytes; {ARCHIVE_MAX_BYTES} are allowed", metadata.len());
        return Err(TreeError::Archive { rule });
    }
    // The caller may write on; what counts is how much is read.
    let mut archive = Archive::new(io::BufReader::new(file.take(ARCHIVE_MAX_BYTES)));
    let mut extension = Extension::default();
    for entry in archive.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        let kind = entry.header().entry_type();
        if extend(&mut extension, kind, &mut entry)? {
            continue;
        }
        let Extension { path, link } = std::mem::take(&mut extension);
        let name = path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let Some(path) = TreePath::parse(&name)? else { continue };
        #[expect(clippy::wildcard_enum_match_arm, reason = "what is not taken is refused")]
        match kind {
            EntryType::Directory => writer.directory(&path)?,
            EntryType::Regular | EntryType::Continuous => {
                let header = entry.header();
                let size = header.entry_size().map_err(unreadable)?;
                let executable = header.mode().map_err(unreadable)? & 0o111 != 0;
                writer.file(&path, executable, size, &mut entry)?;
            }
            EntryType::Symlink => {
                let target =
                    link.or_else(|| entry.link_name_bytes().map(std::borrow::Cow::into_owned));
                writer.symlink(&path, &target.unwrap_or_default())?;
            }
            EntryType::Link => return Err(path.refuse("is a hard link; pack it as a file")),
            other => return Err(path.refuse(format!("is {}", kind_of(other)))),
        }
    }
    Ok(())
}

/// Reads an extension record; `false` if the entry is none.
fn extend(
    extension: &mut Extension,
    kind: EntryType,
    entry: &mut tar::Entry<'_, impl Read>,
) -> Result<bool, TreeError> {
    let is_extension = kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions();
    if !is_extension {
        return Ok(false);
    }
    let size = entry.header().entry_size().map_err(unreadable)?;
    if EXTENSION_MAX_BYTES < size {
        let rule =
            format!("has a name or header of {size} bytes; {EXTENSION_MAX_BYTES} are allowed");
        return Err(TreeError::Archive { rule });
    }
    let mut bytes = Vec::new();
    entry.take(EXTENSION_MAX_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    if kind.is_gnu_longname() {
        extension.path = Some(without_nul(bytes));
    } else if kind.is_gnu_longlink() {
        extension.link = Some(without_nul(bytes));
    } else if kind.is_pax_local_extensions() {
        for record in tar::PaxExtensions::new(&bytes) {
            let record = record.map_err(unreadable)?;
            match record.key_bytes() {
                b"path" => extension.path = Some(record.value_bytes().to_vec()),
                b"linkpath" => extension.link = Some(record.value_bytes().to_vec()),
                key if key == b"size" || key.starts_with(b"GNU.sparse.") => {
                    let rule = format!("uses `{}`, which is not supported", shown(key));
                    return Err(TreeError::Archive { rule });
                }
                // Times, owners and comments are not kept.
                _ => {}
            }
        }
    }
    Ok(true)
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes
}

fn kind_of(kind: EntryType) -> &'static str {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only the frequent ones have words")]
    match kind {
        EntryType::Char | EntryType::Block => {
            "a device; only files, directories and links are taken"
        }
        EntryType::Fifo => "a FIFO; only files, directories and links are taken",
        EntryType::GNUSparse => "a sparse file; pack it without --sparse",
        _ => "of an unknown kind; only files, directories and links are taken",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
fn unreadable(error: io::Error) -> TreeError {
    TreeError::Archive { rule: format!("cannot be read: {}", shown(error.to_string().as_bytes())) }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};
    use std::path::Path;

    use tar::{Builder, Header};

    use super::*;

    fn header(kind: EntryType, name: &str, size: u64) -> Header {
        let mut header = Header::new_gnu();
        let field = &mut header.as_mut_bytes()[..100];
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o6777);
        header.set_cksum();
        header
    }

    fn link(kind: EntryType, name: &str, target: &str) -> Header {
        let mut header = header(kind, name, 0);
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        header
    }

    fn archive(entries: &[(Header, &[u8])]) -> File {
        let mut builder = Builder::new(tempfile::tempfile().unwrap());
        for (header, content) in entries {
            builder.append(header, *content).unwrap();
        }
        rewound(builder.into_inner().unwrap())
    }

    fn rewound(mut file: File) -> File {
        file.rewind().unwrap();
        file
    }

    fn take(file: File, into: &Path) -> Result<(), String> {
        let mut writer = TreeWriter::new(File::open(into).unwrap().into());
        unpack(file, &mut writer).map_err(|error| error.to_string())
    }

    fn refused(entries: &[(Header, &[u8])]) -> String {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("code.new");
        std::fs::create_dir(&inner).unwrap();
        let error = take(archive(entries), &inner).unwrap_err();
        assert_eq!(
            std::fs::read_dir(outer.path()).unwrap().count(),
            1,
            "something got out: {error}"
        );
        error
    }

    #[test]
    fn hostile_archives_are_refused_by_the_name_of_the_entry() {
        use EntryType as T;
        let file = |name| header(T::Regular, name, 1);
        let x: &[u8] = b"x";
        for (entries, expected) in [
            (vec![(file("/etc/x"), x)], "`/etc/x` is an absolute path"),
            (vec![(file("../x"), x)], "`../x` leads out of the directory"),
            (vec![(file("a/../../x"), x)], "`a/../../x` leads out"),
            (vec![(file(".tasks/requests/x"), x)], "`.tasks/requests/x` is a name that belongs"),
            (vec![(file("a"), x), (file("a"), x)], "`a` is there twice"),
            (vec![(file("a"), x), (file("a/b"), x)], "`a/b` needs the directory `a`"),
            (vec![(file("a"), x), (header(T::Directory, "a/", 0), b"")], "`a` needs the directory"),
            (
                vec![(link(T::Symlink, "l", "/etc"), b"")],
                "`l` is a link to `/etc`, which is absolute",
            ),
            (vec![(link(T::Symlink, "l", "../.."), b"")], "`l` is a link to `../..`, which leads"),
            (
                vec![(link(T::Symlink, "l", "d"), b""), (file("l/x"), x)],
                "`l/x` needs the directory `l`, which is something else",
            ),
            (vec![(file("a"), x), (link(T::Link, "b", "a"), b"")], "`b` is a hard link"),
            (vec![(link(T::Link, "b", "/etc/shadow"), b"")], "`b` is a hard link"),
            (vec![(header(T::Char, "c", 0), b"")], "`c` is a device"),
            (vec![(header(T::Block, "c", 0), b"")], "`c` is a device"),
            (vec![(header(T::Fifo, "c", 0), b"")], "`c` is a FIFO"),
            (vec![(header(T::GNUSparse, "c", 0), b"")], "`c` is a sparse file"),
            (vec![(header(T::new(b'V'), "c", 0), b"")], "`c` is of an unknown kind"),
            (vec![(header(T::Regular, "c", 1 << 40), b"")], "has more than 1073741824 bytes"),
            (
                vec![(header(T::GNULongName, "n", 1 << 20), b"")],
                "a name or header of 1048576 bytes",
            ),
            (vec![(header(T::XHeader, "n", 1 << 40), b"")], "a name or header of"),
            (
                vec![(header(T::XHeader, "n", 22), b"22 GNU.sparse.major=1\n")],
                "uses `GNU.sparse.major`",
            ),
        ] {
            let found = refused(&entries);
            assert!(found.contains(expected), "gave: {found}\nwant: {expected}");
        }
    }

    #[test]
    fn names_from_extension_records_obey_the_same_rules() {
        use EntryType as T;
        let file = header(T::Regular, "short", 1);
        for (kind, content) in [
            (T::GNULongName, b"../x\0".as_slice()),
            (T::XHeader, b"13 path=../x\n"),
            (T::GNULongName, b"/etc/x"),
            (T::GNULongName, b"a\xff"),
            (T::GNULongName, b"a\0b"),
            (T::GNULongName, &[b'a'; 300]),
        ] {
            let record = header(kind, "record", u64::try_from(content.len()).unwrap());
            let found = refused(&[(record, content), (file.clone(), b"x")]);
            assert!(found.starts_with('`') || found.contains("cannot take over"), "{found}");
        }
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut noise = tempfile::tempfile().unwrap();
        noise.write_all(&[7; 4096]).unwrap();
        assert!(
            take(rewound(noise), dir.path()).unwrap_err().starts_with("the archive cannot be read")
        );
        let mut cut = archive(&[(header(EntryType::Regular, "a", 2000), &[1; 2000])]);
        cut.set_len(1024).unwrap();
        cut.rewind().unwrap();
        assert_eq!(take(cut, dir.path()).unwrap_err(), "`a` ends after 512 of 2000 bytes");
        let directory = File::open(dir.path()).unwrap();
        assert_eq!(take(directory, dir.path()).unwrap_err(), "the archive is not a regular file");
        let large = tempfile::tempfile().unwrap();
        large.set_len(ARCHIVE_MAX_BYTES + 1).unwrap();
        assert!(take(large, dir.path()).unwrap_err().contains("are allowed"));
        let (reader, _writer) = io::pipe().unwrap();
        assert_eq!(
            take(File::from(std::os::fd::OwnedFd::from(reader)), dir.path()).unwrap_err(),
            "the archive is not a regular file"
        );
    }

    #[test]
    fn an_ordinary_directory_arrives() {
        let source = tempfile::tempdir().unwrap();
        let long = "n".repeat(120);
        std::fs::create_dir_all(source.path().join("sub").join(&long)).unwrap();
        for name in ["manifest.json".to_owned(), format!("sub/{long}/{long}")] {
            File::create(source.path().join(name)).unwrap().write_all(b"{}").unwrap();
        }
        std::os::unix::fs::symlink("sub", source.path().join("link")).unwrap();
        let mut builder = Builder::new(tempfile::tempfile().unwrap());
        builder.follow_symlinks(false);
        builder.append_dir_all(".", source.path()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        take(rewound(builder.into_inner().unwrap()), dir.path()).unwrap();
        assert_eq!(std::fs::read(dir.path().join(format!("link/{long}/{long}"))).unwrap(), b"{}");
        assert_eq!(std::fs::read_link(dir.path().join("link")).unwrap(), Path::new("sub"));
    }
}
