//! Whatever stands in a file or a variable: nothing panics, and no sentence shows a secret.

use proptest::prelude::*;

use super::super::promises::{self, held_secret};
use super::super::{KEYS, Key};
use super::{REQUIRED, sections};

fn tells_no_secret(text: &str, variables: &[(&str, &str)]) {
    held_secret(sections(text, variables));
}

#[test]
fn slips_in_a_database_url_do_not_show_its_password() {
    for url in [
        "postgres://user:12?hunter2-xyzzy@db/shop",
        "postgres://user:12#hunter2-xyzzy@db/shop",
        "postgres://user:12/hunter2-xyzzy@db/shop",
        "postgres://db/shop?password=hunter2-xyzzy",
        "postgres://db/shop?passwd=hunter2-xyzzy",
        "postgres://db/shop?sslmode=hunter2-xyzzy",
        "postgres://localhost/shop?port=hunter2-xyzzy",
        "hunter2-xyzzy",
        "mysql://u:hunter2-xyzzy@db",
        "postgres://user:x@hunter2-xyzzy/y@db/shop",
    ] {
        tells_no_secret(REQUIRED, &[("GEFT_SWEEPER__DATABASE__URL", url)]);
    }
}

#[test]
fn secrets_of_the_wrong_kind_or_in_an_address_are_not_shown() {
    for api in [
        "client_secret = [\"hunter2-xyzzy\"]",
        "headers = \"x: hunter2-xyzzy\"",
        "headers = { a = [\"hunter2-xyzzy\"] }",
        "headers = { a = \"hunter2-xyzzy\\n\" }",
        "headers = { host = \"hunter2-xyzzy\" }",
        "client_secrt = \"hunter2-xyzzy\"",
        "client_secret = \"hunter2-xyzzy",
        "client_secret = hunter2-xyzzy",
        "base_url = \"https://u:hunter2-xyzzy@host\"",
        "base_url = \"https://host/?key=hunter2-xyzzy\"",
        "client_id = \"id:hunter2-xyzzy\"",
    ] {
        tells_no_secret(&format!("[api]\n{api}\n"), &[]);
    }
    tells_no_secret("[database]\nurl_file = \"postgres://u:hunter2-xyzzy@db/shop\"", &[]);
    tells_no_secret("database = \"postgres://u:hunter2-xyzzy@db\"", &[]);
    tells_no_secret(REQUIRED, &[("GEFT_SWEEPER__API__HEADERS", "x: hunter2-xyzzy")]);
    tells_no_secret(REQUIRED, &[("GEFT_SWEEPER__API__CLIENT_SECRT", "hunter2-xyzzy")]);
}

fn key() -> impl Strategy<Value = Key> {
    prop::sample::select(KEYS.to_vec())
}

/// Values that are nearly right, of every kind.
fn value() -> impl Strategy<Value = String> {
    let nearly = [
        "1h 30m",
        "99999999999999999999y",
        "1e400",
        "-0",
        "nan",
        "[\"a\"]",
        "{ a = \"b\" }",
        "{ \"\" = \"b\" }",
        "true",
        "* * * * *",
        "0 0 0 31 2 *",
        "*/0 L#9 W ? *",
        "http://[::1]:0/",
        "https://a@b",
        "postgres:///?host=",
        "off",
        "info,a[b{c=d}]=e",
        "\u{1b}[31m",
    ];
    prop_oneof![
        prop::sample::select(nearly.to_vec()).prop_map(str::to_owned),
        any::<String>(),
        "[*/,0-9LW#?A-Z -]{0,20}"
    ]
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(
        text in any::<String>(), key in key(), value in value(), bytes in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        promises::file(text.as_bytes());
        promises::file(&bytes);
        promises::headers_file(&bytes);
        promises::headers_file(format!("{text:?} = {value:?}").as_bytes());
        let (section, name) = key.path.split_once('.').unwrap();
        promises::file(format!("[{section}]\n{name} = {value}").as_bytes());
        promises::file(format!("{text:?} = 1\n[{section}]\n{name} = {value:?}\n{text:?} = {value:?}").as_bytes());
    }

    #[test]
    fn a_damaged_file_does_not_show_its_secrets(cut in 0_usize..400, less in 0_usize..8, more in "[\\PC\n]{0,4}") {
        promises::damaged_file(cut, less, &more);
    }

    #[test]
    fn any_value_of_a_variable_is_read_or_refused_and_of_a_secret_not_shown(key in key(), value in value()) {
        promises::variable(&key.variable(), &value);
    }

    #[test]
    fn any_unknown_name_is_refused(name in "GEFT_SWEEPER__[A-Z_]{0,20}|GEFT_SWEEPER__\\PC{0,9}", value in value()) {
        promises::variable(&name, &value);
    }
}
