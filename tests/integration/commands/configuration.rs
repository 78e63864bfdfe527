//! Where settings come from: the environment alone, the file in the working directory, files with secrets.

use std::path::PathBuf;

use tempfile::TempDir;

use super::{MINUTE, SECRET, Shop, geft_sweeper};

/// A folder with a file of this text in it.
fn holding(name: &str, text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

#[tokio::test]
async fn the_environment_alone_is_enough_with_lists_and_tables_as_toml() {
    let shop = Shop::new().await;
    shop.execute("ALTER TABLE payment_sessions RENAME status TO state").await;
    for (status, age) in [("Gone", MINUTE), ("left", MINUTE), ("open", 45 * MINUTE), ("open", 10 * MINUTE)] {
        shop.add(status, age).await;
    }
    let empty = tempfile::tempdir().unwrap();
    let base_url = shop.sandbox.base_url();
    let variables = [
        ("GEFT_SWEEPER__DATABASE__URL", shop.database.url()),
        ("GEFT_SWEEPER__SOURCE__TABLE", "public.payment_sessions"),
        ("GEFT_SWEEPER__SOURCE__COLUMNS", r#"{ status = "state" }"#),
        ("GEFT_SWEEPER__SOURCE__ABANDONED_STATUSES", r#"["gone", "left"]"#),
        ("GEFT_SWEEPER__SOURCE__OPEN_STATUSES", r#"["open"]"#),
        ("GEFT_SWEEPER__SOURCE__MAX_AGE", "30m"),
        ("GEFT_SWEEPER__API__BASE_URL", &base_url),
        ("GEFT_SWEEPER__API__CLIENT_ID", "client"),
        ("GEFT_SWEEPER__API__CLIENT_SECRET", SECRET),
        ("GEFT_SWEEPER__API__HEADERS", r#"{ x-client-id = "ours" }"#),
        ("GEFT_SWEEPER__API__MAX_IN_FLIGHT", "2"),
        ("GEFT_SWEEPER__RETRY__MULTIPLIER", "1.5"),
    ];
    let said = geft_sweeper(empty.path(), &["sweep", "--json"], &variables).await;
    assert_eq!(said.code, Some(0), "{said:#?}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((report["discovered"].clone(), report["canceled"].clone()), (3.into(), 3.into()));
    shop.database.close().await;
}

#[tokio::test]
async fn a_secret_in_the_environment_replaces_the_one_of_the_file_in_whichever_form() {
    let shop = Shop::new().await;
    let (_folder, secret) = holding("secret", &format!("{SECRET}\n"));
    let secret = secret.to_str().unwrap();

    // The file gives it directly, the environment by a file; its newline is cut.
    let by_file = ("GEFT_SWEEPER__API__CLIENT_SECRET_FILE", secret);
    let program = shop.program().with("api.client_secret", "of the file");
    shop.add("abandoned", MINUTE).await;
    program.run(["sweep"]).await.expect_code(1);
    let said = program.with_variable(by_file.0, by_file.1).run(["sweep", "--json"]).await.expect_code(0);
    assert_eq!(said.json()["canceled"], 1);

    // The other way round.
    shop.add("abandoned", MINUTE).await;
    let program = shop.program().without("api.client_secret").with("api.client_secret_file", "/no/such/file");
    program.run(["sweep"]).await.expect_code(2);
    let program = program.with_variable("GEFT_SWEEPER__API__CLIENT_SECRET", SECRET);
    assert_eq!(program.run(["sweep", "--json"]).await.expect_code(0).json()["canceled"], 1);
    shop.database.close().await;
}

#[tokio::test]
async fn the_databases_url_and_the_headers_can_come_from_files_too() {
    let shop = Shop::new().await;
    let (_one, url) = holding("url", &format!("{}\r\n", shop.database.url()));
    let (_two, headers) = holding("headers.toml", "x-client-id = \"ours\"\n");
    let program = shop
        .program()
        .without("database.url")
        .with("database.url_file", url.to_str().unwrap())
        .with("api.headers_file", headers.to_str().unwrap());
    program.run(["status"]).await.expect_code(0);
    shop.database.close().await;
}

#[tokio::test]
async fn the_file_of_the_working_directory_is_read_where_none_is_named() {
    let shop = Shop::new().await;
    let program = shop.program();
    // Writes the file.
    program.run(["status"]).await.expect_code(0);
    let folder = program.config_file().parent().unwrap().to_owned();
    let said = geft_sweeper(&folder, &["status"], &[]).await;
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));

    // Folders for a desktop's settings are not looked into.
    let elsewhere = tempfile::tempdir().unwrap();
    for place in [".config/geft-sweeper/config.toml", ".config/geft-sweeper.toml", "geft-sweeper/config.toml"] {
        std::fs::create_dir_all(elsewhere.path().join(place).parent().unwrap()).unwrap();
        std::fs::copy(program.config_file(), elsewhere.path().join(place)).unwrap();
    }
    let home = elsewhere.path().to_str().unwrap();
    let config = elsewhere.path().join(".config");
    let variables = [("HOME", home), ("XDG_CONFIG_HOME", config.to_str().unwrap())];
    geft_sweeper(elsewhere.path(), &["status"], &variables).await.expect_refusal(2, 5);
    shop.database.close().await;
}

#[tokio::test]
async fn both_forms_of_a_secret_in_the_environment_are_refused() {
    let shop = Shop::new().await;
    let program = shop
        .program()
        .with_variable("GEFT_SWEEPER__API__CLIENT_SECRET", SECRET)
        .with_variable("GEFT_SWEEPER__API__CLIENT_SECRET_FILE", "/no/such/file");
    let said = program.run(["status"]).await.expect_code(2);
    let sentence = "geft-sweeper: api.client_secret (environment variable GEFT_SWEEPER__API__CLIENT_SECRET) is given \
                    together with api.client_secret_file: leave one of them out\n";
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", sentence));
    shop.database.close().await;
}

#[tokio::test]
async fn a_variable_that_is_no_setting_names_the_nearest_and_shows_no_value() {
    let shop = Shop::new().await;
    let program = shop.program().with_variable("GEFT_SWEEPER__API__CLIENT_SECRT", SECRET);
    let said = program.run(["status"]).await.expect_code(2);
    assert!(said.stderr.contains("the nearest is GEFT_SWEEPER__API__CLIENT_SECRET"), "{}", said.stderr);
    assert!(!said.stderr.contains(SECRET));
    shop.database.close().await;
}
