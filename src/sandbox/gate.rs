//! Gates at which requests wait, so that races can be arranged instead of waited for.
//!
//! A gate holds requests back; it never changes them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::log::Endpoint;

/// Where in its course a request is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before it has had any effect.
    #[default]
    BeforeEffect,
    /// When it has had its effect, before it is answered.
    AfterEffect,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    holds: u32,
    waiting: u32,
}

#[derive(Debug)]
struct Gate {
    endpoint: Endpoint,
    moment: Moment,
    standing: Arc<watch::Sender<Standing>>,
}

/// Every gate: two an endpoint.
#[derive(Debug)]
pub(super) struct Gates(Vec<Gate>);

impl Default for Gates {
    fn default() -> Self {
        let endpoints =
            [Endpoint::Authorize, Endpoint::Create, Endpoint::Cancel, Endpoint::Status, Endpoint::Elsewhere];
        let moments = [Moment::BeforeEffect, Moment::AfterEffect];
        let gate = |(endpoint, moment)| Gate { endpoint, moment, standing: Arc::new(watch::Sender::default()) };
        Self(endpoints.into_iter().flat_map(|endpoint| moments.map(|moment| (endpoint, moment))).map(gate).collect())
    }
}

/// Requests wait while this lives. Dropping it releases them.
#[derive(Debug)]
#[must_use = "dropping it releases the requests"]
pub struct Hold(Option<Arc<watch::Sender<Standing>>>);

impl Hold {
    /// Lets the requests go on.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(gate) = &self.0 {
            gate.send_modify(|standing| standing.holds = standing.holds.saturating_sub(1));
        }
    }
}

/// A request that waits; counted until it goes on or its client gives up.
struct Waiting<'a> {
    gate: &'a watch::Sender<Standing>,
    changed: &'a Notify,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.send_modify(|standing| standing.waiting = standing.waiting.saturating_sub(1));
        self.changed.notify_waiters();
    }
}

impl Gates {
    fn gate(&self, endpoint: Endpoint, moment: Moment) -> Option<&Arc<watch::Sender<Standing>>> {
        self.0.iter().find(|gate| gate.endpoint == endpoint && gate.moment == moment).map(|gate| &gate.standing)
    }

    /// Holds requests from now on.
    pub(super) fn hold(&self, endpoint: Endpoint, moment: Moment) -> Hold {
        let gate = self.gate(endpoint, moment).cloned();
        if let Some(gate) = &gate {
            gate.send_modify(|standing| standing.holds += 1);
        }
        Hold(gate)
    }

    /// Waits while the gate is held; `changed` is told when the number of those that wait changes.
    pub(super) async fn pass(&self, endpoint: Endpoint, moment: Moment, changed: &Notify) {
        let Some(gate) = self.gate(endpoint, moment) else { return };
        if gate.borrow().holds == 0 {
            return;
        }
        gate.send_modify(|standing| standing.waiting += 1);
        let waiting = Waiting { gate, changed };
        changed.notify_waiters();
        // The sender lives as long as `self`, so the wait can only end by release.
        let _ = gate.subscribe().wait_for(|standing| standing.holds == 0).await;
        drop(waiting);
    }

    /// Requests that wait now, by endpoint; endpoints without any are left out.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Endpoint, u64)> {
        self.0
            .iter()
            .map(|gate| (gate.endpoint, u64::from(gate.standing.borrow().waiting)))
            .filter(|(_, held)| *held > 0)
    }
}
