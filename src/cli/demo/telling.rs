//! What the demo says: what was made up, what was found, and what to try next.
//!
//! Text alone, beside one query on the audit table, which is written as a user would write it.

use std::io::IsTerminal as _;
use std::path::Path;

use geft_sweeper::ledger::PaidAfterAbandonment;
use geft_sweeper::telemetry;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use super::super::output;
use super::made_up::Session;
use super::stage::{DATABASE, Stage};

/// Paid sessions shown; the rest is only counted.
pub(super) const PAID_SHOWN: u32 = 5;

/// One session that was answered late, the one that took the most attempts, and one of each end that came at once.
const AUDIT_ROWS: &str = "
    WITH last AS (
        SELECT DISTINCT ON (session_id) session_id, attempt AS attempts, outcome, session_status
          FROM geft_sweeper.cancel_attempts ORDER BY session_id, attempt DESC),
    late AS (SELECT session_id FROM geft_sweeper.cancel_attempts WHERE outcome = 'timeout' ORDER BY session_id LIMIT 1),
    longest AS (SELECT session_id FROM last ORDER BY attempts DESC, session_id LIMIT 1),
    at_once AS (
        SELECT DISTINCT ON (outcome, session_status) session_id
          FROM last WHERE attempts = 1 ORDER BY outcome, session_status, session_id),
    shown AS (
        SELECT session_id, min(place) AS place
          FROM (SELECT session_id, 1 FROM late UNION ALL SELECT session_id, 2 FROM longest
                UNION ALL SELECT session_id, 3 FROM at_once) AS all_of_them (session_id, place)
         GROUP BY session_id)
    SELECT reference_id, attempt, outcome, http_status, session_status, status_details,
           extract(epoch FROM next_attempt_at - finished_at)::float8 AS next_in_s
      FROM geft_sweeper.cancel_attempts JOIN shown USING (session_id)
     ORDER BY place, CASE place WHEN 3 THEN outcome END, session_id, attempt";

/// A row of the audit table.
#[derive(Debug, FromRow)]
pub(super) struct AuditRow {
    reference_id: Option<String>,
    attempt: i32,
    outcome: String,
    http_status: Option<i32>,
    session_status: Option<String>,
    status_details: Option<String>,
    /// From its end to the next one; none where there is none.
    next_in_s: Option<f64>,
}

/// Reads the rows that tell the most.
pub(super) async fn audit_rows(pool: &PgPool) -> sqlx::Result<Vec<AuditRow>> {
    sqlx::query_as(AUDIT_ROWS).fetch_all(pool).await
}

/// What was made up.
pub(super) fn introduction(sessions: &[Session]) -> String {
    let count = |status| sessions.iter().filter(|session| session.status == status).count();
    let (abandoned, created, pending) = (count("abandoned"), count("created"), count("pending"));
    let others = sessions.len() - abandoned - created - pending;
    format!(
        "The shop has {} made-up sessions: {abandoned} abandoned, {} open, {others} others.\n\
         The provider has a bad day: some answers are errors, some come too late, some never.\n",
        sessions.len(),
        created + pending,
    )
}

/// What was paid although it was to be canceled.
pub(super) fn paid(paid: &[PaidAfterAbandonment], number: i64) -> String {
    if paid.is_empty() {
        return format!("\n{}", title("Nothing was paid after abandonment"));
    }
    let head = ["reference", "kind", "details", "amount"];
    let rows = paid.iter().map(|paid| {
        vec![
            known(paid.reference_id.as_ref()),
            paid.kind.clone(),
            known(paid.status_details.as_ref()),
            format!("{:>6}", known(paid.amount.as_ref())),
        ]
    });
    let title = warning("Paid after abandonment: somebody has to look at these");
    let rest = number - i64::try_from(paid.len()).unwrap_or(i64::MAX);
    let rest =
        if rest > 0 { format!("\nand {rest} more in geft_sweeper.paid_after_abandonment") } else { String::new() };
    format!("\n{title}\n{}{rest}", output::table(&head, rows))
}

/// Rows of the audit table.
pub(super) fn audit(rows: &[AuditRow]) -> String {
    let head = ["reference", "attempt", "outcome", "http", "provider said", "next in"];
    let rows = rows.iter().map(|row| {
        let said = [&row.session_status, &row.status_details].into_iter().flatten();
        vec![
            known(row.reference_id.as_ref()),
            row.attempt.to_string(),
            row.outcome.clone(),
            known(row.http_status.as_ref()),
            said.cloned().collect::<Vec<_>>().join(" "),
            row.next_in_s.map(|seconds| format!("{seconds:.2} s")).unwrap_or_default(),
        ]
    });
    let title = title("The audit trail: a row for each attempt, never changed");
    format!("\n{title}\n{}", output::table(&head, rows))
}

/// What to try next, now that everything is gone; whoever kept it up has tried the first of it.
pub(super) fn farewell(was_kept: bool) -> String {
    let program = program();
    let step = |what: &str, command: &str| format!("  {what}:\n    {program} {command}");
    let mut lines = vec![format!("\n{}", title("All of it is gone again. Next:"))];
    if !was_kept {
        lines.push(step("The same, but everything stays up to be played with", "demo --keep-running"));
    }
    lines.extend([
        step("The local GEFT API alone, with the faults that you want", "sandbox --fault cancel:503=0.1"),
        step("Your own set-up, proved (a sample: config/geft-sweeper.toml)", "check --config FILE"),
    ]);
    lines.join("\n")
}

/// What to try in another terminal, now that everything stays up.
pub(super) fn invitation(stage: &Stage, sessions: &[Session]) -> String {
    let program = program();
    let config = format!("--config {}", quoted(&stage.file));
    let psql = format!("psql -h {} -U sweeper -d {DATABASE}", quoted(&stage.folder));
    let mut lines = vec![
        format!("\n{}", title("Everything stays up until Ctrl-C. In another terminal:")),
        "\nThe whole configuration:".to_owned(),
        format!("  cat {}", quoted(&stage.file)),
        "\nWhether it is right, and where things stand:".to_owned(),
        format!("  {program} check {config}"),
        format!("  {program} status {config}"),
        "\nThe audit trail:".to_owned(),
        format!(
            "  {psql} -c 'SELECT reference_id, attempt, outcome, error FROM geft_sweeper.cancel_attempts LIMIT 10'"
        ),
    ];
    if let Some(session) = youngest_open(sessions) {
        let url = stage.sandbox.base_url();
        let paid = r#"{"status": "Completed", "amount": 49.95}"#;
        let give_up = format!("UPDATE payment_sessions SET status = 'abandoned' WHERE session_id = '{session}'");
        lines.extend([
            "\nA customer pays just when the shop gives the session up, and a sweep finds it:".to_owned(),
            format!("  curl -s -H 'Content-Type: application/json' -d '{paid}' {url}/sandbox/sessions/{session}"),
            format!(r#"  {psql} -c "{give_up}""#),
            format!("  {program} sweep {config}"),
        ]);
    }
    lines.extend(["\nThe daemon, with a sweep every ten seconds:".to_owned(), format!("  {program} run {config}")]);
    lines.join("\n")
}

/// The session that stays too young to be canceled for its age the longest.
fn youngest_open(sessions: &[Session]) -> Option<Uuid> {
    let open = sessions.iter().filter(|session| session.status == "created");
    let youngest = open.min_by(|one, other| one.age_s.total_cmp(&other.age_s))?;
    youngest.at_provider.as_ref()?.session_id
}

/// How the user calls this program: by its name where the shell would find this very file under it, else by its path.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "geft-sweeper".to_owned() };
    // Not a setting: where the shell looks is the user's matter.
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&places).map(|place| place.join("geft-sweeper")).find(|found| found.is_file());
    let is_found = found.is_some_and(|found| found.canonicalize().is_ok_and(|found| found == path));
    if is_found { "geft-sweeper".to_owned() } else { quoted(&path) }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn known(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// A line that stands out.
fn title(text: &str) -> String {
    styled(text, "1")
}

/// A line that asks for somebody.
fn warning(text: &str) -> String {
    styled(text, "1;33")
}

/// Text in a style of the terminal, where there is a terminal and colours are wanted.
fn styled(text: &str, style: &str) -> String {
    let plain = !std::io::stdout().is_terminal() || telemetry::no_color();
    if plain { text.to_owned() } else { format!("\u{1b}[{style}m{text}\u{1b}[0m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_the_shell_would_take_it_apart() {
        assert_eq!(quoted(Path::new("/tmp/geft-sweeper-AbC123/x.toml")), "/tmp/geft-sweeper-AbC123/x.toml");
        assert_eq!(quoted(Path::new("/tmp/it's me")), r"'/tmp/it'\''s me'");
    }
}
