//! A form, part by part: what each is called and what it brings.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use multer::{Field, Multipart};
use ploinky_contract::chain;
use ploinky_contract::limits::{
    BODY_FLOOR_BYTES, BODY_IDLE, UPLOAD_FILE_NAME_MAX_BYTES, UPLOAD_FILES_MAX, UPLOAD_PARTS_MAX,
};
use tokio::time::{Instant, timeout};

use super::gate::{Allowance, Gate};

/// Characters of a boundary (RFC 2046, 5.1.1).
const BOUNDARY_MAX_CHARS: usize = 70;
/// Characters of a parser's sentence that are handed on.
const REASON_MAX_CHARS: usize = 240;
/// The media type of a file whose part does not say.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Why a body is no form.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// The head names no form, or not what separates its parts.
    #[error("the body must have the Content-Type multipart/form-data with a boundary")]
    MediaType,
    /// The client stopped sending.
    #[error("nothing of the form arrived for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The client sends too little.
    #[error("the form comes with less than {BODY_FLOOR_BYTES} bytes a second")]
    TooSlow,
    /// Broken syntax, or a broken connection.
    #[error("the form is broken: {0}")]
    Broken(String),
    /// A part without a name.
    #[error("part {number} of the form has no name of 1 to {UPLOAD_FILE_NAME_MAX_BYTES} bytes")]
    Name {
        /// 1 is the first part.
        number: usize,
    },
    /// A file name that is no text.
    #[error(
        "the file name of the field `{field}` is not text of at most {UPLOAD_FILE_NAME_MAX_BYTES} \
         bytes without control characters"
    )]
    FileName {
        /// The field.
        field: String,
    },
    /// Too many parts.
    #[error("the form has more than {UPLOAD_PARTS_MAX} parts")]
    TooManyParts,
    /// Too many files.
    #[error("the form has more than {UPLOAD_FILES_MAX} files")]
    TooManyFiles,
}

/// A form that is coming.
#[derive(Debug)]
pub(super) struct Form {
    parts: Multipart<'static>,
    allowance: Allowance,
    count: usize,
    files: usize,
}

/// One part; its content is to be read before the next part comes.
#[derive(Debug)]
pub(super) struct Part {
    content: Field<'static>,
    allowance: Allowance,
    /// What the form calls it.
    pub(super) name: String,
    /// What its file is, if it is one.
    pub(super) file: Option<FileHead>,
}

/// What a client says of a file. Data for the agent, and never a path of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FileHead {
    pub(super) name: String,
    pub(super) media_type: String,
}

/// What separates the parts, if the head announces a form.
pub(crate) fn boundary(headers: &HeaderMap) -> Result<String, FormError> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(FormError::MediaType);
    };
    let text = value.to_str().map_err(|_not_ascii| FormError::MediaType)?;
    let boundary = multer::parse_boundary(text).map_err(|_other| FormError::MediaType)?;
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let fits = (1..=BOUNDARY_MAX_CHARS).contains(&boundary.len()) && !boundary.ends_with(' ');
    if fits && boundary.bytes().all(is_legal) { Ok(boundary) } else { Err(FormError::MediaType) }
}

impl Form {
    /// The form in `body`, whose parts are separated by `boundary`.
    pub(super) fn new(body: Body, boundary: String) -> Self {
        let (gate, allowance) = Gate::new(body);
        Self { parts: Multipart::new(gate, boundary), allowance, count: 0, files: 0 }
    }

    /// The next part, or `None` at the end of the form.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, FormError> {
        self.allowance.renew();
        let Some(content) = in_time(self.parts.next_field(), &self.allowance).await? else {
            return Ok(None);
        };
        self.allowance.renew();
        self.count += 1;
        if UPLOAD_PARTS_MAX < self.count {
            return Err(FormError::TooManyParts);
        }
        let name = content.name().filter(|name| !name.is_empty() && is_plain(name));
        let name = name.ok_or(FormError::Name { number: self.count })?.to_owned();
        let file = file_head(&content, &name)?;
        if file.is_some() {
            self.files += 1;
        }
        if UPLOAD_FILES_MAX < self.files {
            return Err(FormError::TooManyFiles);
        }
        Ok(Some(Part { content, allowance: self.allowance.clone(), name, file }))
    }
}

impl Part {
    /// The next bytes of the content, or `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, FormError> {
        self.allowance.renew();
        in_time(self.content.chunk(), &self.allowance).await
    }
}

async fn in_time<T>(
    coming: impl Future<Output = multer::Result<T>>,
    allowance: &Allowance,
) -> Result<T, FormError> {
    let began = Instant::now();
    match timeout(BODY_IDLE, coming).await {
        Ok(Ok(come)) if allowance.keeps_pace(began.elapsed()) => Ok(come),
        Ok(Ok(_come)) => Err(FormError::TooSlow),
        Ok(Err(error)) => Err(FormError::Broken(said(&error))),
        Err(_elapsed) => Err(FormError::Stalled(BODY_IDLE)),
    }
}

/// The parser's sentence, bounded: it may quote what the client sent.
fn said(error: &multer::Error) -> String {
    let text = if let multer::Error::StreamReadFailed(gate) = error {
        chain(gate.as_ref())
    } else if matches!(error, multer::Error::IncompleteStream) {
        "it ends before its last boundary".to_owned()
    } else {
        error.to_string()
    };
    text.chars().take(REASON_MAX_CHARS).collect()
}

/// A part with a file name is a file, whatever the name.
fn file_head(content: &Field<'_>, field: &str) -> Result<Option<FileHead>, FormError> {
    let refused = || FormError::FileName { field: field.to_owned() };
    let Some(name) = content.file_name() else {
        // The parser passes over a name that is no UTF-8; the part would be taken for a plain field.
        let disposition = content.headers().get(header::CONTENT_DISPOSITION);
        let is_hidden =
            disposition.is_some_and(|value| std::str::from_utf8(value.as_bytes()).is_err());
        return if is_hidden { Err(refused()) } else { Ok(None) };
    };
    if !is_plain(name) {
        return Err(refused());
    }
    let media_type = content.content_type().map_or(UNKNOWN_TYPE.to_owned(), ToString::to_string);
    Ok(Some(FileHead { name: name.to_owned(), media_type }))
}

/// Whether a name is short text of one line.
fn is_plain(name: &str) -> bool {
    name.len() <= UPLOAD_FILE_NAME_MAX_BYTES && !name.chars().any(char::is_control)
}
