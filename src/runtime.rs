//! The runtime: feeds the model and runs its effects.
//!
//! Everything that happens comes out of [`Runtime::next_batch`], stamped once, in
//! one order; everything the model wants done goes into [`Runtime::run`] and comes
//! back as an outcome. The screen and `get` are the same loop:
//!
//! ```text
//! while runtime.next_batch(wake, &mut batch).await {
//!     for event in batch.drain(..) { state.step(&event, &mut effects) }
//!     for (id, effect) in runtime.run(&mut effects) { /* the terminal's own */ }
//! }
//! ```
//!
//! A key becomes an event by [`Runtime::stamp`]. Queues are bounded: when the model
//! cannot keep up, the bus waits, and what the bus then loses it counts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::bus::Bus;
use crate::gateway_client::GatewayClient;
use crate::ids::SenderId;
use crate::state::effect::{Effect, EffectId, EffectQueue, Outcome};
use crate::state::event::{Event, LinkState, Source, Stamped};
use crate::state::ui::saved::SavedView;
use crate::store::Store;
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp};

pub(crate) mod answers;
mod backfill;
mod compensations;
mod effects;
mod facts;
mod ingress;
mod policy;
mod records;
mod trying;
pub(crate) use ingress::event_of;
#[cfg(test)]
mod tests;

pub use facts::{approval_fact, job_fact};

/// Batches of packets that may wait; each holds up to [`ingress::BATCH`].
const PACKET_BATCHES: usize = 64;
/// Answers, link changes and outcomes that may wait.
const ANSWERS: usize = 1_024;
/// Packets handed out at once, so that a key never waits behind a burst for long.
const HANDED_OUT: usize = 4_096;
/// How often time is told when nothing happens.
const TICK: Elapsed = Elapsed::from_secs(1);

/// The servers of a deployment; what is `None` is absent.
#[derive(Clone, Default)]
pub struct Sources {
    /// The bus.
    pub bus: Option<Arc<dyn Bus>>,
    /// The gateway.
    pub gateway: Option<Arc<GatewayClient>>,
    /// The store.
    pub store: Option<Arc<dyn Store>>,
    /// Makes the bus try to connect now.
    pub reconnect: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Keeps a view by name beyond this console, or forgets it; says what is wrong.
    pub keep_view: Option<KeepView>,
}

/// See [`Sources::keep_view`].
pub type KeepView = Arc<dyn Fn(&str, Option<&SavedView>) -> Result<(), String> + Send + Sync>;

/// Who asks, and where it is written down.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The operator, for `requested_by` and for decisions.
    pub operator: String,
    /// The console on the bus.
    pub console: SenderId,
    /// The operator's log; `None` writes none, and then nothing can be decided.
    pub audit: Option<AuditLog>,
    /// Whether nothing may be asked of the plane.
    pub read_only: bool,
}

/// Feeds the model and runs its effects; ends its tasks when dropped.
pub struct Runtime {
    packets: ingress::Receiver,
    answers: mpsc::Receiver<Event>,
    clock: Arc<dyn Clock>,
    outside: Arc<effects::Outside>,
    running: JoinSet<()>,
    stop: CancellationToken,
    next_seq: u64,
    last: Timestamp,
    next_tick: Timestamp,
}

impl Runtime {
    /// Starts to listen and to ask. Must be called inside a Tokio runtime.
    pub fn start(sources: Sources, identity: Identity, clock: Arc<dyn Clock>) -> Self {
        let (packet_tx, packets) = ingress::queue(PACKET_BATCHES);
        let (answer_tx, answers) = mpsc::channel(ANSWERS);
        let stop = CancellationToken::new();
        let refresh = Arc::new(Notify::new());
        let mut running = JoinSet::new();
        for source in Source::ALL {
            let configured = match source {
                Source::Bus => sources.bus.is_some(),
                Source::Gateway => sources.gateway.is_some(),
                Source::Store => sources.store.is_some(),
            };
            if configured {
                let event = Event::Link(source, LinkState::Connecting);
                answer_tx.try_send(event).expect("the queue was just made");
            }
        }
        if let Some(bus) = &sources.bus {
            ingress::spawn(bus, &packet_tx, &answer_tx, &clock, &mut running, &stop);
        }
        let sink = backfill::Sink {
            answers: answer_tx.clone(),
            clock: Arc::clone(&clock),
        };
        let gap = sources.bus.as_ref().map(|bus| bus.link());
        if let Some(gateway) = &sources.gateway {
            let poll = backfill::gateway(
                Arc::clone(gateway),
                sources.store.clone(),
                gap.clone(),
                sink.clone(),
                Arc::clone(&refresh),
            );
            let poll = told_if_it_breaks(poll, answer_tx.clone(), broke(Source::Gateway, &clock));
            running.spawn(until(stop.clone(), poll));
        }
        if let Some(store) = &sources.store {
            let (store, refresh) = (Arc::clone(store), Arc::clone(&refresh));
            // One source of jobs and approvals: the gateway, else the store.
            let poll: BoxFuture<'static, ()> = if sources.gateway.is_some() {
                Box::pin(backfill::watch_store(store, sink, refresh))
            } else {
                Box::pin(backfill::store_records(store, gap, sink, refresh))
            };
            let poll = told_if_it_breaks(poll, answer_tx.clone(), broke(Source::Store, &clock));
            running.spawn(until(stop.clone(), poll));
        }
        let outside = effects::Outside {
            sources,
            identity,
            clock: Arc::clone(&clock),
            refresh,
            answers: answer_tx,
        };
        let now = clock.now();
        Self {
            packets,
            answers,
            clock,
            outside: Arc::new(outside),
            running,
            stop,
            next_seq: 0,
            last: now,
            next_tick: now,
        }
    }

    /// Gives an event its place in the order: keys, sizes, and whatever else the
    /// caller saw itself.
    pub fn stamp(&mut self, value: Event) -> Stamped<Event> {
        self.last = self.last.max(self.clock.now());
        let seq = self.next_seq;
        self.next_seq += 1;
        Stamped {
            seq,
            at: self.last,
            value,
        }
    }

    /// Waits for something to happen and puts all that is waiting into `into`;
    /// answers and link changes before packets. Time alone is told once a second,
    /// and at `wake` where the caller waits for an instant. Safe to drop at any
    /// await. Returns false when nothing can happen any more.
    pub async fn next_batch(
        &mut self,
        wake: Option<Timestamp>,
        into: &mut Vec<Stamped<Event>>,
    ) -> bool {
        let until = wake.map_or(self.next_tick, |wake| wake.min(self.next_tick));
        let mut first_answer = None;
        tokio::select! {
            biased;
            answer = self.answers.recv() => match answer {
                Some(answer) => first_answer = Some(answer),
                None => return false,
            },
            () = self.packets.ready() => {}
            () = self.clock.sleep_until(until) => {}
        }
        let answers = first_answer.into_iter();
        let answers: Vec<Event> = answers
            .chain(std::iter::from_fn(|| self.answers.try_recv().ok()))
            .take(ANSWERS)
            .collect();
        for event in answers {
            let event = self.stamp(event);
            into.push(event);
        }
        // One reading of the clock for all: they were all here before it.
        self.last = self.last.max(self.clock.now());
        let (at, next_seq) = (self.last, &mut self.next_seq);
        self.packets.take(HANDED_OUT, |value| {
            let seq = *next_seq;
            *next_seq += 1;
            into.push(Stamped { seq, at, value });
        });
        let now = self.clock.now();
        if now >= until {
            self.next_tick = if now >= self.next_tick {
                now.plus(TICK)
            } else {
                self.next_tick
            };
            let tick = self.stamp(Event::Tick);
            into.push(tick);
        }
        true
    }

    /// Starts what the model asks of the outside; each ends within seconds and
    /// answers with an [`Event::Outcome`]. What only the terminal can do is given
    /// back, and the caller stamps its outcome itself.
    pub fn run(&mut self, effects: &mut EffectQueue) -> Vec<(EffectId, Effect)> {
        while self.running.try_join_next().is_some() {}
        let mut own = Vec::new();
        for (id, effect) in effects.drain() {
            match effect {
                Effect::CopyText(_)
                | Effect::CopyJson
                | Effect::Bell
                | Effect::Suspend
                | Effect::Repaint
                | Effect::Quit => {
                    own.push((id, effect));
                }
                Effect::Cancel { .. }
                | Effect::Decide { .. }
                | Effect::Retry { .. }
                | Effect::ReadPayload { .. }
                | Effect::ReadJob(_)
                | Effect::ReadTrace { .. }
                | Effect::ReadLives { .. }
                | Effect::ReadPolicy
                | Effect::Explain { .. }
                | Effect::Try { .. }
                | Effect::JudgeCompensation { .. }
                | Effect::Refresh
                | Effect::KeepView { .. }
                | Effect::LogReveal { .. } => {
                    let outside = Arc::clone(&self.outside);
                    let answers = self.outside.answers.clone();
                    let task = async move {
                        let outcome = outside.run(&effect).await;
                        outside.answer(Event::Outcome(id, outcome)).await;
                    };
                    // It may have left before it broke.
                    let unknown = Event::Outcome(id, Outcome::TimedOut);
                    let task = told_if_it_breaks(task, answers, move || unknown);
                    self.running.spawn(until(self.stop.clone(), task));
                }
            }
        }
        own
    }

    /// Runs one effect to its end, for commands that wait for it.
    pub async fn run_now(&self, effect: &Effect) -> Outcome {
        self.outside.run(effect).await
    }

    /// Ends all tasks and waits for them.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.packets.close();
        self.answers.close();
        while self.running.join_next().await.is_some() {}
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs a part of the console. One that panics does not vanish: `broke` is told in
/// its place, and the panic hook has written to the log what happened.
async fn told_if_it_breaks(
    part: impl Future<Output = ()>,
    answers: mpsc::Sender<Event>,
    broke: impl FnOnce() -> Event,
) {
    // What it held is dropped with it, so nothing half changed is seen again.
    if AssertUnwindSafe(part).catch_unwind().await.is_err() {
        // The receiver is gone only when the runtime ends.
        let _ended = answers.send(broke()).await;
    }
}

/// That the part which listens to or asks `source` is no more.
fn broke(source: Source, clock: &Arc<dyn Clock>) -> impl FnOnce() -> Event + use<> {
    let clock = Arc::clone(clock);
    move || {
        let state = LinkState::Down {
            since: clock.now(),
            reason: Arc::from(
                "a part of this console broke, capdeck.log tells how; start it again",
            ),
            attempts: 0,
            again_at: None,
        };
        Event::Link(source, state)
    }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}

/// The line to the bus, in the model's words.
fn link_of(state: &crate::bus::LinkState) -> LinkState {
    match state {
        crate::bus::LinkState::Connecting => LinkState::Connecting,
        crate::bus::LinkState::Up => LinkState::Up,
        crate::bus::LinkState::Lagging { dropped } => LinkState::Lagging { dropped: *dropped },
        crate::bus::LinkState::Down {
            since,
            reason,
            attempts,
            again_at,
        } => LinkState::Down {
            since: *since,
            reason: Arc::clone(reason),
            attempts: *attempts,
            again_at: *again_at,
        },
    }
}
