//! The shell of a plan: sleeps until something is due, stores payloads, publishes.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Move, Plan, PolicyEdit, Submission, WorkerIncident};
use crate::bus::{Bus, Subject};
use crate::store::Store;
use crate::time::{Clock, Elapsed};
use crate::wire;
use crate::wire::packet::Packet;

/// A payload behind a pointer lives this long, as in CAP deployments.
pub(crate) const PAYLOAD_TTL: Elapsed = Elapsed::from_secs(24 * 60 * 60);
/// What is overdue by more than this was not late, the process was suspended.
const SUSPENDED: Elapsed = Elapsed::from_secs(5);

/// Changes the policy in force as an edit says; does nothing if the edit does not fit it.
pub type PolicyHook = Arc<dyn Fn(&PolicyEdit) + Send + Sync>;

/// Where the moves of a plan go.
#[derive(Clone)]
pub struct Outlets {
    /// Requests and alerts.
    pub bus: Arc<dyn Bus>,
    /// Payloads, before the requests that point at them.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Mishaps, for [`crate::control_plane::worker::run`]; when its other end is
    /// gone there is nobody left whom something could befall.
    pub incidents: mpsc::Sender<WorkerIncident>,
    /// Changes to the text of the policy; `None` where the policy is somebody's own file.
    pub policy: Option<PolicyHook>,
}

/// Plays `plan` until `cancel` or until nothing is left to come.
///
/// A request that cannot be stored or published now is dropped and logged: it is
/// traffic, and the next one comes.
pub async fn run(mut plan: Plan, outlets: Outlets, cancel: CancellationToken) {
    while let Some(at) = plan.next_at() {
        tokio::select! {
            () = cancel.cancelled() => return,
            () = outlets.clock.sleep_until(at) => {}
        }
        let now = outlets.clock.now();
        let late = now.since(at);
        if late > SUSPENDED {
            plan.postpone(late);
        }
        for (_, one) in plan.due(now) {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = outlets.make(one) => {}
            }
        }
    }
}

impl Outlets {
    async fn make(&self, one: Move) {
        match one {
            Move::Submit(submission) => self.submit(*submission).await,
            Move::Publish { subject, packet } => self.publish(&subject, &packet).await,
            Move::Workers(incident) => {
                if self.incidents.send(incident).await.is_err() {
                    tracing::debug!("an incident found no workers");
                }
            }
            Move::EditPolicy(edit) => {
                if let Some(policy) = &self.policy {
                    policy(&edit);
                }
            }
        }
    }

    async fn submit(&self, submission: Submission) {
        for (key, bytes) in submission.contexts {
            if let Err(error) = self.store.put(&key, bytes, Some(PAYLOAD_TTL)).await {
                tracing::warn!(key, %error, "a context was not stored, its job is dropped");
                return;
            }
        }
        self.publish(&wire::subject(wire::SUBMIT), &submission.packet)
            .await;
    }

    async fn publish(&self, subject: &Subject, packet: &Packet) {
        let bytes = match wire::encode::encode(subject, packet) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(%subject, %error, "the scenario made an invalid packet");
                return;
            }
        };
        if let Err(error) = self.bus.publish(subject, bytes).await {
            tracing::warn!(%subject, %error, "a packet of the scenario was dropped");
        }
    }
}
