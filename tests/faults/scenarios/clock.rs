//! Processes whose clock is hours ahead or behind: the database's clock decides ages, leases and due times.
//!
//! The wrong clock comes from libfaketime, which leaves the monotonic clock alone, as a wrong system clock does.

use std::path::PathBuf;
use std::time::Duration;

use geft_sweeper::sandbox::{Endpoint, Moment};

use crate::records::Tally;
use crate::stage::Stage;

pub(super) async fn wrong() -> Tally {
    let library = library();
    let mut stage = Stage::new().await;
    stage.abandon(200).await;
    // Seven hours ahead they would be old, if anybody asked that clock.
    let young = stage.shop.add(20, Duration::from_mins(10)).await;
    stage.expect(&young, &[]);
    let mut daemons = Vec::new();
    for offset in ["+7h", "-7h"] {
        let program = stage.program().with_variable("LD_PRELOAD", library.to_str().unwrap());
        let program = program.with_variable("FAKETIME", offset).with_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        daemons.push(stage.start(&program).await);
        stage.faults += 1;
    }
    let said = daemons.iter().map(|daemon| daemon.running.events("process.started")[0]["timestamp"].to_string());
    let said: Vec<String> = said.collect();
    assert_ne!(said[0][..14], said[1][..14], "libfaketime had no effect");
    // Leases too: one process dies with sessions in its hands, and the other takes them over.
    stage.all_ended().await;
    let hold = stage.shop.provider.hold(Endpoint::Cancel, Moment::AfterEffect);
    stage.abandon(100).await;
    stage.shop.held(Endpoint::Cancel, 16).await;
    let ahead = daemons.remove(0);
    stage.kill(ahead).await;
    hold.release();
    stage.finish(daemons).await
}

/// Where Debian's package has it.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let library = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file());
    library.unwrap_or_else(|| panic!("libfaketime is not installed: script/faults does that"))
}
