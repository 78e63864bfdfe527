//! What is read from the provider's bodies, and what is not.

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const ID: &str = "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a01";

fn session() -> SessionId {
    ID.parse().unwrap()
}

fn amount(json: &str) -> Option<String> {
    Object::read(format!(r#"{{"amount": {json} }}"#).as_bytes()).unwrap().said().amount
}

fn names(json: &str) -> Names {
    Object::read(format!(r#"{{"sessionId": {json}}}"#).as_bytes()).unwrap().names(session())
}

#[test]
fn a_session_is_named_in_any_spelling_of_its_id() {
    assert_eq!(names(&format!("\"{}\"", ID.to_uppercase())), Names::ThisSession);
    assert_eq!(names(&format!("\"{}\"", ID.replace('-', ""))), Names::ThisSession);
}

#[test]
fn what_is_not_our_id_names_another() {
    for json in ["\"0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a02\"", "\"\"", "5", "[]", "true"] {
        assert_eq!(names(json), Names::Another, "{json}");
    }
    assert_eq!(names("null"), Names::Nobody);
    assert_eq!(Object::read(b"{}").unwrap().names(session()), Names::Nobody);
}

#[test]
fn unknown_statuses_are_kept_and_wrong_types_say_nothing() {
    let said = Object::read(br#"{"status": "Paused\u0021", "statusDetails": 7, "new": {}}"#).unwrap().said();
    assert_eq!(said.session_status.as_deref(), Some("Paused!"));
    assert_eq!(said.status_details, None);
}

#[test]
fn a_field_that_stands_there_twice_is_not_believed() {
    let twice =
        |field: &str, first: &str, last: &str| format!(r#"{{"{field}": {first}, "status": "x", "{field}": {last}}}"#);
    let (ours, other) = (format!("\"{ID}\""), "\"0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a02\"");
    for (first, last) in
        [(ours.as_str(), other), (other, ours.as_str()), ("null", ours.as_str()), (ours.as_str(), "null")]
    {
        let body = twice("sessionId", first, last);
        let object = Object::read(body.as_bytes()).unwrap();
        assert_eq!(object.names(session()), Names::Another, "{body}");
        assert_eq!(object.said().session_status.as_deref(), Some("x"), "the other fields are read");
    }
    let body = r#"{"status": "InProgress", "amount": 1, "st\u0061tus": "Canceled", "amount": 2}"#;
    assert_eq!(Object::read(body.as_bytes()).unwrap().said(), Said::default());
}

#[test]
fn amounts_keep_their_digits() {
    assert_eq!(amount("100.10").as_deref(), Some("100.10"));
    assert_eq!(amount("123456789012345678901234.01").as_deref(), Some("123456789012345678901234.01"));
    assert_eq!(amount("\" -0.50 \"").as_deref(), Some("-0.50"));
}

#[test]
fn what_is_no_plain_amount_is_none() {
    for json in
        ["null", "1e400", "1E2", "\"\"", "\"12,50\"", "\"NaN\"", "\"1.\"", "\".5\"", "\"+1\"", "[1]", "{}", "true"]
    {
        assert_eq!(amount(json), None, "{json}");
    }
    assert_eq!(amount(&"9".repeat(41)), None);
}

#[test]
fn problem_details_and_oauth_errors_are_told() {
    let problem = Object::read(br#"{"title": "Bad", "detail": "gone", "status": 400, "message": 5}"#).unwrap();
    assert_eq!(problem.words().as_deref(), Some("Bad: gone"));
    let oauth = Object::read(br#"{"error": "invalid_client"}"#).unwrap();
    assert_eq!(oauth.words().as_deref(), Some("invalid_client"));
    assert_eq!(Object::read(b"{}").unwrap().words(), None);
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    assert!(Object::read(b"\xEF\xBB\xBF{}").is_some());
    assert!(is_json(b"\xEF\xBB\xBF[]"));
    assert!(!is_json(b""));
    assert!(!is_json(b"<html>"));
}

fn life(json: &str) -> Duration {
    Grant::read(format!(r#"{{"access_token": "t", "expires_in": {json}}}"#).as_bytes()).unwrap().life
}

#[test]
fn the_life_of_a_token_is_what_the_provider_tells() {
    assert_eq!(life("599"), Duration::from_secs(599));
    assert_eq!(life("1.5"), Duration::from_millis(1500));
    assert_eq!(life("\"299\""), Duration::from_secs(299));
    assert_eq!(life("0"), Duration::ZERO);
    assert_eq!(life("1e300"), Duration::from_hours(24 * 365));
    for garbage in ["null", "-1", "\"soon\"", "\"NaN\"", "\"inf\"", "{}", "true"] {
        assert_eq!(life(garbage), LIFE_UNTOLD, "{garbage}");
    }
}

#[test]
fn a_grant_needs_a_token_that_can_be_sent() {
    let read = |json: &str| Grant::read(json.as_bytes()).map(|grant| grant.access_token.expose_secret().to_owned());
    assert_eq!(read(r#"{"access_token": "abc", "token_type": "bEARER"}"#), Ok("abc".to_owned()));
    assert_eq!(read(r#"{"access_token": "abc", "token_type": null}"#), Ok("abc".to_owned()));
    let sized = |length| format!(r#"{{"access_token": "{}"}}"#, "a".repeat(length));
    assert!(read(&sized(LONGEST_TOKEN)).is_ok());
    for json in [
        "",
        "[]",
        "{}",
        &sized(LONGEST_TOKEN + 1),
        r#"{"access_token": ""}"#,
        r#"{"access_token": 5}"#,
        r#"{"access_token": "a\nb"}"#,
        r#"{"access_token": "abc", "token_type": "mac"}"#,
    ] {
        assert!(read(json).is_err(), "{json}");
    }
}

proptest! {
    #[test]
    fn no_body_is_a_crash(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Grant::read(&body);
        let _ = is_json(&body);
        if let Some(object) = Object::read(&body) {
            let _ = (object.said(), object.words(), object.names(session()));
        }
    }

    #[test]
    fn any_json_in_any_field_is_no_crash(value in "null|true|-?(0|[1-9][0-9]{0,60})(\\.[0-9]+)?|\"[^\"\\\\\\x00-\\x1f]*\"|\\[\\]|\\{\\}") {
        let body = format!(
            r#"{{"sessionId": {value}, "status": {value}, "statusDetails": {value}, "amount": {value}, "expires_in": {value}}}"#
        );
        let object = Object::read(body.as_bytes()).unwrap();
        prop_assert_ne!(object.names(session()), Names::ThisSession);
        prop_assert!(object.said().amount.is_none_or(|amount| amount.len() <= AMOUNT_LENGTH));
        prop_assert!(object.life() <= Duration::from_hours(24 * 365));
    }
}
