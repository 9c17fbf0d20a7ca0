//! The scheduler: asks policy, finds a worker, follows the job to its end.
//!
//! This room is the shell: it hears packets, hands them to the ledger, asks
//! [`plan::plan`] what happens next, and does it. One task does all of it in
//! turns, so that what it sends about one job leaves in order. Only questions to
//! the kernel that are not answered at once wait elsewhere, at most two seconds.

use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::bus::gap::Gap;
use crate::bus::{Bus, BusError, Delivery, Pattern, Subject, Subscription, is_up};
use crate::control_plane::keeper::{Keeper, NotKept};
use crate::control_plane::kernel::{KernelError, Question, SafetyKernel, Verdict};
use crate::control_plane::ledger::alerts::sender_of;
use crate::control_plane::ledger::{
    DeadLetter, Ledger, LedgerError, SharedLedger, Step, Submission, Via, lock,
};
use crate::control_plane::scheduler::placement::Routes;
use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::store::Store;
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp, sleep};
use crate::wire::packet::{Body, JobRequest, Packet};
use crate::wire::{self, decode, encode};

pub mod placement;
pub mod plan;
pub mod saga;
pub mod sound;

/// How long the kernel may take to answer.
pub const KERNEL_LIMIT: Elapsed = Elapsed::from_secs(2);
/// The queue group of schedulers: a submission is taken by one of them.
pub const QUEUE: &str = "cordum-scheduler";
/// How long payloads that the scheduler stores live: that of CAP deployments.
const PAYLOAD_TTL: Elapsed = Elapsed::from_secs(24 * 60 * 60);
/// Packets taken in one turn, and jobs moved in one: large enough to share the
/// cost of a turn, small enough that a turn stays below a few milliseconds.
const TURN: usize = 512;
/// Questions that may wait for the kernel. While so many do, no job is moved: each of
/// them is answered, or given up, within [`KERNEL_LIMIT`].
const MAX_QUESTIONS: usize = 1_024;
/// How soon the record is tried again when it could not be written.
const STALL: Elapsed = Elapsed::from_millis(500);
/// The longest sleep, in case a wake-up was lost.
const NAP: Elapsed = Elapsed::from_secs(1);

/// What the scheduler works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where it hears and speaks.
    pub bus: Arc<dyn Bus>,
    /// Where payloads are.
    pub store: Arc<dyn Store>,
    /// Whom it asks about policy.
    pub kernel: Arc<dyn SafetyKernel>,
    /// What it knows.
    pub ledger: SharedLedger,
    /// Which pools take which topics.
    pub routes: Arc<Routes>,
    /// Wakes it when somebody else changed the ledger.
    pub wake: Arc<Notify>,
    /// Who writes the record down, where several planes share one.
    pub keeper: Option<Arc<Keeper>>,
}

/// Why a scheduler stopped by itself.
#[derive(Debug, Error)]
#[error("the bus ended a subscription of the scheduler")]
pub struct BusGone;

/// A scheduler that hears the bus already but has not begun to act.
pub struct Scheduler {
    parts: Parts,
    clock: Arc<dyn Clock>,
    ears: Ears,
    questions: JoinSet<Answer>,
    /// What is to be done once the record can be written again.
    stalled: Vec<Step>,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// What the scheduler listens to. Submissions are shared with other schedulers;
/// the rest is heard by all, for a job's record lives with one of them.
struct Ears {
    submits: Subscription,
    results: Subscription,
    cancels: Subscription,
    progress: Subscription,
    heartbeats: Subscription,
    handshakes: Subscription,
}

impl Ears {
    /// Waits for the first packet, then takes what is there from each ear, at most
    /// [`TURN`] of it, so that no flood on one drowns the others. The order lets a
    /// cancel find the job that was submitted just before it.
    async fn hear(&mut self, batch: &mut Vec<Delivery>) -> Result<(), BusGone> {
        std::future::poll_fn(|context| {
            let before = batch.len();
            for ear in [
                &mut self.heartbeats,
                &mut self.handshakes,
                &mut self.submits,
                &mut self.progress,
                &mut self.results,
                &mut self.cancels,
            ] {
                let waiting = std::pin::pin!(ear.recv_many(batch, TURN));
                if waiting.poll(context) == Poll::Ready(0) {
                    return Poll::Ready(Err(BusGone));
                }
            }
            if batch.len() > before {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

/// About which job, to which question, what was said, and how long that took.
type Answer = (JobId, u64, Box<Result<Verdict, KernelError>>, Elapsed);

impl Scheduler {
    /// Begins to listen, so that nothing published after this is missed.
    ///
    /// # Errors
    /// [`BusError::NotConnected`] when there is no bus to listen to.
    pub async fn listen(parts: Parts, clock: Arc<dyn Clock>) -> Result<Self, BusError> {
        let bus = Arc::clone(&parts.bus);
        let ear = async |name, queue| {
            let pattern = Pattern::from(&wire::subject(name));
            bus.subscribe(&pattern, queue).await
        };
        // Planes that share a record all hear all, for any of them may lead next.
        let queue = parts.keeper.is_none().then_some(QUEUE);
        let ears = Ears {
            submits: ear(wire::SUBMIT, queue).await?,
            results: ear(wire::RESULT, None).await?,
            cancels: ear(wire::CANCEL, None).await?,
            progress: ear(wire::PROGRESS, None).await?,
            heartbeats: ear(wire::HEARTBEAT, None).await?,
            handshakes: ear(wire::HANDSHAKE, None).await?,
        };
        Ok(Self {
            parts,
            clock,
            ears,
            questions: JoinSet::new(),
            stalled: Vec::new(),
        })
    }

    /// Schedules until `stop`.
    ///
    /// # Errors
    /// [`BusGone`] when the bus ended a subscription.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), BusGone> {
        let mut batch: Vec<Delivery> = Vec::with_capacity(TURN);
        let mut gap = Gap::new(Some(self.parts.bus.link()));
        // The first connection ends no gap.
        let _connected = gap.has_ended();
        let mut looked_at = self.clock.now();
        loop {
            // Seen before what was heard on the new line.
            if gap.has_ended() {
                lock(&self.parts.ledger).line_is_back(looked_at);
            }
            let now = self.clock.now();
            if is_up(&self.parts.bus.link().borrow()) {
                looked_at = now;
            }
            let free = self.stalled.is_empty() && self.questions.len() < MAX_QUESTIONS;
            let alarm = lock(&self.parts.ledger).next_alarm().filter(|_| free);
            let nap = now.plus(if self.stalled.is_empty() { NAP } else { STALL });
            let wake = alarm.map_or(nap, |at| at.min(nap));
            batch.clear();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                heard = self.ears.hear(&mut batch) => heard?,
                Some(answer) = self.questions.join_next() => self.answered(answer),
                () = self.parts.wake.notified() => {}
                () = gap.changed() => {}
                () = self.clock.sleep_until(wake) => {}
            }
            self.hear(&mut batch);
            self.act().await;
        }
    }

    /// Takes an answer, and those that came with it.
    fn answered(&mut self, first: Result<Answer, JoinError>) {
        let now = self.clock.now();
        let mut next = Some(first);
        while let Some(answer) = next {
            match answer {
                Ok((job, ticket, answer, took)) => {
                    let mut ledger = lock(&self.parts.ledger);
                    ledger.kernel_took(took, now);
                    ledger.answered(&job, ticket, *answer, now);
                }
                // The job is asked about again when its answer is overdue.
                Err(error) => tracing::error!(%error, "a question to the kernel broke"),
            }
            next = self.questions.try_join_next();
        }
    }

    fn hear(&self, batch: &mut Vec<Delivery>) {
        if let Some(keeper) = &self.parts.keeper {
            if !keeper.leads() {
                return self.stand_by(keeper, batch);
            }
            // What was published before comes before.
            batch.splice(0..0, keeper.take_missed());
        }
        let packets: Vec<_> = batch.iter().map(decode::decode).collect();
        let now = self.clock.now();
        let mut ledger = lock(&self.parts.ledger);
        for packet in packets {
            let Ok(packet) = packet else {
                ledger.malformed();
                continue;
            };
            if let Err(dropped) = take(&mut ledger, packet, now) {
                let error = &dropped as &dyn std::error::Error;
                tracing::warn!(error, "a submission was dropped");
                ledger.malformed();
            }
        }
    }

    /// Gets to know the workers, and remembers what the leader may not get to hear.
    fn stand_by(&self, keeper: &Keeper, batch: &mut Vec<Delivery>) {
        let now = self.clock.now();
        for delivery in batch.drain(..) {
            match delivery.subject.as_str() {
                wire::SUBMIT | wire::RESULT | wire::CANCEL => keeper.missed(delivery),
                wire::HEARTBEAT | wire::HANDSHAKE => {
                    let mut ledger = lock(&self.parts.ledger);
                    match decode::decode(&delivery) {
                        // Neither of the two is a submission, which alone can be refused.
                        Ok(packet) => drop(take(&mut ledger, packet, now)),
                        Err(_) => ledger.malformed(),
                    }
                }
                _ => {}
            }
        }
    }

    /// Does what is to be done now, and what follows from that at once.
    async fn act(&mut self) {
        loop {
            let mut steps = std::mem::take(&mut self.stalled);
            if steps.is_empty() {
                let now = self.clock.now();
                // Each job that is moved asks at most one question.
                let room = MAX_QUESTIONS.saturating_sub(self.questions.len());
                let mut ledger = lock(&self.parts.ledger);
                steps = plan::plan(&mut ledger, &self.parts.routes, now, TURN.min(room));
            }
            let done = match self.parts.keeper.clone() {
                None => self.do_all(steps).await,
                Some(keeper) => self.do_kept(&keeper, steps).await,
            };
            if done == 0 {
                return;
            }
        }
    }

    /// Does it, and learns from all of it together. Returns how much there was.
    async fn do_all(&mut self, steps: Vec<Step>) -> usize {
        let count = steps.len();
        let mut learned = Vec::new();
        for step in steps {
            learned.extend(self.perform(step).await);
        }
        self.learn(learned);
        count
    }

    /// Does it once it is on record. A dispatch is put on record as done before the next
    /// one is done: between the two lies the moment in which a plane that dies leaves a
    /// request that is sent twice. What cannot be put on record waits.
    async fn do_kept(&mut self, keeper: &Keeper, steps: Vec<Step>) -> usize {
        let count = steps.len();
        // A job on record has its payload.
        let (contexts, steps): (Vec<_>, Vec<_>) = steps
            .into_iter()
            .partition(|step| matches!(step, Step::StoreContext { .. }));
        for context in contexts {
            let learned = self.perform(context).await;
            self.learn(learned);
        }
        let mut steps = steps.into_iter();
        let mut kept = keeper.keep().await;
        while kept.is_ok() {
            let Some(step) = steps.next() else {
                return count;
            };
            let dispatches = matches!(step, Step::Dispatch { .. });
            let learned = self.perform(step).await;
            self.learn(learned);
            if dispatches {
                kept = keeper.keep().await;
            }
        }
        match kept {
            Err(NotKept::Away(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the record cannot be written; jobs wait");
                self.stalled = steps.collect();
            }
            // What this plane was about to do is not its to do any more.
            Ok(()) | Err(NotKept::Deposed) => {}
        }
        0
    }

    fn learn(&self, learned: impl IntoIterator<Item = Fact>) {
        let now = self.clock.now();
        let mut ledger = lock(&self.parts.ledger);
        for fact in learned {
            match fact {
                Fact::Answered((job, ticket, answer, took)) => {
                    ledger.kernel_took(took, now);
                    ledger.answered(&job, ticket, *answer, now);
                }
                Fact::Dispatched(job, attempt) => ledger.dispatched(&job, attempt, now),
                Fact::NotSent(job, attempt, why) => {
                    ledger.dispatch_failed(&job, attempt, &why, now);
                }
                Fact::Undeliverable(job, why) => ledger.undeliverable(&job, &why, now),
            }
        }
    }

    async fn perform(&mut self, step: Step) -> Option<Fact> {
        let now = self.clock.now();
        match step {
            Step::Ask {
                job,
                ticket,
                question,
            } => self.ask(job, ticket, question).await,
            Step::Dispatch {
                job,
                attempt,
                worker,
                trace,
                request,
            } => Some(match self.dispatch(&worker, trace, &request, now).await {
                Ok(()) => Fact::Dispatched(job, attempt),
                Err(SendError::Bus(error)) => Fact::NotSent(job, attempt, error.to_string()),
                Err(SendError::Encode(error)) => Fact::Undeliverable(job, error.to_string()),
            }),
            Step::Submit { trace, request } => {
                let body = Body::JobRequest(Box::new((*request).clone()));
                self.tell(wire::SUBMIT, wire::SENDER_SAGA, trace, now, body)
                    .await;
                None
            }
            Step::DeadLetter(letter) => {
                let trace = TraceId::from(letter.job_id.as_str());
                let body = Body::JobResult(Box::new(letter.result()));
                self.tell(wire::DLQ, wire::SENDER_SCHEDULER, trace, now, body)
                    .await;
                self.store_dead_letter(&letter).await;
                None
            }
            Step::StoreDeadLetter(letter) => {
                self.store_dead_letter(&letter).await;
                None
            }
            Step::Result { trace, result } => {
                let body = Body::JobResult(result);
                self.tell(wire::RESULT, wire::SENDER_SCHEDULER, trace, now, body)
                    .await;
                None
            }
            Step::Cancel(cancel) => {
                let trace = TraceId::from(cancel.job_id.as_str());
                let body = Body::JobCancel(cancel);
                self.tell(wire::CANCEL, wire::SENDER_SCHEDULER, trace, now, body)
                    .await;
                None
            }
            Step::StoreContext { job, json } => {
                self.store(&format!("ctx:{job}"), json).await;
                None
            }
            Step::Alert(alert) => {
                let trace = TraceId::from(alert.code.as_str());
                let sender = sender_of(&alert);
                let body = Body::Alert(alert);
                self.tell(wire::ALERT, sender, trace, now, body).await;
                None
            }
        }
    }

    /// Asks the kernel. An answer that is there at once is a fact; another one is
    /// waited for elsewhere, at most [`KERNEL_LIMIT`].
    async fn ask(&mut self, job: JobId, ticket: u64, question: Box<Question>) -> Option<Fact> {
        let asked_at = self.clock.now();
        let kernel = Arc::clone(&self.parts.kernel);
        let mut answer: BoxFuture<'static, _> =
            Box::pin(async move { kernel.check(&question).await });
        let at_once = std::future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context)));
        if let Poll::Ready(answer) = at_once.await {
            let took = self.clock.now().since(asked_at);
            return Some(Fact::Answered((job, ticket, Box::new(answer), took)));
        }
        let clock = Arc::clone(&self.clock);
        self.questions.spawn(async move {
            let answer = tokio::select! {
                answer = answer => answer,
                () = sleep(&*clock, KERNEL_LIMIT) => Err(KernelError::TimedOut),
            };
            let took = clock.now().since(asked_at);
            (job, ticket, Box::new(answer), took)
        });
        None
    }

    async fn dispatch(
        &self,
        worker: &WorkerId,
        trace: TraceId,
        request: &JobRequest,
        now: Timestamp,
    ) -> Result<(), SendError> {
        let subject = wire::worker_jobs(worker)?;
        let body = Body::JobRequest(Box::new(request.clone()));
        self.send(&subject, wire::SENDER_SCHEDULER, trace, now, body)
            .await
    }

    /// Says something whose loss nobody can mend: it is logged.
    async fn tell(
        &self,
        subject: &'static str,
        sender: &'static str,
        trace: TraceId,
        now: Timestamp,
        body: Body,
    ) {
        let subject = wire::subject(subject);
        if let Err(error) = self.send(&subject, sender, trace, now, body).await {
            tracing::warn!(%subject, %error, "the scheduler could not say something");
        }
    }

    async fn send(
        &self,
        subject: &Subject,
        sender: &'static str,
        trace: TraceId,
        now: Timestamp,
        body: Body,
    ) -> Result<(), SendError> {
        let packet = Packet::new(trace, SenderId::from(sender), now, body);
        let bytes = encode::encode(subject, &packet)?;
        Ok(self.parts.bus.publish(subject, bytes).await?)
    }

    /// Stores what a dead letter stands for, unless the worker left a result.
    async fn store_dead_letter(&self, letter: &DeadLetter) {
        self.store(&format!("res:{}", letter.job_id), letter.stored_result())
            .await;
    }

    async fn store(&self, key: &str, json: String) {
        let value = Bytes::from(json);
        let ttl = Some(PAYLOAD_TTL);
        let stored = self.parts.store.compare_and_set(key, None, value, ttl);
        if let Err(error) = stored.await {
            tracing::warn!(key, %error, "the scheduler could not store a payload");
        }
    }
}

/// What a packet changes in the record. The scheduler's own results and cancels
/// say nothing that it does not know.
///
/// # Errors
/// [`Dropped`] when a request is not taken.
pub(in crate::control_plane) fn take(
    ledger: &mut Ledger,
    packet: Packet,
    now: Timestamp,
) -> Result<(), Dropped> {
    let ours = packet.sender.as_str() == wire::SENDER_SCHEDULER;
    match packet.body {
        Body::JobRequest(request) => {
            let dropped = |job: &JobId, why| Dropped {
                job: job.clone(),
                sender: packet.sender.clone(),
                why,
            };
            sound::check(&request).map_err(|unsound| dropped(&request.job_id, unsound.into()))?;
            let job = request.job_id.clone();
            let submission = Submission {
                request: *request,
                trace: packet.trace,
                via: Via::Bus,
                ..Submission::default()
            };
            let taken = ledger.submit(submission, now);
            taken.map_err(|refused| dropped(&job, refused.into()))?;
        }
        Body::JobResult(result) if !ours => {
            ledger.result(*result, now);
        }
        Body::JobCancel(cancel) if !ours => {
            ledger.cancel_heard(&cancel, now);
        }
        Body::JobProgress(progress) => {
            ledger.progress(&progress, packet.sent_at, now);
        }
        Body::Heartbeat(heartbeat) => ledger.heartbeat(*heartbeat, now),
        Body::Handshake(handshake) => ledger.handshake(handshake, now),
        Body::JobResult(_) | Body::JobCancel(_) | Body::Alert(_) | Body::WorkerHandshake(_) => {}
    }
    Ok(())
}

/// A request on the bus that is not taken.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("the request of job {job:?}, sent by {sender:?}, is dropped")]
pub(in crate::control_plane) struct Dropped {
    job: JobId,
    sender: SenderId,
    #[source]
    why: NotTaken,
}

/// Why a request on the bus is not taken.
#[derive(Debug, PartialEq, Eq, Error)]
pub(in crate::control_plane) enum NotTaken {
    /// It could never be run.
    #[error(transparent)]
    Unsound(#[from] sound::Unsound),
    /// There is no room for it, or it is no job.
    #[error(transparent)]
    Refused(#[from] LedgerError),
}

/// What the scheduler learned by doing something.
enum Fact {
    Answered(Answer),
    Dispatched(JobId, u32),
    NotSent(JobId, u32, String),
    Undeliverable(JobId, String),
}

#[derive(Debug, Error)]
enum SendError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Encode(#[from] encode::EncodeError),
}

#[cfg(test)]
mod tests;
