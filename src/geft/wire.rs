//! The provider's JSON as this program reads it: a field of the wrong type says nothing, and nothing is dropped or guessed.
//!
//! Pure. It never decides what an answer means.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::outcome::Said;
use crate::session::SessionId;

/// The longest amount, in characters.
const AMOUNT_LENGTH: usize = 40;
/// The longest token, in bytes: servers refuse headers that are longer by far, and each spelling of many is remembered.
pub(super) const LONGEST_TOKEN: usize = 16 * 1024;
/// How long a token is trusted whose life the provider does not tell.
const LIFE_UNTOLD: Duration = Duration::from_mins(1);
/// No token is trusted for longer, whatever is said: it keeps the clock's arithmetic from overflowing.
const LONGEST_LIFE: f64 = 86_400.0 * 365.0;
/// Where error bodies carry words for people: RFC 9457, then OAuth, then what frameworks send.
const WORDS: [Field; 5] = [Field::Title, Field::Detail, Field::Error, Field::ErrorDescription, Field::Message];

/// Which session a body speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// The one that was asked about.
    ThisSession,
    /// Another, or something that is no id: not to be believed.
    Another,
    /// None at all.
    Nobody,
}

/// The fields that are looked at. The others are passed over where they stand, however many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    #[serde(rename = "sessionId")]
    SessionId,
    Status,
    #[serde(rename = "statusDetails")]
    StatusDetails,
    Amount,
    Title,
    Detail,
    Error,
    ErrorDescription,
    Message,
    AccessToken,
    TokenType,
    ExpiresIn,
    #[serde(other)]
    Other,
}

/// A JSON object as far as it is looked at. Of a field that stands there twice, who of the servers on the way takes the first
/// and who the last cannot be known, so neither is believed.
pub(super) struct Object<'body>([Content<'body>; Field::Other as usize]);

#[derive(Clone, Copy)]
enum Content<'body> {
    Absent,
    Once(&'body RawValue),
    Twice,
}

impl<'body> Deserialize<'body> for Object<'body> {
    fn deserialize<D: Deserializer<'body>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'body> Visitor<'body> for Fields {
    type Value = Object<'body>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'body>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = [Content::Absent; Field::Other as usize];
        while let Some(name) = map.next_key::<Field>()? {
            match fields.get_mut(name as usize) {
                Some(content @ Content::Absent) => *content = Content::Once(map.next_value()?),
                Some(content) => {
                    map.next_value::<IgnoredAny>()?;
                    *content = Content::Twice;
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Object(fields))
    }
}

impl<'body> Object<'body> {
    pub(super) fn read(body: &'body [u8]) -> Option<Self> {
        // Whole: what is passed over must be text as well.
        serde_json::from_str(std::str::from_utf8(without_mark(body)).ok()?).ok()
    }

    /// The session named by `sessionId`, in any spelling of a UUID.
    pub(super) fn names(&self, session: SessionId) -> Names {
        match self.0[Field::SessionId as usize] {
            Content::Absent => Names::Nobody,
            Content::Once(raw) if raw.get() == "null" => Names::Nobody,
            _ if self.text(Field::SessionId).and_then(|id| id.parse().ok()) == Some(session) => Names::ThisSession,
            _ => Names::Another,
        }
    }

    /// What is said of the session, not yet cleaned.
    pub(super) fn said(&self) -> Said {
        let text = |field| self.text(field).map(Cow::into_owned);
        Said { session_status: text(Field::Status), status_details: text(Field::StatusDetails), amount: self.amount() }
    }

    /// What the body tells people, not yet cleaned.
    pub(super) fn words(&self) -> Option<String> {
        let words: Vec<_> = WORDS.into_iter().filter_map(|field| self.text(field)).collect();
        (!words.is_empty()).then(|| words.join(": "))
    }

    /// Kept as written: a binary float would change cents.
    fn amount(&self) -> Option<String> {
        let digits = self.text(Field::Amount).or_else(|| Some(self.raw(Field::Amount)?.get().into()))?;
        is_plain_decimal(digits.trim()).then(|| digits.trim().to_owned())
    }

    fn raw(&self, field: Field) -> Option<&'body RawValue> {
        if let Content::Once(raw) = self.0[field as usize] { Some(raw) } else { None }
    }

    /// Where the field is a text: as it stands, or without its escapes.
    fn text(&self, field: Field) -> Option<Cow<'body, str>> {
        let raw = self.raw(field)?.get();
        serde_json::from_str(raw).map(Cow::Borrowed).or_else(|_| serde_json::from_str(raw).map(Cow::Owned)).ok()
    }
}

/// Whether a body is JSON of any kind.
pub(super) fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(without_mark(body)).is_ok()
}

/// Some servers put a byte order mark before JSON.
fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body)
}

fn is_plain_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    text.len() <= AMOUNT_LENGTH && digits(whole.strip_prefix('-').unwrap_or(whole)) && fraction.is_none_or(digits)
}

/// What authorize granted.
#[derive(Debug)]
pub(super) struct Grant {
    /// To be sent as `Bearer`.
    pub(super) access_token: SecretString,
    /// How long it can be used, from when it was asked for.
    pub(super) life: Duration,
}

impl Grant {
    /// Reads the answer of authorize; an error says what is missing.
    pub(super) fn read(body: &[u8]) -> Result<Self, &'static str> {
        let object = Object::read(body).ok_or("without a JSON object")?;
        let kind = object.text(Field::TokenType);
        if kind.is_some_and(|kind| !kind.trim().eq_ignore_ascii_case("bearer")) {
            return Err("with a token_type other than Bearer");
        }
        let token = object.text(Field::AccessToken).filter(|token| is_sendable(token));
        let access_token = token.ok_or("without a usable access_token")?.into_owned().into();
        Ok(Self { access_token, life: object.life() })
    }
}

/// Whether a token can stand in a header as it is.
fn is_sendable(token: &str) -> bool {
    (1..=LONGEST_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Object<'_> {
    fn life(&self) -> Duration {
        let raw = self.raw(Field::ExpiresIn);
        let told = raw.and_then(|raw| serde_json::from_str::<f64>(raw.get()).ok());
        let told = told.or_else(|| self.text(Field::ExpiresIn)?.trim().parse().ok());
        told.filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map_or(LIFE_UNTOLD, |seconds| Duration::from_secs_f64(seconds.min(LONGEST_LIFE)))
    }
}

#[cfg(test)]
mod tests;
