//! The one door for the fuzz targets in `tests/fuzz`: turns bytes into what the promises of the rooms are held against.
//!
//! Compiled under `--cfg fuzzing` and for the tests. It decides nothing: what must hold is said in each room's `promises`.

use std::fmt;

use crate::{config, geft, source};

/// What stands between two answers.
const BETWEEN: &[u8] = b"\n====\n";

/// A client with secrets to lose; takes a while to make.
pub struct Provider(geft::promises::Promises);

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Provider")
    }
}

impl Default for Provider {
    fn default() -> Self {
        Self(geft::promises::Promises::new())
    }
}

impl Provider {
    /// The answers to cancel and to status, as `code`, header lines, an empty line and the body; the first is read as
    /// authorize's too.
    pub fn answers(&self, input: &[u8]) {
        let between = input.windows(BETWEEN.len()).position(|bytes| bytes == BETWEEN);
        let (cancel, status) = between.map_or((input, &[][..]), |at| (&input[..at], &input[at + BETWEEN.len()..]));
        self.0.attempt(cancel, status);
        geft::promises::authorize(cancel);
    }
}

/// The head of an answer, in the same form.
pub fn headers(input: &[u8]) {
    geft::promises::head(input);
}

/// A first line that says where the rest stands: the name of a variable, `headers_file`, or `damage` to a file (where
/// and how much, a byte each, and what comes in its place). Else all of it is the configuration file.
pub fn configuration(input: &[u8]) {
    // Settings name files, and some files never end.
    if input.windows(4).any(|bytes| bytes == b"/dev" || bytes == b"proc") {
        return;
    }
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, rest) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    match (std::str::from_utf8(line), std::str::from_utf8(rest)) {
        (Ok("headers_file"), _) => config::promises::headers_file(rest),
        (Ok(name), Ok(value)) if name.starts_with("GEFT_SWEEPER") && !format!("{name}{value}").contains('\0') => {
            config::promises::variable(name, value);
        }
        (Ok("damage"), Ok(rest)) if rest.len() > 2 => {
            let (cut, less) = (rest.as_bytes()[0], rest.as_bytes()[1]);
            config::promises::damaged_file(usize::from(cut) * 4 + usize::from(less) / 8, usize::from(less), &rest[2..]);
        }
        _ => config::promises::file(input),
    }
}

/// Names and statuses of the settings, and one row of the source for each line: key, a tab, reason.
pub fn identifiers(input: &[u8]) {
    // The server's texts are in UTF-8 and without a zero byte; settings with one are refused before.
    let text = String::from_utf8_lossy(input).replace('\0', "");
    source::promises::name(&text);
    source::promises::statements(&text);
    let row = |line: &str| {
        let (key, reason) = line.split_once('\t').map_or((line, None), |(key, reason)| (key, Some(reason.to_owned())));
        (Some(key.to_owned()), None, None, None, reason)
    };
    source::promises::rows(text.lines().map(row).collect());
    text.lines().for_each(source::promises::session_id);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Holds a target against its seeds, among them what fuzzing has found.
    fn held(target: &str, check: impl Fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
        for seed in fs::read_dir(seeds).unwrap() {
            let path = seed.unwrap().path();
            check(&fs::read(path).unwrap());
        }
    }

    #[test]
    fn what_is_promised_of_answers_holds_for_their_seeds() {
        let provider = Provider::default();
        held("answers", |input| provider.answers(input));
        held("headers", headers);
    }

    #[test]
    fn what_is_promised_of_settings_and_rows_holds_for_their_seeds() {
        held("configuration", configuration);
        held("identifiers", identifiers);
    }
}
