//! Configuration: defaults, then a TOML file, then the environment; validated as a whole before anything starts.
//!
//! Never prints a secret, and never goes on with a setting that contradicts another.

mod again;
mod api;
mod brakes;
mod database;
mod draft;
mod keys;
mod layer;
mod problem;
mod process;
#[cfg(any(test, fuzzing))]
#[allow(clippy::unwrap_used, reason = "a broken promise is a panic")]
pub(crate) mod promises;
mod retry;
mod schedule;
mod secrets;
mod settings;
mod source;
mod telemetry;
#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

pub use again::{Again, ApiSecrets, Origin, one_sentence};
use draft::Draft;
pub use keys::{KEYS, Key, Kind, PREFIX};
use layer::Layer;
pub use problem::Problem;
pub use settings::*;

/// The commented sample file: every setting with its default, and the source of those defaults.
pub const SAMPLE: &str = draft::SAMPLE;

/// Where the file is looked for when the command line names none, first come first served.
pub const PLACES: [&str; 2] = ["geft-sweeper.toml", "/etc/geft-sweeper/config.toml"];

/// What was read: the sections that can be used, and everything that is wrong.
#[derive(Debug, Default)]
pub struct Sections {
    /// `[database]`, where all of it is right.
    pub database: Option<Database>,
    /// `[source]`, where all of it is right.
    pub source: Option<Source>,
    /// `[api]`, where all of it is right.
    pub api: Option<Api>,
    /// `[schedule]`, where all of it is right.
    pub schedule: Option<Schedule>,
    /// `[retry]`, where all of it is right.
    pub retry: Option<Retry>,
    /// `[brakes]`, where all of it is right.
    pub brakes: Option<Brakes>,
    /// `[log]`, where all of it is right.
    pub log: Option<Log>,
    /// `[server]`, where all of it is right.
    pub server: Option<Server>,
    /// `[telemetry]`, where all of it is right.
    pub telemetry: Option<Telemetry>,
    /// Everything that is wrong, in the order of the sample file.
    pub problems: Vec<Problem>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where the settings came from.
    pub origin: Origin,
}

impl Sections {
    /// The whole configuration, if nothing at all is wrong.
    pub fn complete(self) -> Result<Config, Vec<Problem>> {
        match self {
            Self {
                database: Some(database),
                source: Some(source),
                api: Some(api),
                schedule: Some(schedule),
                retry: Some(retry),
                brakes: Some(brakes),
                log: Some(log),
                server: Some(server),
                telemetry: Some(telemetry),
                problems,
                file: _,
                origin,
            } if problems.is_empty() => {
                Ok(Config { database, source, api, schedule, retry, brakes, log, server, telemetry, origin })
            }
            Self { mut problems, .. } => {
                // Whoever is told "wrong" must be told what.
                if problems.is_empty() {
                    problems.push(Problem::new("the configuration", None, "is incomplete"));
                }
                Err(problems)
            }
        }
    }
}

/// Reads the configuration of this process: `file`, which must exist, or the first of [`PLACES`], and the environment over it.
#[must_use]
pub fn from_process(file: Option<&Path>) -> Sections {
    let found = file.map(Path::to_path_buf).or_else(|| first_of(&PLACES));
    #[allow(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    let environment = std::env::vars_os();
    read(found.as_deref(), environment)
}

/// Reads `file`, where there is one, and the given environment over it.
#[must_use]
pub fn read<N: Into<OsString>, V: Into<OsString>>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (N, V)>,
) -> Sections {
    let mut problems = Vec::new();
    let variables = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
    let environment = Layer::from_environment(variables, &mut problems);
    let from_file = match file {
        Some(path) => read_file(path, &mut problems),
        None => Some(Layer::default()),
    };
    let mut sections = match from_file {
        Some(from_file) => {
            let origin = Origin::new(file.map(Path::to_path_buf), from_file.clone(), environment.clone());
            Sections { origin, ..sections(Draft::merge(from_file, environment, problems)) }
        }
        // Without the file nobody knows what is missing or contradicts itself.
        None => Sections { problems, ..Sections::default() },
    };
    sections.file = file.map(Path::to_path_buf);
    sections
}

/// A place that cannot be looked at counts as found, so that the failure to read it is told.
fn first_of(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|place| place.try_exists().unwrap_or(true))
}

fn read_file(path: &Path, problems: &mut Vec<Problem>) -> Option<Layer> {
    let name = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Layer::from_file(&name, &text, problems),
        Err(error) => {
            problems.push(Problem::new(name, None, format!("cannot be read as the configuration file: {error}")));
            None
        }
    }
}

fn sections(mut draft: Draft) -> Sections {
    let database = database::read(&mut draft);
    let source = source::read(&mut draft);
    let api = api::read(&mut draft);
    let schedule = schedule::read(&mut draft);
    let retry = retry::read(&mut draft);
    let brakes = brakes::read(&mut draft);
    let log = process::log(&mut draft);
    let server = process::server(&mut draft);
    let telemetry = telemetry::read(&mut draft);
    Sections {
        database: draft.section("database", database),
        source: draft.section("source", source),
        api: draft.section("api", api),
        schedule: draft.section("schedule", schedule),
        retry: draft.section("retry", retry),
        brakes: draft.section("brakes", brakes),
        log: draft.section("log", log),
        server: draft.section("server", server),
        telemetry: draft.section("telemetry", telemetry),
        problems: draft.into_problems(),
        file: None,
        origin: Origin::default(),
    }
}
