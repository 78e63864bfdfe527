//! The scenarios, in the order in which they are told of, and which of them are in the short form.

mod api;
mod clock;
mod database;
mod halted;
mod killed;
mod lost_answers;
mod memory;
mod network;
mod rate;
mod restarts;
mod tokens;

use std::pin::Pin;

use fastrand::Rng;

use crate::records::Tally;
use killed::Step;

/// How a scenario is run.
pub(crate) struct Lab {
    /// The whole of it, or its short form.
    pub(crate) full: bool,
    /// All that is left to chance.
    pub(crate) random: Rng,
}

impl Lab {
    /// One number for the full form and one for the short.
    pub(crate) fn either<T>(&self, full: T, short: T) -> T {
        if self.full { full } else { short }
    }
}

type Running = Pin<Box<dyn Future<Output = Tally>>>;

/// A scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Whether it is in the short form too.
    pub(crate) is_short: bool,
    pub(crate) run: fn(Lab) -> Running,
}

const fn short(name: &'static str, run: fn(Lab) -> Running) -> Scenario {
    Scenario { name, is_short: true, run }
}

const fn full(name: &'static str, run: fn(Lab) -> Running) -> Scenario {
    Scenario { name, is_short: false, run }
}

/// Every scenario. Those that take longest stand first, for in the short form several run at once.
pub(crate) const ALL: &[Scenario] = &[
    short("killed_at_random", |lab| Box::pin(killed::at_random(lab))),
    short("api_away", |lab| Box::pin(api::away(lab))),
    short("database_stopped", |lab| Box::pin(database::stopped(lab))),
    short("database_read_only", |_| Box::pin(database::read_only())),
    short("database_out_of_connections", |_| Box::pin(database::out_of_connections())),
    short("killed_while_claiming", |_| Box::pin(killed::at_step(Step::Claiming))),
    short("killed_when_claimed", |_| Box::pin(killed::at_step(Step::Claimed))),
    short("killed_when_sent", |_| Box::pin(killed::at_step(Step::Sent))),
    short("killed_after_the_effect", |_| Box::pin(killed::at_step(Step::Done))),
    short("killed_when_answered", |_| Box::pin(killed::at_step(Step::Answered))),
    short("killed_half_recorded", |_| Box::pin(killed::at_step(Step::HalfRecorded { kept: false }))),
    short("killed_while_the_record_commits", |_| Box::pin(killed::at_step(Step::HalfRecorded { kept: true }))),
    short("claim_whose_answer_is_lost", |_| Box::pin(lost_answers::of_a_claim())),
    short("record_whose_answer_is_lost", |_| Box::pin(lost_answers::of_a_record())),
    short("halted_beyond_the_lease", |_| Box::pin(halted::while_others_go_on())),
    full("halted_for_a_real_lease", |_| Box::pin(halted::for_a_real_lease())),
    short("partitioned_from_the_api", |_| Box::pin(halted::partitioned_from_the_api())),
    short("partitioned_from_the_database", |_| Box::pin(halted::partitioned_from_the_database())),
    full("api_away_longer_than_a_lease", |_| Box::pin(api::away_longer_than_a_lease())),
    short("api_slow", |lab| Box::pin(api::slow(lab))),
    short("api_flapping", |lab| Box::pin(api::flapping(lab))),
    short("api_says_429_to_all", |_| Box::pin(api::too_many_requests())),
    short("api_resets_after_the_effect", |lab| Box::pin(api::resets(lab))),
    short("no_token_while_tokens_run_out", |lab| Box::pin(tokens::unavailable(lab))),
    short("network_breaks_at_random", |lab| Box::pin(network::breaks(lab))),
    full("clock_wrong_by_hours", |_| Box::pin(clock::wrong())),
    short("rolling_restarts", |lab| Box::pin(restarts::rolling(lab))),
    full("rate_of_all_processes", |_| Box::pin(rate::steady())),
    full("rate_when_one_is_killed", |_| Box::pin(rate::with_a_kill())),
    full("memory_of_a_large_backlog", |_| Box::pin(memory::bounded())),
];
