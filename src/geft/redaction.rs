//! Takes every secret out of outside text, even where the provider echoes it in another spelling.
//!
//! Never shows a part of a secret, so it works on whole texts, before they are cut.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use super::text::{bounded, one_line};
use crate::config::{self, ApiSecrets};
use crate::outcome::Said;

/// The longest error text, in characters.
pub(super) const ERROR_LENGTH: usize = 300;
/// The longest status or details, in characters.
pub(super) const STATUS_LENGTH: usize = 200;
/// So much of a text is looked at, in bytes: more than is ever shown. Looking for each spelling of each token takes time.
const LONGEST_TEXT: usize = 2_048;
/// Tokens remembered beside those that can be in flight: an old one can be echoed long after.
const SPARE_TOKENS: usize = 64;
/// The secrets in use, and those before them: an old one can be echoed long after.
const SECRETS_KEPT: usize = 16;
/// A shorter value is not worth guessing at: taking out each "1" would spoil every text.
const SHORTEST_SECRET: usize = 4;
const REDACTED: &str = "[redacted]";

/// Knows every secret that is sent, and takes them out of what comes back.
pub(super) struct Redaction {
    /// Every spelling of the settings' secrets, and of those of late that were replaced, the oldest first.
    secrets: Mutex<VecDeque<Vec<String>>>,
    /// Every spelling of each token of late, the oldest first.
    tokens: Mutex<VecDeque<Vec<String>>>,
    tokens_kept: usize,
}

impl Redaction {
    pub(super) fn new(api: &config::Api) -> Self {
        let tokens_kept = api.max_in_flight.saturating_mul(2).saturating_add(SPARE_TOKENS);
        let redaction = Self { secrets: Mutex::default(), tokens: Mutex::default(), tokens_kept };
        redaction.remember_secrets(&api.client_id, &ApiSecrets::of(api));
        redaction
    }

    /// Remembers secrets, before they are sent for the first time.
    pub(super) fn remember_secrets(&self, client_id: &str, secrets: &ApiSecrets) {
        let secret = secrets.client_secret.expose_secret();
        let mut found = spellings(secret);
        // In Base64 this is what HTTP Basic sends.
        found.extend(spellings(&format!("{client_id}:{secret}")));
        found.extend(secrets.headers.iter().flat_map(|(_, value)| spellings(value.expose_secret())));
        remember(&self.secrets, found, SECRETS_KEPT);
    }

    /// Remembers a token, before it is sent for the first time.
    pub(super) fn remember(&self, token: &SecretString) {
        remember(&self.tokens, spellings(token.expose_secret()), self.tokens_kept);
    }

    /// An error text fit to be stored and shown.
    pub(super) fn error(&self, text: &str) -> String {
        bounded(&self.clean(text), ERROR_LENGTH)
    }

    /// A part of an error text: cut shorter, so that another part stands beside it.
    pub(super) fn part(&self, text: &str) -> String {
        bounded(&self.clean(text), ERROR_LENGTH * 2 / 5)
    }

    /// The provider's words fit to be stored and shown.
    pub(super) fn said(&self, said: Said) -> Said {
        let fit = |text: Option<String>| {
            text.map(|text| bounded(&self.clean(&text), STATUS_LENGTH)).filter(|text| !text.is_empty())
        };
        Said { session_status: fit(said.session_status), status_details: fit(said.status_details), amount: said.amount }
    }

    /// Cleaned first: a control character in the middle must not hide a secret. Only the beginning is kept, but a secret
    /// that starts in it is looked for to its end.
    fn clean(&self, text: &str) -> String {
        let mut line = one_line(text);
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let spellings = || tokens.iter().chain(secrets.iter()).flatten();
        let longest = spellings().map(String::len).max().unwrap_or_default();
        let end = line.floor_char_boundary(LONGEST_TEXT);
        line.truncate(line.floor_char_boundary(LONGEST_TEXT + longest));
        // Lowering ASCII letters alone moves no byte.
        let lower = line.to_ascii_lowercase();
        // Most texts are shorter than most secrets.
        let spellings = spellings().filter(|spelling| spelling.len() <= lower.len());
        let places = spellings.flat_map(|spelling| places(&lower, spelling)).filter(|place| place.start < end);
        without(&line, end, places.collect())
    }
}

/// Adds one more, and forgets the oldest where there are too many.
fn remember(known: &Mutex<VecDeque<Vec<String>>>, spellings: Vec<String>, kept: usize) {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= kept {
        known.pop_front();
    }
    known.push_back(spellings);
}

/// The ways in which a secret can come back; in lower case, since letter case is put aside when it is looked for.
fn spellings(secret: &str) -> Vec<String> {
    let base64 = [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD].map(|alphabet| alphabet.encode(secret));
    let mut found = vec![secret.to_owned(), one_line(secret)];
    found.extend(base64);
    for plain in found.clone() {
        let form: String = form_urlencoded::byte_serialize(plain.as_bytes()).collect();
        let percent = form.replace('+', "%20");
        found.extend([percent.replace("%7E", "~"), percent, form]);
        // As it stands within JSON that was quoted as text.
        found.push(plain.replace('\\', "\\\\").replace('"', "\\\""));
        found.push(plain.replace('/', "\\/"));
    }
    for spelling in &mut found {
        spelling.make_ascii_lowercase();
    }
    found.retain(|spelling| spelling.len() >= SHORTEST_SECRET);
    found.sort();
    found.dedup();
    found
}

/// Where a spelling stands in a text, overlaps with itself among them.
fn places<'text>(text: &'text str, spelling: &'text str) -> impl Iterator<Item = Range<usize>> {
    let step = spelling.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(spelling)?;
        from = start + step;
        Some(start..start + spelling.len())
    })
}

/// The line up to `end` without these places, which start before it. Where they overlap they go as one: of a secret within
/// or across another, no part stays.
fn without(line: &str, end: usize, mut places: Vec<Range<usize>>) -> String {
    places.sort_by_key(|place| place.start);
    let mut rest = 0;
    let mut kept = String::with_capacity(end);
    for place in places {
        if place.start >= rest {
            kept.push_str(&line[rest..place.start]);
            kept.push_str(REDACTED);
        }
        rest = rest.max(place.end);
    }
    if rest < end {
        kept.push_str(&line[rest..end]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;
    use proptest::prelude::*;

    use super::super::promises::api;
    use super::*;

    fn redaction(secret: &str, header: &str, token: &str) -> Redaction {
        let mut api = api();
        api.client_secret = secret.into();
        api.headers = vec![("x-api-key".into(), header.into())];
        let redaction = Redaction::new(&api);
        redaction.remember(&token.into());
        redaction
    }

    #[test]
    fn no_secret_survives_an_echo_in_any_spelling() {
        let redaction = redaction("s3cr/t+ Ü~", "key  with\tblanks", "eyJ.tok-en_1");
        let basic = BASE64_STANDARD.encode("client:s3cr/t+ Ü~");
        let echo = format!(
            "secret=s3cr%2Ft%2B+%C3%9C%7E s3cr%2ft%2b%20%c3%9c~ S3CR/T+ Ü~ {basic} {} Bearer eyJ.tok-\u{0}en_1 key with blanks",
            BASE64_STANDARD.encode("s3cr/t+ Ü~"),
        );
        let cleaned = redaction.error(&echo);
        for secret in ["s3cr", "S3CR", "eyJ", "en_1", "blanks", &basic[..6], "czNjc"] {
            assert!(!cleaned.contains(secret), "{secret} in {cleaned}");
        }
        assert!(cleaned.starts_with("secret=[redacted] [redacted] [redacted] "), "{cleaned}");
    }

    #[test]
    fn a_secret_is_not_shown_in_part_where_a_text_is_cut() {
        let redaction = redaction("topsecretvalue", "header-value", "token-value");
        let cleaned = redaction.error(&format!("{}topsecretvalue", "x".repeat(ERROR_LENGTH - 4)));
        assert!(!cleaned.contains("tops"), "{cleaned}");
        assert!(cleaned.chars().count() <= ERROR_LENGTH);
    }

    #[test]
    fn a_secret_across_the_end_of_what_is_looked_at_goes_as_a_whole() {
        let redaction = redaction("topsecretvalue", "header-value", "token-value");
        for before in LONGEST_TEXT - 20..LONGEST_TEXT + 2 {
            let cleaned = redaction.clean(&format!("{}topsecretvalue and more", "x".repeat(before)));
            assert!(!cleaned.contains("to") && cleaned.len() <= LONGEST_TEXT + REDACTED.len(), "{before}: {cleaned}");
        }
    }

    #[test]
    fn a_one_letter_header_does_not_spoil_the_texts() {
        let redaction = redaction("topsecretvalue", "1", "token-value");
        assert_eq!(redaction.error("answered 401"), "answered 401");
    }

    #[test]
    fn the_oldest_token_is_forgotten_first() {
        let redaction = redaction("topsecretvalue", "header-value", "token-first");
        for number in 0..redaction.tokens_kept {
            redaction.remember(&format!("token-number-{number}").into());
        }
        assert_eq!(redaction.error("token-first"), "token-first");
        assert_eq!(redaction.error("token-number-0"), REDACTED);
    }

    #[test]
    fn statuses_are_kept_word_for_word() {
        let redaction = redaction("topsecretvalue", "header-value", "token-value");
        let said = Said {
            session_status: Some("Cancelled".into()),
            status_details: Some(" \u{0}".into()),
            amount: Some("12.50".into()),
        };
        let cleaned = redaction.said(said);
        assert_eq!(cleaned.session_status.as_deref(), Some("Cancelled"));
        assert_eq!(cleaned.status_details, None);
        assert_eq!(cleaned.amount.as_deref(), Some("12.50"));
    }

    #[test]
    fn a_secret_within_another_does_not_save_the_rest_of_it() {
        let redaction = redaction("topsecretvalue", "secretvalue-two", "topsec");
        assert_eq!(redaction.error("a topsecretvalue b topsecretvalue-two c"), "a [redacted] b [redacted] c");
    }

    #[test]
    fn a_secret_that_overlaps_itself_leaves_nothing() {
        let redaction = redaction("abab", "header-value", "token-value");
        assert_eq!(redaction.error("x abababab y"), "x [redacted] y");
    }

    #[test]
    fn basic_authentication_is_known_without_its_padding_and_in_the_alphabet_of_urls() {
        let redaction = redaction("\u{3ff}\u{3ff}\u{3ff}??>", "header-value", "token-value");
        let basic = BASE64_STANDARD.encode("client:\u{3ff}\u{3ff}\u{3ff}??>");
        let in_urls = basic.replace('+', "-").replace('/', "_");
        assert_ne!(in_urls, basic);
        for echo in [basic.as_str(), basic.trim_end_matches('='), &in_urls] {
            assert_eq!(redaction.error(&format!("a {echo}")).trim_end_matches('='), "a [redacted]");
        }
    }

    /// How an echo may be spelled, found out apart from the code under test.
    fn echo(secret: &str, how: u8) -> String {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        match how {
            0 => secret.to_owned(),
            1 => secret.to_ascii_uppercase(),
            2 => form,
            3 => form.replace('+', "%20").to_lowercase(),
            4 => BASE64_STANDARD.encode(secret),
            5 => BASE64_STANDARD_NO_PAD.encode(secret).replace('+', "-").replace('/', "_"),
            6 => BASE64_STANDARD.encode(format!("client:{secret}")),
            7 => secret.replace('\\', "\\\\").replace('"', "\\\""),
            8 => secret.replace('/', "\\/"),
            // Invisible marks between all characters.
            _ => secret.chars().flat_map(|character| [character, '\u{0}', '\u{200B}', '\u{AD}']).collect(),
        }
    }

    const NEVER_IN_A_SECRET: &str = "[α-ω\u{0} ]{0,20}";

    proptest! {
        /// Secrets can be parts of one another, and any can come back, in any spelling and more than once.
        #[test]
        fn of_an_echoed_secret_nothing_is_left(
            secret in "[A-Za-z0-9+/=~%\"\\\\._-]{8,40}", more in "[A-Za-z0-9]{0,8}", part in 4_usize..8, which in 0_usize..3,
            how in 0_u8..10, before in NEVER_IN_A_SECRET, between in NEVER_IN_A_SECRET, after in NEVER_IN_A_SECRET,
        ) {
            let secrets = [&secret, &format!("{more}{secret}{more}"), &secret[..part]];
            let redaction = redaction(secrets[0], secrets[1], secrets[2]);
            // Of the client secret alone HTTP Basic is made.
            let echo = echo(secrets[if how == 6 { 0 } else { which }], how);
            let cleaned = redaction.error(&format!("{before} {echo} {between} {echo} {after}"));
            let left = cleaned.replace(REDACTED, "");
            prop_assert!(!left.contains(|left: char| left.is_ascii_alphanumeric()), "{cleaned}");
        }
    }
}
