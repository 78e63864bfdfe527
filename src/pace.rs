//! How many requests leave a second, all processes together: every request to the provider asks here first.
//!
//! It does not know what a request is for, and it never looks at answers.

/// The right to send: cheap to clone, shared by everything that sends.
#[derive(Clone, Debug, Default)]
pub struct Pace {}

impl Pace {
    /// No limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {}
    }

    /// Waits for the next request's turn.
    pub async fn permit(&self) {}
}
