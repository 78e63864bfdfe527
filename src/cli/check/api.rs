//! What `check` finds of the API: whether this database's sessions may be sent to it, whether it answers and takes the
//! credentials, and what time it is there.
//!
//! It asks for one token even where the API is not accepted: credentials are proved before they take the place of others,
//! and no session goes with them.

use std::time::Instant;

use geft_sweeper::clocks::{Clocks, Reading, Verdict};
use geft_sweeper::config::{self, Sections, Selection, UnknownApi};
use geft_sweeper::geft::{Client, NotBegun};
use geft_sweeper::ledger::{ApiStanding, Ledger, Schema};
use geft_sweeper::pace::Pace;
use tokio_util::sync::CancellationToken;

use super::lines::Lines;
use crate::cli::{output, wiring};

pub(super) async fn check(sections: &Sections, ledger: Option<&Ledger>, lines: &mut Lines) {
    let (Some(settings), Some(brakes)) = (&sections.api, &sections.brakes) else { return };
    if let Some(ledger) = ledger {
        check_environment(settings, brakes.unknown_api, ledger, lines).await;
    }
    let clocks = Clocks::new(brakes.clock_tolerance);
    let client = match Client::new(settings, Pace::unlimited(), clocks.clone(), CancellationToken::new()) {
        Ok(client) => client,
        Err(error) => return lines.fail("api", error.to_string()),
    };
    check_credentials(settings, &client, lines).await;
    if let Some(ledger) = ledger {
        check_clocks(sections, &clocks, ledger, lines).await;
    }
}

async fn check_environment(settings: &config::Api, unknown: UnknownApi, ledger: &Ledger, lines: &mut Lines) {
    let name = "environment";
    let origin = settings.origin();
    let standing = match ledger.schema().await {
        Ok(schema) if schema.is_usable() => ledger.look_at(&wiring::api(settings)).await.map(|look| look.standing),
        Ok(Schema::Missing | Schema::Behind { .. }) => Ok(ApiStanding::First),
        // That is a line already.
        Ok(_) | Err(_) => return,
    };
    let mend = "say `geft-sweeper accept-api --actor NAME` if it is the right one";
    match standing {
        Ok(ApiStanding::Accepted) => lines.ok(name, format!("{origin} with this client id is accepted")),
        Ok(ApiStanding::First) => lines.ok(name, format!("{origin} with this client id will be accepted as the first")),
        Ok(ApiStanding::Unknown) if unknown == UnknownApi::Accept => {
            lines.ok(name, format!("{origin} with this client id will be accepted: brakes.unknown_api is \"accept\""));
        }
        Ok(ApiStanding::Unknown) => {
            lines.fail(name, format!("{origin} with this api.client_id is not accepted for this database: {mend}"));
        }
        Ok(ApiStanding::Retired { by }) => {
            lines.fail(name, format!("{origin} with this api.client_id was retired by {by}: {mend}"));
        }
        Err(error) => lines.fail(name, error.to_string()),
    }
}

async fn check_credentials(settings: &config::Api, client: &Client, lines: &mut Lines) {
    match client.authorize().await {
        Ok(()) => {
            lines.ok("api", format!("{} answers", settings.base_url));
            lines.ok("credentials", "accepted");
        }
        Err(NotBegun::CredentialsRefused { error }) => {
            lines.ok("api", format!("{} answers", settings.base_url));
            lines.fail(
                "credentials",
                format!("{error}; see api.client_id and api.client_secret (or api.client_secret_file)"),
            );
        }
        Err(not_begun) => {
            lines.fail("api", format!("{} gives no token: {not_begun}; see api.base_url", settings.base_url));
            lines.fail("credentials", "could not be tried: the API gave no answer to them");
        }
    }
}

/// Holds the answer to the credentials against the database's clock. It is a fault where sessions are canceled for their
/// age, and else a word to the wise.
async fn check_clocks(sections: &Sections, clocks: &Clocks, ledger: &Ledger, lines: &mut Lines) {
    let asked = Instant::now();
    let Ok(stood_at) = ledger.moment_before(0.0).await else { return };
    clocks.note_database(Reading { stood_at, asked, answered: Instant::now() });
    match clocks.verdict() {
        Verdict::NotCompared => {}
        Verdict::Agree => lines.ok("clocks", "the API and the database agree on the time"),
        Verdict::Untold => lines.warn("clocks", "the API does not tell the time, so its clock cannot be compared"),
        Verdict::Doubtful(found) | Verdict::Disagree(found) => {
            let detail = format!(
                "the API's clock says {} when the database's stands at {}, which is more than brakes.clock_tolerance apart: \
                 set the wrong one right, for nothing is canceled for its age until then",
                output::moment(&found.api),
                output::moment(&found.database)
            );
            if cancels_for_age(sections) { lines.fail("clocks", detail) } else { lines.warn("clocks", detail) }
        }
    }
}

fn cancels_for_age(sections: &Sections) -> bool {
    match sections.source.as_ref().map(|source| &source.selection) {
        Some(Selection::Table(table)) => table.max_age.is_some(),
        Some(Selection::Query(_)) | None => true,
    }
}
