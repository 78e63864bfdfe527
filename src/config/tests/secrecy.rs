//! Whatever stands in a file or a variable: nothing panics, and no sentence shows a secret.

use proptest::prelude::*;

use super::super::{KEYS, Key, Kind, read};
use super::{REQUIRED, file, sections};

const SECRET: &str = "hunter2-xyzzy";

fn tells_no_secret(text: &str, variables: &[(&str, &str)]) {
    let sections = sections(text, variables);
    for problem in &sections.problems {
        assert!(!problem.to_string().contains(SECRET), "{problem}");
    }
    assert!(!format!("{sections:?}").contains(SECRET));
    let usable = sections.database.is_some() && sections.source.is_some() && sections.api.is_some();
    let whole = usable && sections.schedule.is_some() && sections.retry.is_some() && sections.log.is_some();
    if sections.problems.is_empty() {
        assert!(whole && sections.server.is_some(), "a section that is missing says why");
    }
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

fn secret_key() -> impl Strategy<Value = Key> {
    prop::sample::select(KEYS.iter().copied().filter(|key| key.secret).collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(text in any::<String>()) {
        tells_no_secret(&text, &[]);
    }

    #[test]
    fn a_damaged_file_does_not_show_its_secrets(cut in 0_usize..400, noise in "[\\PC\n]{0,4}", more in 0_usize..8) {
        let url = format!("postgres://u:{SECRET}@db/shop?sslmode=require");
        let text = REQUIRED.replace("postgres://sweeper:pass@db/shop?sslmode=verify-full", &url).replace("s3cr3t", SECRET);
        let at = |index: usize| text.char_indices().map(|(at, _)| at).nth(index).unwrap_or(text.len());
        let (from, to) = (at(cut), at(cut + more));
        tells_no_secret(&format!("{}{noise}{}", &text[..from], &text[to..]), &[]);
    }

    #[test]
    fn any_value_of_a_variable_is_read_or_refused(index in 0..KEYS.len(), value in any::<String>()) {
        let file = file(REQUIRED);
        let sections = read(Some(file.path()), [(KEYS[index].variable(), value)]);
        prop_assert!(sections.problems.iter().all(|problem| !problem.to_string().contains('\n')));
    }

    #[test]
    fn no_value_of_a_secret_variable_is_shown(key in secret_key(), before in "\\PC{0,6}", after in "\\PC{0,6}") {
        let value = match key.kind {
            Kind::Table => format!("{{ a = \"{before}{SECRET}{after}\" }}"),
            _ => format!("{before}{SECRET}{after}"),
        };
        tells_no_secret(REQUIRED, &[(&key.variable(), &value)]);
    }

    #[test]
    fn any_unknown_name_is_refused(name in "GEFT_SWEEPER__[A-Z_]{0,20}") {
        prop_assume!(KEYS.iter().all(|key| key.variable() != name));
        prop_assert_eq!(sections(REQUIRED, &[(&name, "x")]).problems.len(), 1);
    }
}
