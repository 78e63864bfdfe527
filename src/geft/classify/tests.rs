//! The outcome table, row by row.

use proptest::prelude::*;

use super::*;

const ID: &str = "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a01";
const OTHER: &str = "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a02";

fn session() -> SessionId {
    ID.parse().unwrap()
}

fn answer(code: u16, body: &str) -> Answer {
    Answer { code, retry_after: None, says_json: false, body: Body::Whole(body.as_bytes().to_vec()) }
}

fn object(id: &str, status: &str) -> String {
    format!(r#"{{"sessionId": "{id}", "status": "{status}", "statusDetails": "EFT0501"}}"#)
}

fn read(code: u16, body: &str) -> Reading {
    cancel(session(), Ok(answer(code, body)))
}

fn ask(code: u16, body: &str) -> StatusAnswer {
    status(session(), Ok(answer(code, body)))
}

#[test]
fn only_200_for_this_session_and_canceled_is_canceled() {
    for word in ["Canceled", "Cancelled", "CANCELED", "cancelled"] {
        let reading = read(200, &object(&ID.to_uppercase(), word));
        assert_eq!((reading.outcome, reading.ask), (Outcome::Canceled, false));
        assert_eq!(reading.said.session_status.as_deref(), Some(word));
    }
    for (code, body) in [
        (200, object(OTHER, "Canceled")),
        (200, object(ID, "Completed")),
        (200, object(ID, "cancel")),
        (200, r#"{"status": "Canceled"}"#.to_owned()),
        (200, format!(r#"{{"sessionId": "{ID}", "status": 5}}"#)),
        (200, format!("[{}]", object(ID, "Canceled"))),
        (200, format!("{} x", object(ID, "Canceled"))),
        (200, String::new()),
        (202, object(ID, "Canceled")),
        (204, String::new()),
        (302, object(ID, "Canceled")),
        (101, String::new()),
        (600, object(ID, "Canceled")),
    ] {
        let reading = read(code, &body);
        assert_eq!((reading.outcome, reading.ask), (Outcome::InvalidResponse, true), "{code} {body}");
    }
}

#[test]
fn codes_that_tell_by_themselves_do_not_ask_status() {
    for (code, outcome) in [
        (401, Outcome::Unauthorized),
        (429, Outcome::RateLimited),
        (408, Outcome::ServerError),
        (425, Outcome::ServerError),
        (500, Outcome::ServerError),
        (503, Outcome::ServerError),
        (599, Outcome::ServerError),
    ] {
        let whole = answer(code, &object(ID, "Canceled"));
        for body in [whole.body.clone(), Body::TooLong, Body::Broken(Failure::Timeout(Duration::from_secs(1)))] {
            let reading = cancel(session(), Ok(Answer { body, ..whole.clone() }));
            assert_eq!((reading.outcome, reading.ask, reading.code), (outcome, false, Some(code)));
        }
    }
}

#[test]
fn a_body_that_did_not_come_in_full_is_no_answer() {
    for code in [200, 204, 302, 400, 403, 404] {
        let broken = |failure| Ok(Answer { body: Body::Broken(failure), ..answer(code, "") });
        let reading = cancel(session(), broken(Failure::Network("reset".into())));
        assert_eq!((reading.outcome, reading.code, reading.ask), (Outcome::NetworkError, None, false));
        let reading = cancel(session(), broken(Failure::Timeout(Duration::from_secs(1))));
        assert_eq!((reading.outcome, reading.code, reading.ask), (Outcome::Timeout, None, false));
    }
}

#[test]
fn a_body_that_is_too_long_confirms_nothing() {
    let reading = cancel(session(), Ok(Answer { body: Body::TooLong, ..answer(200, "") }));
    assert_eq!((reading.outcome, reading.ask, reading.code), (Outcome::InvalidResponse, true, Some(200)));
    assert_eq!(reading.words, "answered 200 with more than 64 KiB");
}

#[test]
fn no_answer_is_a_timeout_or_a_network_error() {
    let late = cancel(session(), Err(Failure::Timeout(Duration::from_secs(10))));
    assert_eq!((late.outcome, late.code, late.words.as_str()), (Outcome::Timeout, None, "timed out after 10 s"));
    let reset = cancel(session(), Err(Failure::Network("reset".into())));
    assert_eq!((reset.outcome, reset.code), (Outcome::NetworkError, None));
}

#[test]
fn a_404_counts_as_unknown_only_in_json() {
    for body in ["{}", r#"{"title": "Session Not Found"}"#] {
        let reading = read(404, body);
        assert_eq!((reading.outcome, reading.ask, reading.unknown), (Outcome::Rejected, true, true));
    }
    for body in ["", "<html>", "[]", "\"gone\"", &object(OTHER, "Expired")] {
        let reading = read(404, body);
        assert_eq!((reading.outcome, reading.ask, reading.unknown), (Outcome::InvalidResponse, true, false), "{body}");
    }
    let declared = |body| cancel(session(), Ok(Answer { says_json: true, ..answer(404, body) })).unknown;
    assert!(declared("\"gone\"") && declared("null") && !declared("") && !declared("<html>"));
}

#[test]
fn other_4xx_are_rejected_and_ask_status() {
    for code in [400, 402, 403, 405, 409, 410, 422, 499] {
        let reading = read(code, r#"{"title": "no", "detail": "already Canceled"}"#);
        assert_eq!((reading.outcome, reading.ask, reading.unknown), (Outcome::Rejected, true, false));
        assert_eq!(reading.words, format!("answered {code}: no: already Canceled"));
    }
}

#[test]
fn a_cancel_that_names_another_session_says_nothing_of_this_one() {
    let reading = read(400, &object(OTHER, "Completed"));
    assert_eq!((reading.said, reading.words.as_str()), (Said::default(), "answered 400 for another session"));
}

#[test]
fn final_statuses_are_final_in_any_letter_case_and_unknown_ones_are_not() {
    for word in ["Completed", "failed", "CANCELED", "Cancelled", "expireD"] {
        assert!(
            matches!(ask(200, &object(ID, word)), StatusAnswer::Final(said) if said.session_status.as_deref() == Some(word))
        );
    }
    for word in ["Initiated", "InProgress", "Paused", "", "Completed soon"] {
        assert!(
            matches!(ask(200, &object(ID, word)), StatusAnswer::Open(said) if said.session_status.as_deref() == Some(word))
        );
    }
}

#[test]
fn status_is_believed_in_a_whole_200_for_this_session_alone() {
    let without_status = format!(r#"{{"sessionId": "{ID}", "status": 7}}"#);
    for (code, body) in [
        (200, object(OTHER, "Completed")),
        (200, r#"{"status": "Completed"}"#.to_owned()),
        (200, without_status),
        (200, String::new()),
        (201, object(ID, "Completed")),
        (302, object(ID, "Completed")),
        (401, object(ID, "Completed")),
        (404, object(OTHER, "Completed")),
        (404, "<html>".to_owned()),
        (500, object(ID, "Completed")),
    ] {
        assert!(matches!(ask(code, &body), StatusAnswer::NoAnswer { .. }), "{code} {body}");
    }
    assert_eq!(ask(404, "{}"), StatusAnswer::NotFound);
    let broken = Answer { body: Body::Broken(Failure::Network("reset".into())), ..answer(404, "") };
    assert!(matches!(status(session(), Ok(broken)), StatusAnswer::NoAnswer { .. }));
}

#[test]
fn a_final_status_is_stronger_than_any_doubt() {
    let ended = StatusAnswer::Final(Said::default());
    for reading in [read(200, ""), read(302, ""), read(400, ""), read(404, "{}"), read(404, ""), read(500, "")] {
        assert_eq!(settle(&reading, &ended), Outcome::AlreadyTerminal);
    }
}

#[test]
fn not_found_needs_both_answers_in_json() {
    let silent = StatusAnswer::NoAnswer { error: String::new(), retry_after: None };
    let open = StatusAnswer::Open(Said::default());
    assert_eq!(settle(&read(404, "{}"), &StatusAnswer::NotFound), Outcome::NotFound);
    assert_eq!(settle(&read(404, "{}"), &silent), Outcome::Rejected);
    assert_eq!(settle(&read(404, "{}"), &open), Outcome::Rejected);
    assert_eq!(settle(&read(404, ""), &StatusAnswer::NotFound), Outcome::InvalidResponse);
    assert_eq!(settle(&read(400, "{}"), &StatusAnswer::NotFound), Outcome::Rejected);
    assert_eq!(settle(&read(200, "{}"), &StatusAnswer::NotFound), Outcome::InvalidResponse);
    assert_eq!(settle(&read(500, "{}"), &StatusAnswer::NotFound), Outcome::ServerError);
}

proptest! {
    #[test]
    fn nothing_but_a_confirmation_is_canceled(
        code in 100_u16..1000, says_json: bool, body in "\\{\"(sessionId|status)\": ?\"(Canceled|x)\"\\}|.{0,40}",
    ) {
        let reading = cancel(session(), Ok(Answer { says_json, ..answer(code, &body) }));
        prop_assert_ne!(reading.outcome, Outcome::Canceled);
        prop_assert_eq!(reading.ask, !is_told_by_code(code));
        prop_assert!(!matches!(ask(code, &body), StatusAnswer::Final(_) | StatusAnswer::Open(_)));
    }
}
