//! Secrets: given as they are, or as the path of a file that holds them.
//!
//! No problem told here shows what a secret holds. Nothing is kept, so a secret can be read anew at any time.

use std::collections::BTreeMap;
use std::fs;

use config::{FileFormat, Format, Map, Value, ValueKind};
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::SecretString;

use super::draft::Draft;
use super::layer::not_toml;
use super::problem::{escaped, quoted};

/// Headers that the program sets itself.
const OWN_HEADERS: [&str; 6] =
    ["authorization", "connection", "content-length", "content-type", "host", "transfer-encoding"];

/// A secret, and the setting to name where something is wrong with it.
pub(super) struct Given {
    pub(super) setting: String,
    pub(super) text: String,
}

/// A secret text that has to be given; `example` is a line of the file.
pub(super) fn required(draft: &mut Draft, direct: &str, example: &str) -> Option<Given> {
    let from_file = format!("{direct}_file");
    if draft.is_refused(direct) {
        return None;
    }
    let given = if draft.gives(&from_file) {
        read(draft, from_file)?
    } else if draft.gives(direct) {
        Given { setting: direct.to_owned(), text: draft.value(direct)? }
    } else {
        draft.refuse_missing(direct, example);
        return None;
    };
    if given.text.trim().is_empty() {
        draft.refuse(&given.setting, "holds nothing: an empty secret cannot be right");
        return None;
    }
    Some(given)
}

/// The extra headers, by name.
pub(super) fn headers(draft: &mut Draft) -> Option<Vec<(String, SecretString)>> {
    if draft.is_refused("api.headers") {
        return None;
    }
    let (setting, table) = if draft.gives("api.headers_file") {
        let Given { setting, text } = read(draft, "api.headers_file".to_owned())?;
        let table = match FileFormat::Toml.parse(None, &text) {
            Ok(table) => table,
            Err(error) => {
                draft.refuse(&setting, format!("names a file that {}", not_toml(&text, error.as_ref())));
                return None;
            }
        };
        (setting, table)
    } else {
        ("api.headers".to_owned(), draft.value::<Map<String, Value>>("api.headers")?)
    };
    match checked_headers(table) {
        Ok(headers) => Some(headers),
        Err(complaint) => {
            draft.refuse(&setting, complaint);
            None
        }
    }
}

/// Reads the file that a setting names; one newline at its end is not part of the secret.
fn read(draft: &mut Draft, setting: String) -> Option<Given> {
    let path = draft.text(&setting)?;
    if path.contains("://") {
        draft.refuse(&setting, "must be the path of a file, not the value itself");
        return None;
    }
    match fs::read_to_string(&path) {
        Ok(text) => {
            let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
            Some(Given { setting, text: text.to_owned() })
        }
        Err(error) => {
            draft.refuse(&setting, format!("names {}, which cannot be read: {error}", quoted(&path)));
            None
        }
    }
}

/// In the order of their names, so that two runs send the same.
fn checked_headers(table: Map<String, Value>) -> Result<Vec<(String, SecretString)>, String> {
    let mut headers = BTreeMap::new();
    for (name, value) in table {
        let shown = escaped(&name);
        let ValueKind::String(value) = value.kind else {
            return Err(format!("gives the header {shown} a value that is not text in quotes"));
        };
        let Ok(known) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(format!("names a header {shown}, which HTTP does not allow as a name"));
        };
        if OWN_HEADERS.contains(&known.as_str()) {
            return Err(format!("names the header {shown}, which geft-sweeper sets itself: take it out"));
        }
        if HeaderValue::from_str(&value).is_err() {
            return Err(format!("gives the header {shown} a value that HTTP does not allow, such as a line break"));
        }
        if headers.insert(known.as_str().to_owned(), SecretString::from(value)).is_some() {
            return Err(format!("names the header {shown} twice, letter case aside"));
        }
    }
    Ok(headers.into_iter().collect())
}
