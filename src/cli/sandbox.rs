//! `sandbox`: a local GEFT API for trying things out, until it is told to stop.
//!
//! It turns the command line into the sandbox's options and prints where it listens; it handles no signal itself.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use geft_sweeper::sandbox::{
    EndpointFaults, ExpiresIn, Fault, Faults, Options, RetryAfterForm, Sandbox, Spelling, TerminalBody, TokenUse,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Misused;

/// The secret of a sandbox that was given none.
const DEFAULT_SECRET: &str = "demo-secret";

/// Runs a local GEFT API. It keeps everything in memory and listens on a loopback address alone.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  geft-sweeper sandbox --latency 80+40 --fault cancel:503=0.05 --fault cancel:timeout_after_effect=0.02"
)]
pub(crate) struct SandboxArgs {
    /// Where to listen: a loopback address
    #[arg(long, default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// The client id that authorize accepts
    #[arg(long, default_value = "demo")]
    client_id: String,
    /// The client secret that authorize accepts
    #[arg(long, default_value = DEFAULT_SECRET)]
    client_secret: String,
    /// The same seed and the same session ids meet the same faults
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Sessions expire by themselves after this, such as 30m
    #[arg(long, value_parser = super::duration, value_name = "DURATION")]
    expire_after: Option<Duration>,
    #[command(flatten)]
    faults: FaultArgs,
}

/// What goes wrong. All of it can be changed later with `PUT /sandbox/faults`.
#[derive(Args, Debug)]
#[command(next_help_heading = "Faults")]
struct FaultArgs {
    /// A share of requests that go wrong; repeat it for more. FAULT is a code from 300 to 599 or one of `404_html`, `timeout`,
    /// `reset`, `slow_body`, `cut_body`, `huge_body`, `body_empty`, `body_html`, `body_no_fields`, `body_wrong_status`,
    /// `body_other_session`, `body_no_session_id`, `body_invalid_json`, `body_array`, `body_null`; behind it
    /// `_before_effect` or `_after_effect`. ENDPOINT is `authorize`, `create`, `cancel` or `status`; left out: all
    #[arg(long = "fault", value_name = "[ENDPOINT:]FAULT=SHARE")]
    shares: Vec<String>,
    /// What the first requests of each session meet, in order; `none` for nothing
    #[arg(long = "first", value_name = "[ENDPOINT:]FAULT,…")]
    firsts: Vec<String>,
    /// The wait before each answer, and up to how much more, in milliseconds
    #[arg(long = "latency", value_name = "[ENDPOINT:]MS[+JITTER]")]
    latencies: Vec<String>,
    /// How a 429 or 503 says when to come back
    #[arg(long, value_name = "seconds|http_date|none|garbage", value_parser = word::<RetryAfterForm>)]
    retry_after_form: Option<RetryAfterForm>,
    /// How long a 429 or 503 asks to wait
    #[arg(long, value_name = "SECONDS")]
    retry_after_seconds: Option<u32>,
    /// The `Date` of an answer with an HTTP date, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    retry_after_date: Option<i64>,
    /// The pause between two bytes of a slow body
    #[arg(long, value_name = "MS")]
    slow_body_ms: Option<u64>,
    /// The code for canceling a session that has ended
    #[arg(long, value_name = "CODE")]
    terminal_code: Option<u16>,
    /// The body of that answer
    #[arg(long, value_name = "problem|session|html|empty", value_parser = word::<TerminalBody>)]
    terminal_body: Option<TerminalBody>,
    /// How a canceled session's status is spelled
    #[arg(long, value_name = "Canceled|Cancelled", value_parser = word::<Spelling>)]
    spelling: Option<Spelling>,
    /// Whether a token serves more than one cancel
    #[arg(long, value_name = "shared|single", value_parser = word::<TokenUse>)]
    token_use: Option<TokenUse>,
    /// The life of a token as stated
    #[arg(long, value_name = "SECONDS")]
    token_seconds: Option<u64>,
    /// The life of a token in truth
    #[arg(long, value_name = "SECONDS")]
    token_dies_after_seconds: Option<f64>,
    /// How `expires_in` is written
    #[arg(long, value_name = "number|text|absent", value_parser = word::<ExpiresIn>)]
    expires_in: Option<ExpiresIn>,
    /// Status demands a token
    #[arg(long)]
    status_needs_token: bool,
    /// Refusals repeat the Authorization header
    #[arg(long)]
    echo_token: bool,
    /// Where the provider's clock stands at the start, in seconds since 1970; left out: it is right
    #[arg(long, value_name = "SECONDS")]
    clock: Option<i64>,
}

/// Runs the sandbox until `stop`.
pub(crate) async fn run(args: SandboxArgs, stop: CancellationToken) -> anyhow::Result<()> {
    let options = Options {
        listen: args.listen,
        faults: args.faults.setting().map_err(|error| Misused(format!("{error:#}")))?,
        client_id: args.client_id.clone(),
        client_secret: args.client_secret.clone().into(),
        seed: args.seed,
        expire_after: args.expire_after,
    };
    let sandbox = Sandbox::start(options).await?;
    introduce(&sandbox, &args).context("could not write to standard output")?;
    stop.cancelled().await;
    sandbox.stop().await;
    Ok(())
}

/// Says where it listens, and how to try it. The secret is shown only where it is the one that everybody knows.
fn introduce(sandbox: &Sandbox, args: &SandboxArgs) -> std::io::Result<()> {
    let (url, id) = (sandbox.base_url(), &args.client_id);
    let secret = if args.client_secret == DEFAULT_SECRET { DEFAULT_SECRET } else { "$CLIENT_SECRET" };
    let mut output = std::io::stdout().lock();
    writeln!(output, "{url}")?;
    writeln!(output, "curl -u '{id}':\"{secret}\" -d grant_type=client_credentials {url}/api/v1/authorize")?;
    output.flush()
}

impl FaultArgs {
    fn setting(&self) -> anyhow::Result<Faults> {
        let usual = Faults::default();
        let mut faults = Faults {
            slow_body_ms: self.slow_body_ms.unwrap_or(usual.slow_body_ms),
            terminal_code: self.terminal_code.unwrap_or(usual.terminal_code),
            terminal_body: self.terminal_body,
            spelling: self.spelling.unwrap_or_default(),
            token_use: self.token_use.unwrap_or_default(),
            token_seconds: self.token_seconds.unwrap_or(usual.token_seconds),
            token_dies_after_seconds: self.token_dies_after_seconds,
            expires_in: self.expires_in.unwrap_or_default(),
            status_needs_token: self.status_needs_token,
            echo_token: self.echo_token,
            clock_unix_seconds: self.clock,
            ..usual
        };
        let retry_after = &mut faults.retry_after;
        retry_after.form = self.retry_after_form.unwrap_or(retry_after.form);
        retry_after.seconds = self.retry_after_seconds.unwrap_or(retry_after.seconds);
        retry_after.date_unix_seconds = self.retry_after_date.unwrap_or(retry_after.date_unix_seconds);
        each("--fault", &self.shares, &mut faults, add_share)?;
        each("--first", &self.firsts, &mut faults, add_first)?;
        each("--latency", &self.latencies, &mut faults, set_latency)?;
        Ok(faults)
    }
}

/// Reads each `[ENDPOINT:]REST` into its endpoint's faults.
fn each(
    option: &str,
    texts: &[String],
    faults: &mut Faults,
    read: fn(&mut EndpointFaults, &str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for text in texts {
        let (endpoint, rest) = text.split_once(':').unwrap_or(("", text));
        let scope = match endpoint {
            "" => &mut faults.everywhere,
            "authorize" => &mut faults.authorize,
            "create" => &mut faults.create,
            "cancel" => &mut faults.cancel,
            "status" => &mut faults.status,
            _ => bail!("`{option} {text}`: `{endpoint}` is none of authorize, create, cancel, status"),
        };
        read(scope, rest).with_context(|| format!("`{option} {text}` cannot be read"))?;
    }
    Ok(())
}

fn add_share(scope: &mut EndpointFaults, text: &str) -> anyhow::Result<()> {
    let (fault, share) = text.split_once('=').context("write FAULT=SHARE, such as 503=0.05")?;
    let share = share.parse().context("a share is a number from 0 to 1")?;
    scope.shares.insert(fault.parse()?, share);
    Ok(())
}

fn add_first(scope: &mut EndpointFaults, text: &str) -> anyhow::Result<()> {
    scope.first.extend(text.split(',').map(str::parse).collect::<Result<Vec<Fault>, _>>()?);
    Ok(())
}

fn set_latency(scope: &mut EndpointFaults, text: &str) -> anyhow::Result<()> {
    let (latency, jitter) = text.split_once('+').unwrap_or((text, "0"));
    let milliseconds = |text: &str| text.parse().context("write whole milliseconds, such as 80 or 80+40");
    (scope.latency_ms, scope.jitter_ms) = (milliseconds(latency)?, milliseconds(jitter)?);
    Ok(())
}

/// Reads one of the words of a setting; the error lists them all.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SandboxArgs,
    }

    fn setting(line: &[&str]) -> anyhow::Result<Faults> {
        Line::try_parse_from(["sandbox"].iter().chain(line))?.args.faults.setting()
    }

    #[test]
    fn without_options_nothing_goes_wrong() {
        assert_eq!(setting(&[]).unwrap(), Faults::default());
    }

    #[test]
    fn options_reach_the_endpoint_they_name() {
        let faults = setting(&[
            "--fault",
            "cancel:503=0.25",
            "--fault",
            "reset_after_effect=0.1",
            "--first",
            "status:404_html,none",
            "--latency",
            "80+40",
            "--spelling",
            "Cancelled",
            "--token-use",
            "single",
            "--terminal-body",
            "html",
        ])
        .unwrap();
        assert_eq!(faults.cancel.shares, [("503".parse().unwrap(), 0.25)].into());
        assert_eq!(faults.everywhere.shares.len(), 1);
        assert_eq!(faults.status.first.len(), 2);
        assert_eq!((faults.everywhere.latency_ms, faults.everywhere.jitter_ms), (80, 40));
        let words = (faults.spelling, faults.token_use, faults.terminal_body);
        assert_eq!(words, (Spelling::Cancelled, TokenUse::Single, Some(TerminalBody::Html)));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let lines = [
            ["--fault", "cancle:503=1"],
            ["--fault", "503"],
            ["--first", "x"],
            ["--latency", "1s"],
            ["--spelling", "x"],
        ];
        for line in lines {
            assert!(setting(&line).is_err(), "{line:?}");
        }
    }
}
