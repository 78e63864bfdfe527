//! A progress bar on a terminal, and nothing where standard error is not one.
//!
//! It only looks at the counts that a sweep keeps; log lines go past it without tearing it.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use geft_sweeper::sweep::{Counts, Phase, Sweeper};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the bar is drawn anew.
const REDRAWN: Duration = Duration::from_millis(80);

/// The bar of this process; none where nobody is looking.
#[derive(Clone)]
pub(super) struct Bar {
    drawn: Option<ProgressBar>,
    /// It is on the screen just now.
    shown: Arc<AtomicBool>,
}

impl Bar {
    /// A bar on standard error where that is a terminal.
    pub(super) fn on_terminal() -> Self {
        Self { drawn: io::stderr().is_terminal().then(bar), shown: Arc::default() }
    }

    /// Standard error for log lines, which go above the bar.
    pub(super) fn writer(&self) -> Above {
        Above(self.clone())
    }

    /// Draws what the sweep does until the end.
    pub(super) fn show(&self, sweeper: &Sweeper) -> Showing {
        let end = CancellationToken::new();
        let Some(bar) = self.drawn.clone() else { return Showing { task: None, end } };
        let (sweeper, ended, shown) = (sweeper.clone(), end.clone(), Arc::clone(&self.shown));
        shown.store(true, Ordering::Relaxed);
        let task = tokio::spawn(async move {
            while !ended.is_cancelled() {
                draw(&bar, sweeper.progress().phase(), sweeper.progress().counts());
                tokio::select! {
                    () = tokio::time::sleep(REDRAWN) => {}
                    () = ended.cancelled() => {}
                }
            }
            draw(&bar, Phase::Canceling, sweeper.progress().counts());
            bar.abandon();
            shown.store(false, Ordering::Relaxed);
            // It leaves the cursor behind the bar, where the report would go on.
            writeln!(io::stderr().lock()).ok();
        });
        Showing { task: Some(task), end }
    }
}

/// Writes to standard error, above the bar while there is one.
pub(super) struct Above(Bar);

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &self.0.drawn {
            Some(bar) if self.0.shown.load(Ordering::Relaxed) => bar.suspend(|| io::stderr().write(line)),
            _ => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The bar while a sweep runs.
pub(super) struct Showing {
    task: Option<JoinHandle<()>>,
    end: CancellationToken,
}

impl Showing {
    /// Leaves the bar as it is at the end.
    pub(super) async fn finish(self) {
        self.end.cancel();
        if let Some(task) = self.task {
            // A bar that could not be drawn is nobody's trouble.
            task.await.ok();
        }
    }
}

fn bar() -> ProgressBar {
    let plain = geft_sweeper::telemetry::no_color();
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = if plain {
        "{prefix:<11} [{bar:20}] {pos}/{len}  {msg}"
    } else {
        "{prefix:<11.bold} [{bar:20.green}] {pos}/{len}  {msg}"
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar
}

fn draw(bar: &ProgressBar, phase: Phase, counts: Counts) {
    let Counts { read, discovered, canceled, already_terminal, retried, failed, withdrawn } = counts;
    let done = counts.ended();
    bar.set_prefix(match phase {
        Phase::Idle => "starting",
        Phase::Discovering => "discovering",
        Phase::Canceling => "canceling",
    });
    // At least one, or an empty bar would be drawn full.
    bar.set_length((discovered + read).max(done).max(1));
    bar.set_position(done);
    // What there is none of is left out: the line has to fit a terminal.
    let parts = [
        (canceled, "canceled"),
        (already_terminal, "had ended"),
        (retried, "retries"),
        (failed, "failed"),
        (withdrawn, "withdrawn"),
    ];
    let parts = parts.iter().filter(|(number, _)| *number > 0).map(|(number, what)| format!("{number} {what}"));
    bar.set_message(parts.collect::<Vec<_>>().join(", "));
}
