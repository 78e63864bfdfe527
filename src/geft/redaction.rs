//! Takes every secret out of outside text, even where the provider echoes it in another spelling.
//!
//! Never shows a part of a secret, so it works on whole texts, before they are cut.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use super::text::{bounded, one_line};
use crate::config;
use crate::outcome::Said;

/// The longest error text, in characters.
const ERROR_LENGTH: usize = 300;
/// The longest status or details, in characters.
const STATUS_LENGTH: usize = 200;
/// Tokens remembered beside those that can be in flight: an old one can be echoed long after.
const SPARE_TOKENS: usize = 64;
/// A shorter value is not worth guessing at: taking out each "1" would spoil every text.
const SHORTEST_SECRET: usize = 4;
const REDACTED: &str = "[redacted]";

/// Knows every secret that is sent, and takes them out of what comes back.
pub(super) struct Redaction {
    /// Every spelling of the settings' secrets, the longest first.
    fixed: Vec<String>,
    /// Every spelling of each token of late, the oldest first.
    tokens: Mutex<VecDeque<Vec<String>>>,
    tokens_kept: usize,
}

impl Redaction {
    pub(super) fn new(api: &config::Api) -> Self {
        let secret = api.client_secret.expose_secret();
        let basic = BASE64_STANDARD.encode(format!("{}:{secret}", api.client_id));
        let mut fixed = spellings(secret);
        fixed.extend(spellings(&basic));
        fixed.extend(api.headers.iter().flat_map(|(_, value)| spellings(value.expose_secret())));
        fixed.sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        let tokens_kept = api.max_in_flight.saturating_mul(2).saturating_add(SPARE_TOKENS);
        Self { fixed, tokens: Mutex::default(), tokens_kept }
    }

    /// Remembers a token, before it is sent for the first time.
    pub(super) fn remember(&self, token: &SecretString) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= self.tokens_kept {
            tokens.pop_front();
        }
        tokens.push_back(spellings(token.expose_secret()));
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

    /// Cleaned first: a control character in the middle must not hide a secret.
    fn clean(&self, text: &str) -> String {
        let mut line = one_line(text);
        let mut lower = line.to_ascii_lowercase();
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        for spelling in tokens.iter().flatten().chain(&self.fixed) {
            if lower.contains(spelling) {
                line = without(&line, &lower, spelling);
                lower = line.to_ascii_lowercase();
            }
        }
        line
    }
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
    found.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    found.dedup();
    found
}

/// Looks in `lower`, which is the line in lower case: lowering ASCII letters alone moves no byte.
fn without(line: &str, lower: &str, spelling: &str) -> String {
    let mut rest = 0;
    let mut kept = String::with_capacity(line.len());
    for (start, found) in lower.match_indices(spelling) {
        kept.push_str(&line[rest..start]);
        kept.push_str(REDACTED);
        rest = start + found.len();
    }
    kept.push_str(&line[rest..]);
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::api;
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

    proptest! {
        #[test]
        fn no_secret_survives_between_any_words(
            secret in "[A-Za-z0-9+/=~%\"\\\\._-]{8,40}", before in "[a-z\u{0}\n ]{0,20}", after in "\\PC{0,20}",
        ) {
            let redaction = redaction(&secret, "header-value", "token-value");
            let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for spelling in [secret.clone(), form, BASE64_STANDARD.encode(&secret)] {
                let cleaned = redaction.error(&format!("{before} {spelling} {after}"));
                prop_assert!(!cleaned.to_lowercase().contains(&spelling.to_lowercase()));
            }
        }
    }
}
