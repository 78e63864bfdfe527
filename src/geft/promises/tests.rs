//! Answers made up at random, most of them nearly right.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;

use super::*;

/// A text in JSON.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn id() -> impl Strategy<Value = String> {
    let other = "0b0e8a3c-8d0f-4c57-9d0a-5c1f6f1f0a02";
    let ids = [SESSION, SESSION, SESSION, "0B0E8A3C8D0F4C579D0A5C1F6F1F0A01", other].map(quoted);
    prop_oneof![4 => select(ids.to_vec()), 1 => value()]
}

fn status() -> impl Strategy<Value = String> {
    let known = ["Canceled", "CANCELLED", "Completed", "expired", "Failed", "Initiated", "InProgress", "Canceled "];
    prop_oneof![4 => select(known.map(quoted).to_vec()), 1 => value()]
}

/// Other values of JSON, echoes of secrets among them.
fn value() -> impl Strategy<Value = String> {
    let known =
        ["null", "1e300", "1e400", "-12.50", "99999999999", "true", "[]", "{}", "\"\\ud800\"", "\"\\u0000\"", "\"\""];
    let echoed = SECRETS.iter().flat_map(|secret| echoes(secret)).map(|echo| quoted(&format!("\u{0}{echo}\n{echo}")));
    let any_text = any::<String>().prop_map(|text| quoted(&text));
    prop_oneof![4 => select(known.map(str::to_owned).to_vec()), 4 => select(echoed.collect::<Vec<_>>()), 1 => any_text]
}

/// A field of a session or of words for people; it may be there already.
fn field() -> impl Strategy<Value = String> {
    let names = ["statusDetails", "statusDetails", "amount", "title", "detail", "error", "other"];
    let field = |names: &[&'static str], value: BoxedStrategy<String>| {
        (select(names.to_vec()), value).prop_map(|(name, value)| format!("\"{name}\": {value}"))
    };
    prop_oneof![
        4 => field(&names, value().boxed()),
        1 => field(&["sessionId", "session\\u0049d"], id().boxed()),
        1 => field(&["status", "st\\u0061tus"], status().boxed()),
    ]
}

/// A session object with fields that stand twice or are missing, and something around it.
fn body() -> impl Strategy<Value = String> {
    let session = (id(), status()).prop_map(|(id, status)| format!("\"sessionId\": {id}, \"status\": {status}"));
    let fields = proptest::collection::vec(field(), 0..4);
    let fields = (proptest::option::weighted(0.8, session), fields)
        .prop_map(|(session, fields)| session.into_iter().chain(fields).collect::<Vec<_>>().join(", "));
    let around = vec![("", ""), ("", ""), ("\u{feff}", ""), (" ", "\n"), ("[", "]"), ("", "x"), ("<", ">")];
    (select(around), fields).prop_map(|((before, after), fields)| format!("{before}{{{fields}}}{after}"))
}

fn code() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(200_u16), 4 => select(vec![201, 204, 302, 400, 401, 403, 404, 408, 425, 429, 500, 503, 599]), 1 => 100_u16..1000]
}

fn retry_after() -> impl Strategy<Value = String> {
    let dates = ["Sun, 06 Nov 1994 08:49:37 GMT", "Sun Nov  6 08:50:07 1994", "Fri, 31 Dec 9999 23:59:59 GMT"];
    let known = ["0", "7", "901", "18446744073709551616", "-1", "1.5"].into_iter().chain(dates);
    prop_oneof![select(known.collect::<Vec<_>>()).prop_map(str::to_owned), "[ -~]{0,40}"]
}

fn answer_text() -> impl Strategy<Value = String> {
    let content_type = select(vec!["application/json", "application/problem+json; a=b", "text/html", ";json", ""]);
    (code(), content_type, retry_after(), retry_after(), body()).prop_map(|(code, kind, pause, date, body)| {
        format!("{code}\ncontent-type: {kind}\nretry-after: {pause}\ndate: {date}\n\n{body}")
    })
}

#[test]
fn an_attempt_is_what_its_answers_confirm_and_no_secret_comes_out_of_it() {
    let promises = Promises::new();
    let any_bytes = proptest::collection::vec(any::<u8>(), 0..300);
    let answers = prop_oneof![9 => answer_text().prop_map(String::into_bytes), 1 => any_bytes];
    // Few of the made-up answers are right in all that matters, so it takes many.
    let usual = ProptestConfig::with_source_file(file!());
    let mut runner = TestRunner::new(ProptestConfig { cases: usual.cases * 8, ..usual });
    let held = runner.run(&(answers.clone(), answers), |(cancel, status)| {
        promises.attempt(&cancel, &status);
        head(&cancel);
        Ok(())
    });
    held.unwrap();
}

proptest! {
    #[test]
    fn a_token_can_be_sent_and_never_comes_out(
        token in "[!-~]{1,40}|\\PC{0,10}", kind in select(vec!["Bearer", "bEARER ", "mac"]), life in value(),
    ) {
        let token = serde_json::to_string(&token).unwrap();
        let body = format!("{{\"access_token\": {token}, \"token_type\": \"{kind}\", \"expires_in\": {life}, \"error\": {token}}}");
        authorize(format!("200\n\n{body}").as_bytes());
    }
}
