//! One thing that can go wrong with a request, and its name in settings.
//!
//! Names only. What a fault does to an answer is decided in `delivery`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What goes wrong, and whether the request has had its effect by then.
///
/// Written as the kind, then `_before_effect` or `_after_effect`: `503`, `timeout_after_effect`, `body_empty_before_effect`.
/// Without that ending, codes, timeouts and resets come before the effect, and odd bodies after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// What goes wrong.
    pub kind: Kind,
    /// The request does its work before it goes wrong.
    pub after_effect: bool,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing: an ordinary answer. Fills the gaps in a list of first answers.
    None,
    /// This code (300 to 599) in JSON. A 3xx has a Location, a 429 or 503 what `retry_after` says.
    Code(u16),
    /// `404_html`: 404 as a web server says it that knows no such address.
    NotFoundHtml,
    /// `timeout`: no answer until the client gives up.
    Timeout,
    /// `reset`: the connection is reset (RST) without an answer.
    Reset,
    /// `slow_body`: the headers at once, then one byte every `slow_body_ms`.
    SlowBody,
    /// `cut_body`: half the body, then the connection ends.
    CutBody,
    /// `huge_body`: more than 64 KiB of padding.
    HugeBody,
    /// An answer with a good code whose body confirms nothing.
    Body(OddBody),
}

/// A body that confirms nothing, sent in place of an object with a good code.
///
/// Those about a session's fields leave a token answer usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OddBody {
    /// `body_empty`: no byte.
    Empty,
    /// `body_html`: a web page.
    Html,
    /// `body_no_fields`: `{}`.
    NoFields,
    /// `body_wrong_status`: this session, still `InProgress`.
    WrongStatus,
    /// `body_other_session`: the right words about another session.
    OtherSession,
    /// `body_no_session_id`: the right words about no session.
    NoSessionId,
    /// `body_invalid_json`: an object that breaks off, with its true length.
    InvalidJson,
    /// `body_array`: the object within an array.
    Array,
    /// `body_null`: JSON null.
    Null,
}

/// Every kind with a fixed name; codes are written as their number.
const NAMES: [(&str, Kind); 16] = [
    ("none", Kind::None),
    ("404_html", Kind::NotFoundHtml),
    ("timeout", Kind::Timeout),
    ("reset", Kind::Reset),
    ("slow_body", Kind::SlowBody),
    ("cut_body", Kind::CutBody),
    ("huge_body", Kind::HugeBody),
    ("body_empty", Kind::Body(OddBody::Empty)),
    ("body_html", Kind::Body(OddBody::Html)),
    ("body_no_fields", Kind::Body(OddBody::NoFields)),
    ("body_wrong_status", Kind::Body(OddBody::WrongStatus)),
    ("body_other_session", Kind::Body(OddBody::OtherSession)),
    ("body_no_session_id", Kind::Body(OddBody::NoSessionId)),
    ("body_invalid_json", Kind::Body(OddBody::InvalidJson)),
    ("body_array", Kind::Body(OddBody::Array)),
    ("body_null", Kind::Body(OddBody::Null)),
];

const BEFORE: &str = "_before_effect";
const AFTER: &str = "_after_effect";

/// The name is none of a fault.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{name}` is no fault: write a code from 300 to 599 or one of {known}, and `_before_effect` or `_after_effect` behind it where that matters"
)]
pub struct UnknownFault {
    name: String,
    known: String,
}

impl Kind {
    /// When nothing is said: whether the effect comes first.
    fn usually_after_effect(self) -> bool {
        matches!(self, Self::None | Self::SlowBody | Self::CutBody | Self::HugeBody | Self::Body(_))
    }

    fn parse(name: &str) -> Option<Self> {
        let code = || name.parse().ok().filter(|code| (300..600).contains(code)).map(Self::Code);
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).or_else(code)
    }
}

impl From<Kind> for Fault {
    fn from(kind: Kind) -> Self {
        Self { kind, after_effect: kind.usually_after_effect() }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (stem, after_effect) = match (name.strip_suffix(BEFORE), name.strip_suffix(AFTER)) {
            (Some(stem), _) => (stem, Some(false)),
            (None, Some(stem)) => (stem, Some(true)),
            (None, None) => (name, None),
        };
        let kind = Kind::parse(stem)
            .ok_or_else(|| UnknownFault { name: name.to_owned(), known: NAMES.map(|(known, _)| known).join(", ") })?;
        Ok(Self { kind, after_effect: after_effect.unwrap_or(kind.usually_after_effect()) })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, kind)| *kind == self.kind).map_or("none", |(name, _)| *name);
        match self.kind {
            Kind::Code(code) => write!(formatter, "{code}")?,
            _ => formatter.write_str(name)?,
        }
        if self.after_effect == self.kind.usually_after_effect() {
            return Ok(());
        }
        formatter.write_str(if self.after_effect { AFTER } else { BEFORE })
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_as_it_is_shown() {
        let codes = [300, 404, 429, 503, 599].map(Kind::Code);
        for kind in NAMES.map(|(_, kind)| kind).into_iter().chain(codes) {
            for after_effect in [true, false] {
                let fault = Fault { kind, after_effect };
                assert_eq!(fault.to_string().parse(), Ok(fault), "{fault}");
            }
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        for name in ["", "200", "600", "timeot", "_after_effect", "timeout_after"] {
            assert!(name.parse::<Fault>().is_err(), "{name}");
        }
    }
}
