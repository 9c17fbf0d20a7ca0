//! A whole plane on a virtual clock: one seed, one story, byte for byte.
//!
//! [`Simulation`] drives the scenario's plan, the scheduler's planner, the fleet
//! and the policy in one thread and without IO, and keeps what a console would
//! have heard on the bus. Pictures (`capdeck render --demo`) and tests are made of
//! it. It decides nothing itself: what the scheduler's shell does with packets and
//! tasks, this room does at once, in a fixed order. Start at
//! [`Simulation::run_until`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::bus::{Delivery, Encoding, Subject};
use crate::control_plane::kernel::evaluate::evaluate;
use crate::control_plane::kernel::live::News;
use crate::control_plane::kernel::policy::{Policy, PolicyError};
use crate::control_plane::kernel::velocity::Rates;
use crate::control_plane::ledger::alerts::sender_of;
use crate::control_plane::ledger::{Ledger, LedgerError, MAX_JOBS, Step, Yes};
use crate::control_plane::scenario::{Move, Plan, PolicyEdit, Scenario};
use crate::control_plane::scheduler::placement::Routes;
use crate::control_plane::scheduler::plan::plan;
use crate::control_plane::scheduler::take;
use crate::control_plane::worker::{Fleet, Out};
use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::time::{Elapsed, Timestamp};
use crate::wire;
use crate::wire::packet::{Body, Packet};
use crate::wire::{Channel, encode};

mod answers;

/// When simulations begin: 2026-01-01T14:00:00Z.
pub const START: Timestamp = Timestamp::from_millis(1_767_276_000_000);
/// Jobs moved before packets are heard again, as in the scheduler's shell.
const TURN: usize = 512;

/// A packet as a console would have heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Timestamp,
    /// What, and where.
    pub delivery: Delivery,
}

/// A plane on a virtual clock.
#[derive(Debug)]
pub struct Simulation {
    now: Timestamp,
    plan: Plan,
    fleet: Fleet,
    ledger: Ledger,
    routes: Routes,
    policy: Policy,
    rates: Rates,
    policy_text: String,
    snapshots: Vec<String>,
    payloads: BTreeMap<String, Bytes>,
    on_the_bus: VecDeque<(Subject, Packet)>,
    heard: Vec<Heard>,
    refused: Vec<String>,
}

impl Simulation {
    /// A plane that plays `scenario` under the policy `policy_text` from
    /// [`START`] on; nothing has happened yet.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy cannot be used.
    pub fn new(scenario: Arc<Scenario>, policy_text: &str, seed: u64) -> Result<Self, PolicyError> {
        let policy = Policy::parse(policy_text.as_bytes())?;
        let mut ledger = Ledger::new(MAX_JOBS, seed);
        ledger.policy_changed(&policy.snapshot, START);
        Ok(Self {
            now: START,
            plan: Plan::new(Arc::clone(&scenario), seed, START),
            fleet: Fleet::new(Arc::clone(&scenario), seed, START),
            ledger,
            routes: Routes::new(scenario.topics()),
            snapshots: vec![policy.snapshot.clone()],
            policy,
            rates: Rates::default(),
            policy_text: policy_text.to_owned(),
            payloads: BTreeMap::new(),
            on_the_bus: VecDeque::new(),
            heard: Vec::new(),
            refused: Vec::new(),
        })
    }

    /// The default demo under its own policy.
    pub fn demo(seed: u64) -> Self {
        let scenario = Scenario::built_in("default").expect("it is built in");
        let policy = include_str!("../../demo/policy.yaml");
        Self::new(Arc::new(scenario), policy, seed).expect("a test reads the demo's policy")
    }

    /// Plays everything up to `elapsed` after [`START`]. Going back is going nowhere.
    pub fn run_until(&mut self, elapsed: Elapsed) {
        let end = START.plus(elapsed);
        loop {
            let next = [
                self.plan.next_at(),
                self.fleet.next_at(),
                self.ledger.next_alarm(),
            ];
            match next.into_iter().flatten().min() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.turn();
        }
        self.now = self.now.max(end);
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the plane knows: what a gateway would answer from.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Snapshots that were in force, the newest first.
    pub fn snapshots(&self) -> &[String] {
        &self.snapshots
    }

    /// The payload at a store key such as `ctx:<job id>`.
    pub fn payload(&self, key: &str) -> Option<&Bytes> {
        self.payloads.get(key)
    }

    /// What was heard on the bus and not taken yet, in order.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// Packets that the contract forbade, in words; a bug of ours if there is any.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Somebody publishes a packet now.
    pub fn publish(&mut self, subject: Subject, packet: Packet) {
        self.on_the_bus.push_back((subject, packet));
        self.settle();
    }

    /// A person says yes to a waiting approval, as the gateway takes it.
    ///
    /// # Errors
    /// Those of [`Ledger::approve`].
    pub fn approve(&mut self, job: &JobId, by: &str, note: &str) -> Result<(), LedgerError> {
        let yes = Yes {
            by,
            note,
            current_snapshot: &self.policy.snapshot,
            ..Yes::default()
        };
        let approved = self.ledger.approve(job, &yes, self.now)?;
        let body = Body::JobRequest(Box::new((*approved.request).clone()));
        let sender = wire::SENDER_GATEWAY;
        self.say(wire::SUBMIT, sender, approved.trace, body);
        self.settle();
        Ok(())
    }

    /// A person says no to a waiting approval, as the gateway takes it.
    ///
    /// # Errors
    /// Those of [`Ledger::reject`].
    pub fn reject(&mut self, job: &JobId, by: &str, reason: &str) -> Result<(), LedgerError> {
        let letter = self.ledger.reject(job, (by, ""), reason, "", self.now)?;
        let body = Body::JobResult(Box::new(letter.result()));
        let trace = TraceId::from(job.as_str());
        self.say(wire::DLQ, wire::SENDER_GATEWAY, trace, body);
        self.settle();
        Ok(())
    }

    /// Everything that is due now, and all that follows from it at once.
    fn turn(&mut self) {
        for (_, one) in self.plan.due(self.now) {
            match one {
                Move::Submit(submission) => {
                    self.payloads.extend(submission.contexts);
                    let subject = wire::subject(wire::SUBMIT);
                    self.on_the_bus.push_back((subject, submission.packet));
                }
                Move::Publish { subject, packet } => {
                    self.on_the_bus.push_back((subject, *packet));
                }
                Move::Workers(incident) => {
                    let out = self.fleet.befall(&incident, self.now);
                    self.put_out(out);
                }
                Move::EditPolicy(edit) => self.edit_policy(&edit),
            }
        }
        let out = self.fleet.due(self.now);
        self.put_out(out);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some((subject, packet)) = self.on_the_bus.pop_front() {
                self.deliver(&subject, packet);
            }
            let steps = plan(&mut self.ledger, &self.routes, self.now, TURN);
            if steps.is_empty() && self.on_the_bus.is_empty() {
                return;
            }
            for step in steps {
                self.perform(step);
            }
        }
    }

    fn deliver(&mut self, subject: &Subject, packet: Packet) {
        let payload = match encode::encode(subject, &packet) {
            Ok(payload) => payload,
            Err(error) => {
                self.refused.push(format!("{subject}: {error}"));
                return;
            }
        };
        self.heard.push(Heard {
            at: self.now,
            delivery: Delivery {
                subject: subject.clone(),
                payload,
                encoding: Encoding::Proto,
            },
        });
        match Channel::of(subject) {
            Channel::Dispatch {
                worker: Some(worker),
            } => {
                let out = self.fleet.dispatched(&worker, &packet, self.now);
                self.put_out(out);
            }
            Channel::Cancel => {
                if let Body::JobCancel(cancel) = &packet.body {
                    let out = self.fleet.cancelled(cancel, self.now);
                    self.put_out(out);
                }
                self.schedule(packet);
            }
            Channel::Submit
            | Channel::Result
            | Channel::Progress
            | Channel::Heartbeat
            | Channel::Handshake => self.schedule(packet),
            Channel::Dispatch { worker: None }
            | Channel::DeadLetter
            | Channel::Alert
            | Channel::Audit
            | Channel::Other => {}
        }
    }

    /// The scheduler hears a packet.
    fn schedule(&mut self, packet: Packet) {
        if let Err(error) = take(&mut self.ledger, packet, self.now) {
            use std::error::Error as _;

            let why = error.source().map(ToString::to_string);
            let why = why.unwrap_or_default();
            self.refused.push(format!("{error}: {why}"));
        }
    }

    fn perform(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Ask {
                job,
                ticket,
                question,
            } => {
                let verdict = evaluate(&self.policy, &question, &mut self.rates, now);
                self.ledger.answered(&job, ticket, Ok(verdict), now);
            }
            Step::Dispatch {
                job,
                attempt,
                worker,
                trace,
                request,
            } => match self.dispatch(
                &worker,
                trace,
                Body::JobRequest(Box::new((*request).clone())),
            ) {
                Ok(()) => self.ledger.dispatched(&job, attempt, now),
                Err(why) => self.ledger.undeliverable(&job, &why, now),
            },
            Step::Submit { trace, request } => {
                let body = Body::JobRequest(Box::new((*request).clone()));
                self.say(wire::SUBMIT, wire::SENDER_SAGA, trace, body);
            }
            Step::DeadLetter(letter) => {
                let trace = TraceId::from(letter.job_id.as_str());
                let body = Body::JobResult(Box::new(letter.result()));
                self.say(wire::DLQ, wire::SENDER_SCHEDULER, trace, body);
                self.store_new(format!("res:{}", letter.job_id), letter.stored_result());
            }
            Step::StoreDeadLetter(letter) => {
                self.store_new(format!("res:{}", letter.job_id), letter.stored_result());
            }
            Step::Result { trace, result } => {
                let body = Body::JobResult(result);
                self.say(wire::RESULT, wire::SENDER_SCHEDULER, trace, body);
            }
            Step::Cancel(cancel) => {
                let trace = TraceId::from(cancel.job_id.as_str());
                let body = Body::JobCancel(cancel);
                self.say(wire::CANCEL, wire::SENDER_SCHEDULER, trace, body);
            }
            Step::StoreContext { job, json } => self.store_new(format!("ctx:{job}"), json),
            Step::Alert(alert) => {
                let trace = TraceId::from(alert.code.as_str());
                let sender = sender_of(&alert);
                self.say(wire::ALERT, sender, trace, Body::Alert(alert));
            }
        }
    }

    fn dispatch(&mut self, worker: &WorkerId, trace: TraceId, body: Body) -> Result<(), String> {
        let subject = wire::worker_jobs(worker).map_err(|error| error.to_string())?;
        let sender = SenderId::from(wire::SENDER_SCHEDULER);
        let packet = Packet::new(trace, sender, self.now, body);
        encode::encode(&subject, &packet).map_err(|error| error.to_string())?;
        self.on_the_bus.push_back((subject, packet));
        Ok(())
    }

    fn say(&mut self, subject: &'static str, sender: &str, trace: TraceId, body: Body) {
        let packet = Packet::new(trace, SenderId::from(sender), self.now, body);
        self.on_the_bus.push_back((wire::subject(subject), packet));
    }

    fn store_new(&mut self, key: String, json: String) {
        self.payloads.entry(key).or_insert_with(|| json.into());
    }

    fn put_out(&mut self, out: Vec<Out>) {
        for one in out {
            match one {
                Out::Publish { subject, packet } => self.on_the_bus.push_back((subject, packet)),
                Out::Store { key, value } => {
                    self.payloads.insert(key, value);
                }
            }
        }
    }

    fn edit_policy(&mut self, edit: &PolicyEdit) {
        let Some(text) = edit.apply(&self.policy_text) else {
            return;
        };
        let Ok(policy) = Policy::parse(text.as_bytes()) else {
            return;
        };
        let news = News::Changed {
            from: self.policy.snapshot.clone(),
            to: policy.snapshot.clone(),
        };
        self.ledger.policy_changed(&policy.snapshot, self.now);
        self.snapshots.insert(0, policy.snapshot.clone());
        self.rates.keep_rules_of(&policy);
        self.policy = policy;
        self.policy_text = text;
        let (subject, packet) = news.packet(self.now);
        self.on_the_bus.push_back((wire::subject(subject), packet));
    }
}

#[cfg(test)]
mod tests;
