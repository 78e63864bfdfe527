//! stub
use geft_sweeper::lifecycle::Lifecycle;
pub(super) const EXAMPLES: &str = "";
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}
pub(super) async fn run(_: Arguments, _: Lifecycle) -> anyhow::Result<super::Verdict> {
    Ok(super::Verdict::Good)
}
