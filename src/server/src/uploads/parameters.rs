//! From the parts of a form to the parameters of a task: the list of files, and an object of the fields.

use ploinky_contract::limits::{JSON_DEPTH_MAX, REQUEST_MAX_BYTES, UPLOAD_FIELD_MAX_BYTES};
use ploinky_contract::paths::CONTAINER_TASKS;
use ploinky_contract::{TaskId, TooDeep, check_depth};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::form::FileHead;
use crate::guardian::has_lone_surrogate;

/// Why a field is no parameter.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FieldError {
    /// Too long for memory.
    #[error("the field `{field}` is longer than {UPLOAD_FIELD_MAX_BYTES} bytes")]
    TooLong {
        /// Its name.
        field: String,
    },
    /// Not UTF-8.
    #[error("the field `{field}` is not UTF-8 text")]
    NotUtf8 {
        /// Its name.
        field: String,
    },
    /// JSON that nests too deeply.
    #[error("the field `{field}` is refused: {reason}")]
    TooDeep {
        /// Its name.
        field: String,
        /// The rule.
        reason: TooDeep,
    },
    /// JSON with a string that is no text.
    #[error("the field `{field}` is refused: a string holds half of a surrogate pair")]
    LoneSurrogate {
        /// Its name.
        field: String,
    },
    /// More than a request file holds.
    #[error("the fields of the form are longer than {REQUEST_MAX_BYTES} bytes together")]
    AllTooLong,
}

/// One file as the agent hears of it.
#[derive(Debug, Serialize)]
struct FileParameter<'a> {
    field: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    media_type: &'a str,
    size: u64,
    path: String,
}

/// The same as a request has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    field: String,
    name: String,
    #[serde(rename = "type")]
    media_type: String,
    size: u64,
    path: String,
}

/// The fields, in the order of their first values.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(String, Vec<Box<RawValue>>)>);

/// A file that is whole.
#[derive(Debug)]
pub(super) struct WholeFile {
    pub(super) field: String,
    pub(super) head: FileHead,
    pub(super) size: u64,
}

impl Fields {
    /// Adds a value: JSON if it parses, else text.
    pub(super) fn add(&mut self, field: String, bytes: &[u8]) -> Result<(), FieldError> {
        let value = value(&field, bytes)?;
        match self.0.iter_mut().find(|(known, _)| *known == field) {
            Some((_, values)) => values.push(value),
            None => self.0.push((field, vec![value])),
        }
        Ok(())
    }
}

impl Serialize for Fields {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.0.len()))?;
        for (field, values) in &self.0 {
            match values.as_slice() {
                [single] => object.serialize_entry(field, single)?,
                several => object.serialize_entry(field, several)?,
            }
        }
        object.end()
    }
}

/// The parameters of task `id`, without the user.
pub(super) fn parameters(
    id: TaskId,
    files: &[WholeFile],
    fields: &Fields,
) -> Result<Vec<Box<RawValue>>, FieldError> {
    let files: Vec<_> = files
        .iter()
        .enumerate()
        .map(|(number, WholeFile { field, head: FileHead { name, media_type }, size })| {
            let path = path(id, number);
            FileParameter { field, name, media_type, size: *size, path }
        })
        .collect();
    // Strings, numbers and checked JSON cannot fail to serialise into memory.
    let params: Vec<_> =
        [to_raw_value(&files), to_raw_value(fields)].into_iter().flatten().collect();
    let length: usize = params.iter().map(|param| param.get().len()).sum();
    if REQUEST_MAX_BYTES < length { Err(FieldError::AllTooLong) } else { Ok(params) }
}

/// The parameters of the upload `old`, the user first, as those of task `new`, and how many files it has. `None`
/// if they are none of an upload.
pub(crate) fn moved(
    old: TaskId,
    new: TaskId,
    mut params: Vec<Box<RawValue>>,
) -> Option<(Vec<Box<RawValue>>, usize)> {
    let list = params.get_mut(1)?;
    let known: Vec<Known> = serde_json::from_str(list.get()).ok()?;
    let files: Option<Vec<_>> = known
        .iter()
        .enumerate()
        .map(|(number, Known { field, name, media_type, size, path: old_path })| {
            let path = path(new, number);
            let file = FileParameter { field, name, media_type, size: *size, path };
            (*old_path == self::path(old, number)).then_some(file)
        })
        .collect();
    let files = files?;
    *list = to_raw_value(&files).ok()?;
    Some((params, files.len()))
}

/// Where the agent sees a file.
fn path(id: TaskId, number: usize) -> String {
    format!("{CONTAINER_TASKS}/files/{id}/{number}")
}

fn value(field: &str, bytes: &[u8]) -> Result<Box<RawValue>, FieldError> {
    let name = || field.to_owned();
    let text =
        std::str::from_utf8(bytes).map_err(|_invalid| FieldError::NotUtf8 { field: name() })?;
    let Ok(json) = serde_json::from_str::<&RawValue>(text) else {
        return to_raw_value(text).map_err(|_invalid| FieldError::NotUtf8 { field: name() });
    };
    // It becomes an entry of an object of a list, or of a list in one.
    check_depth(json.get().as_bytes(), JSON_DEPTH_MAX - 3)
        .map_err(|reason| FieldError::TooDeep { field: name(), reason })?;
    if has_lone_surrogate(json.get().as_bytes()) {
        return Err(FieldError::LoneSurrogate { field: name() });
    }
    Ok(json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(values: &[(&str, &str)]) -> Result<String, FieldError> {
        let mut fields = Fields::default();
        for (field, value) in values {
            fields.add((*field).to_owned(), value.as_bytes())?;
        }
        Ok(serde_json::to_string(&fields).unwrap())
    }

    #[test]
    fn fields_that_are_no_parameters_are_refused() {
        let mut empty = Fields::default();
        let refused = empty.add("a".to_owned(), b"\xff");
        assert!(matches!(refused, Err(FieldError::NotUtf8 { .. })));
        let deep = "[".repeat(JSON_DEPTH_MAX - 2) + &"]".repeat(JSON_DEPTH_MAX - 2);
        assert!(matches!(fields(&[("a", &deep)]), Err(FieldError::TooDeep { .. })));
        let half = r#""\ud800""#;
        assert!(matches!(fields(&[("a", half)]), Err(FieldError::LoneSurrogate { .. })));
        let long = "\"".repeat(REQUEST_MAX_BYTES / 2);
        empty.add("a".to_owned(), long.as_bytes()).unwrap();
        let id = TaskId::from_random([1; 16]);
        assert!(matches!(parameters(id, &[], &empty), Err(FieldError::AllTooLong)));
    }

    #[test]
    fn a_field_is_json_if_it_parses_and_text_otherwise() {
        for (given, expected) in [
            ("", r#"{"a":""}"#),
            ("5", r#"{"a":5}"#),
            (" {\"b\": 1e400} ", r#"{"a":{"b": 1e400}}"#),
            ("null", r#"{"a":null}"#),
            ("{", r#"{"a":"{"}"#),
            ("[[[", r#"{"a":"[[["}"#),
            ("two words", r#"{"a":"two words"}"#),
            ("\0\"", r#"{"a":"\u0000\""}"#),
        ] {
            assert_eq!(fields(&[("a", given)]).unwrap(), expected, "{given:?}");
        }
        let several = [("a", "1"), ("b", "x"), ("a", "y")];
        assert_eq!(fields(&several).unwrap(), r#"{"a":[1,"y"],"b":"x"}"#);
    }

    #[test]
    fn a_file_is_named_by_its_number_and_not_by_its_name() {
        let head =
            FileHead { name: "../../etc/passwd".to_owned(), media_type: "text/plain".to_owned() };
        let file = WholeFile { field: "f".to_owned(), head, size: 3 };
        let id = TaskId::from_random([1; 16]);
        let params = parameters(id, &[file], &Fields::default()).unwrap();
        let params: Vec<_> = params.iter().map(|param| param.get()).collect();
        let files = format!(
            r#"[{{"field":"f","name":"../../etc/passwd","type":"text/plain","size":3,"path":"/agent/.tasks/files/{id}/0"}}]"#
        );
        assert_eq!(params, [files.as_str(), "{}"]);
    }

    #[test]
    fn only_the_paths_of_an_upload_change_when_it_moves() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let [old, new] = [1, 2].map(|byte| TaskId::from_random([byte; 16]));
        let list = |paths: &[String]| {
            let file = |path| {
                format!(
                    r#"{{"field":"f","name":"\"/{old}/0\"","type":"t","size":3,"path":"{path}"}}"#
                )
            };
            format!("[{}]", paths.iter().map(file).collect::<Vec<_>>().join(","))
        };
        let of = |id: TaskId| [0, 1].map(|number| format!("/agent/.tasks/files/{id}/{number}"));
        for params in [
            vec![],
            vec![r#""u""#.to_owned()],
            vec![r#""u""#.to_owned(), "1".to_owned()],
            vec![r#""u""#.to_owned(), list(&of(new))],
            vec![r#""u""#.to_owned(), list(&[of(old)[1].clone()])],
        ] {
            let given = params.iter().map(|param| raw(param)).collect();
            assert!(moved(old, new, given).is_none(), "{params:?}");
        }
        let fields = format!(r#"{{"a":"/agent/.tasks/files/{old}/0"}}"#);
        let given = vec![raw(r#""u""#), raw(&list(&of(old))), raw(&fields)];
        let (params, count) = moved(old, new, given).unwrap();
        let params: Vec<_> = params.iter().map(|param| param.get()).collect();
        assert_eq!((params, count), (vec![r#""u""#, &list(&of(new)), &fields], 2));
    }
}
