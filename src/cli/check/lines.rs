//! What `check` has found, a line each, and how it is shown. It judges nothing.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Result {
    Ok,
    /// It works, but.
    Warn,
    /// It does not work; the detail says what mends it.
    Fail,
}

#[derive(Debug, Serialize)]
struct Line {
    result: Result,
    name: &'static str,
    detail: String,
}

#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    pub(super) fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Line { result: Result::Ok, name, detail: detail.into() });
    }

    pub(super) fn warn(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Line { result: Result::Warn, name, detail: detail.into() });
    }

    pub(super) fn fail(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Line { result: Result::Fail, name, detail: detail.into() });
    }

    pub(super) fn failed(&self) -> bool {
        self.0.iter().any(|line| line.result == Result::Fail)
    }

    /// For programs: one object.
    pub(super) fn json(&self) -> String {
        serde_json::json!({ "ok": !self.failed(), "checks": self.0 }).to_string()
    }

    /// For people: a line each.
    pub(super) fn text(&self) -> String {
        let line = |Line { result, name, detail }: &Line| {
            let result = format!("{result:?}").to_lowercase();
            format!("{result:<4}  {name:<13}  {detail}")
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
