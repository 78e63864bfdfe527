//! What the laboratory was asked for on its command line.
//!
//! It is one of the targets of `cargo test`, which hands the arguments of the test harness to all of them: those that
//! mean nothing here are passed over.

/// What to do with the scenarios that are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Task {
    #[default]
    Run,
    /// Print their names.
    List,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// The full form.
    pub(crate) full: bool,
    pub(crate) task: Task,
    /// What all chance hangs on; made up where it is left out.
    pub(crate) seed: Option<u64>,
    /// Whole names are meant.
    exact: bool,
    /// Only what is ignored unless asked for: nothing here is.
    ignored: bool,
    filters: Vec<String>,
    skipped: Vec<String>,
}

/// Options of the test harness that are followed by a value.
const WITH_VALUE: [&str; 6] = ["--test-threads", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];

impl Arguments {
    /// Reads them; an error is a sentence.
    pub(crate) fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut read = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--full" => read.full = true,
                "--list" => read.task = Task::List,
                "--ignored" => read.ignored = true,
                "--exact" => read.exact = true,
                "--only" => read.filters.push(value()?),
                "--skip" => read.skipped.push(value()?),
                "--seed" => {
                    let seed = value()?;
                    read.seed = Some(seed.parse().map_err(|_| format!("--seed {seed} is no whole number"))?);
                }
                option if WITH_VALUE.contains(&option) => drop(value()?),
                option if option.starts_with('-') => {}
                filter => read.filters.push(filter.to_owned()),
            }
        }
        Ok(read)
    }

    /// Whether a scenario is meant.
    pub(crate) fn names(&self, scenario: &str) -> bool {
        let fits = |word: &String| if self.exact { scenario == word } else { scenario.contains(word.as_str()) };
        !self.ignored && (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}
