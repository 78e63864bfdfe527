//! What is read again while the program runs: the secret files and the log level, and nothing else.
//!
//! The secret files are those that were named at the start. What else was changed since then is named and left as it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::draft::Draft;
use super::keys::KEYS;
use super::layer::Layer;
use super::problem::Problem;
use super::settings::Api;
use super::{api, database, read_file, secrets, sections};

/// The one setting of the file that is read again.
const LEVEL: &str = "log.level";

/// Where the settings came from: what it takes to read the secret files again. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    path: Option<PathBuf>,
    file: Arc<Layer>,
    environment: Arc<Layer>,
    /// What was last said of the files of a section that cannot be used.
    said: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

/// The secrets of `[api]`.
#[derive(Clone, Debug)]
pub struct ApiSecrets {
    /// The client secret.
    pub client_secret: SecretString,
    /// Sent with every request, in the order of their names.
    pub headers: Vec<(String, SecretString)>,
}

impl ApiSecrets {
    /// Those of the settings as they were at the start.
    #[must_use]
    pub fn of(api: &Api) -> Self {
        Self { client_secret: api.client_secret.clone(), headers: api.headers.clone() }
    }

    /// Whether both hold the same.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let headers = |secrets: &Self| -> Vec<(String, String)> {
            secrets.headers.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
        };
        self.client_secret.expose_secret() == other.client_secret.expose_secret() && headers(self) == headers(other)
    }
}

/// What is to be taken over, all of it right.
#[derive(Clone, Debug)]
pub struct Again {
    /// `[log] level`
    pub level: String,
    /// `[database] url` or `url_file`
    pub database_url: SecretString,
    /// The secrets of `[api]`.
    pub api: ApiSecrets,
    /// Settings that differ from the start, and are read at a start alone.
    pub left_alone: Vec<&'static str>,
}

impl Origin {
    pub(super) fn new(path: Option<PathBuf>, file: Layer, environment: Layer) -> Self {
        let (file, environment) = (Arc::new(file), Arc::new(environment));
        Self { path, file, environment, said: Arc::default() }
    }

    /// The URL of the database as it is given now; none where that cannot be used, which is said once.
    #[must_use]
    pub fn database_url(&self) -> Option<SecretString> {
        self.said_once("database", self.read(database::url))
    }

    /// The secrets of `[api]` as they are given now; none where they cannot be used, which is said once.
    #[must_use]
    pub fn api_secrets(&self) -> Option<ApiSecrets> {
        self.said_once("api", self.read(api_secrets))
    }

    /// Reads the configuration file again too. Every problem in it is told, as at a start.
    pub fn read_again(&self) -> Result<Again, Vec<Problem>> {
        let mut problems = Vec::new();
        let file = match &self.path {
            Some(path) => read_file(path, &mut problems),
            None => Some(Layer::default()),
        };
        let Some(file) = file else { return Err(problems) };
        let left_alone = self.left_alone(&file);
        let draft = Draft::merge(file, (*self.environment).clone(), problems);
        let config = sections(draft).complete()?;
        Ok(Again {
            level: config.log.level,
            database_url: self.read(database::url)?,
            api: self.read(api_secrets)?,
            left_alone,
        })
    }

    /// Reads something of the settings of the start anew; files that they name are opened again.
    fn read<T>(&self, reading: impl FnOnce(&mut Draft) -> Option<T>) -> Result<T, Vec<Problem>> {
        let mut draft = Draft::merge((*self.file).clone(), (*self.environment).clone(), Vec::new());
        let found = reading(&mut draft);
        found.ok_or_else(|| draft.into_problems())
    }

    /// What another file changes, of which the environment does not decide.
    fn left_alone(&self, file: &Layer) -> Vec<&'static str> {
        let changed = |path: &&str| *path != LEVEL && !self.environment.gives(path) && !file.agrees(&self.file, path);
        KEYS.iter().map(|key| key.path).filter(changed).collect()
    }

    /// Locks: what was last said.
    fn said_once<T>(&self, section: &'static str, read: Result<T, Vec<Problem>>) -> Option<T> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let problems = match read {
            Ok(found) => {
                said.remove(section);
                return Some(found);
            }
            Err(problems) => problems,
        };
        let sentence = one_sentence(&problems);
        if said.get(section) != Some(&sentence) {
            tracing::error!(event = "secret.unreadable", "{sentence}; what was read before stays");
            said.insert(section, sentence);
        }
        None
    }
}

/// All of them in one line.
#[must_use]
pub fn one_sentence(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn api_secrets(draft: &mut Draft) -> Option<ApiSecrets> {
    let client_secret = api::client_secret(draft);
    let headers = secrets::headers(draft);
    Some(ApiSecrets { client_secret: client_secret?, headers: headers? })
}
