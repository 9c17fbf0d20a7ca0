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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::bus::Pattern;
    use crate::bus::local::LocalBus;
    use crate::control_plane::scenario::format;
    use crate::store::memory::MemoryStore;
    use crate::time::{ManualClock, Timestamp};
    use crate::wire::packet::Body;

    const SCENARIO: &str = r#"
name = "t"
[[pool]]
name = "a"
workers = 1
slots = 1
[job.note]
topic = "job.note"
seconds = 1
payload = "text"
[payload.text]
text = "hello"
[[once]]
at = 1
job = "note"
[[incident]]
at = 2
do = "die"
worker = "w-a-01"
[[incident]]
at = 3
do = "edit-policy"
append = "\n"
[[alert]]
at = 4
severity = "info"
component = "c"
code = "d"
message = "m"
"#;

    #[tokio::test]
    async fn a_plan_is_played_to_its_end_with_payloads_before_their_requests() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let bus = Arc::new(LocalBus::new());
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
        let pattern = Pattern::parse("sys.>").expect("a pattern");
        let mut heard = bus.subscribe(&pattern, None).await.expect("connected");
        let (incidents, mut befalls) = mpsc::channel(4);
        let edits = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&edits);
        let outlets = Outlets {
            bus: Arc::clone(&bus) as Arc<dyn Bus>,
            store: Arc::clone(&store) as Arc<dyn Store>,
            clock: Arc::new(clock.clone()),
            incidents,
            policy: Some(Arc::new(move |_| *counted.lock().expect("whole") += 1)),
        };
        let scenario = format::parse(SCENARIO, "t.toml", &|_| {
            Err(std::io::ErrorKind::NotFound.into())
        });
        let plan = Plan::new(
            Arc::new(scenario.expect("good test data")),
            1,
            Timestamp::from_millis(0),
        );
        let mut task = tokio::spawn(run(plan, outlets, CancellationToken::new()));
        loop {
            tokio::select! {
                biased;
                ended = &mut task => {
                    ended.expect("it ends by itself");
                    break;
                }
                () = tokio::task::yield_now() => clock.advance(Elapsed::from_millis(100)),
            }
        }
        let first = heard.recv().await.expect("a packet");
        let packet = wire::decode::decode(&first).expect("a packet");
        let Body::JobRequest(request) = packet.body else {
            panic!("{packet:?}");
        };
        let key = request.context_ptr.trim_start_matches("redis://");
        let stored = store.get(key).await.expect("the store answers");
        assert_eq!(stored.as_deref(), Some(b"hello".as_slice()));
        let second = heard.recv().await.expect("a packet");
        assert_eq!(second.subject.as_str(), wire::ALERT);
        assert!(befalls.recv().await.is_some());
        assert_eq!(*edits.lock().expect("whole"), 1);
    }

    #[tokio::test]
    async fn a_plan_stops_when_it_is_told_to() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let scenario = crate::control_plane::scenario::Scenario::built_in("default");
        let scenario = Arc::new(scenario.expect("built in"));
        let outlets = Outlets {
            bus: Arc::new(LocalBus::new()),
            store: Arc::new(MemoryStore::new(Arc::new(clock.clone()))),
            clock: Arc::new(clock.clone()),
            incidents: mpsc::channel(1).0,
            policy: None,
        };
        let plan = Plan::new(scenario, 1, Timestamp::from_millis(0));
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(plan, outlets, cancel.clone()));
        cancel.cancel();
        task.await.expect("it ends");
    }
}
