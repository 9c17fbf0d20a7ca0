//! What is known of the deployment: one slice a subject, one [`Model::apply`].

use std::sync::Arc;

use crate::state::effect::{EffectId, Outcome};
use crate::state::event::{Event, Heard, Route, Source, Unreadable};
use crate::time::Timestamp;
use crate::wire::packet::Body;

pub mod alerts;
pub mod approvals;
pub mod compensations;
pub mod decisions;
pub mod jobs;
pub mod letters;
pub mod link;
pub mod packets;
pub mod pipeline;
pub mod policy;
pub mod pools;
pub mod rollbacks;
pub mod senders;
pub mod traces;
pub mod traffic;
pub mod what_if;
pub mod workers;

use workers::{Standing, Worker};

/// All slices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The jobs.
    pub jobs: jobs::Jobs,
    /// How many of them stood where in the last minutes.
    pub pipeline: pipeline::Pipeline,
    /// The workers.
    pub workers: workers::Workers,
    /// What the plane says about pools; see [`Model::pools_at`].
    pub pools: pools::Pools,
    /// The approvals.
    pub approvals: approvals::Approvals,
    /// What policy decided lately.
    pub decisions: decisions::Decisions,
    /// What was undone lately.
    pub rollbacks: rollbacks::Rollbacks,
    /// Jobs that could not be done.
    pub letters: letters::Letters,
    /// The alerts of the bus.
    pub alerts: alerts::Alerts,
    /// Who speaks on the bus.
    pub senders: senders::Senders,
    /// The last packets about jobs.
    pub packets: packets::Packets,
    /// How much is heard.
    pub traffic: traffic::Traffic,
    /// The lines to our servers.
    pub links: link::Links,
    /// What policy says, and how its kernel is.
    pub policy: policy::Policy,
    /// The policy snapshot that is in force; `None` if nobody told.
    pub snapshot: Option<Arc<str>>,
    /// What policy would say of undoing jobs.
    pub compensations: compensations::Compensations,
    /// Records of the store that could not be read.
    pub unreadable: Unreadable,
}

/// When what a change tells of happened: what a plane tells of jobs from before we came
/// is no traffic of now.
#[derive(Clone, Copy)]
struct Moments {
    arrived: Timestamp,
    ended: Timestamp,
    decided: Timestamp,
}

impl Moments {
    fn all(at: Timestamp) -> Self {
        Self {
            arrived: at,
            ended: at,
            decided: at,
        }
    }

    /// As far as the plane says; a clock that is ahead puts nothing into the future.
    fn told(fact: &jobs::JobFact, now: Timestamp) -> Self {
        let ended = fact.updated_at.unwrap_or(now).min(now);
        Self {
            arrived: fact.created_at.unwrap_or(ended).min(now),
            ended,
            decided: fact.decided_at.unwrap_or(ended).min(now),
        }
    }
}

impl Model {
    /// Takes in one event at `now`.
    pub fn apply(&mut self, event: &Event, now: Timestamp) {
        self.advance(now);
        match event {
            Event::Packet(heard) => self.heard(heard, now),
            Event::Malformed(broken) => {
                self.links.heard(Source::Bus, now);
                self.traffic.broken(broken, now);
                self.senders.broken(now);
            }
            Event::Link(source, state) => self.links.changed(*source, state, now),
            Event::Answered(source) => self.links.heard(*source, now),
            Event::Requests(sent) => self.links.sent(*sent, now),
            Event::Jobs(facts) => {
                for fact in facts {
                    self.told(fact, now);
                }
            }
            Event::Workers(facts) => {
                for fact in facts {
                    self.workers.told(fact, now, &self.links.hearing);
                }
            }
            Event::Pools(facts) => self.pools.told(facts),
            Event::DeadLetters(facts) => self.letters.told(facts, now),
            Event::Rollbacks(facts) => self.rollbacks.told(facts, now),
            Event::Policy(snapshot) => {
                self.policy.in_force(snapshot, now);
                self.snapshot = Some(Arc::clone(snapshot));
            }
            Event::PolicyTold(fact) => self.policy.learn(fact, now),
            Event::Explained(explanation) => self.policy.explain(explanation),
            Event::CompensationJudged(judged) => self.compensations.learn(judged),
            Event::Tried(what_if) => self.policy.tried(what_if, now),
            Event::Approvals(facts) => {
                for fact in facts {
                    let job = self.jobs.get(&fact.job.id);
                    let is_known = job.is_some_and(|job| job.verdict.is_some());
                    self.told(&fact.of_job(is_known), now);
                }
                self.approvals.told(facts, &self.jobs, now);
            }
            Event::Unreadable(unreadable) => self.unreadable = unreadable.clone(),
            Event::Payload(payload) => self.approvals.read(payload),
            Event::Outcome(id, outcome) => self.ended(*id, outcome, now),
            Event::User(_) | Event::Tick => {}
        }
    }

    /// Lets time pass up to `now`. What is derived from time needs none of this;
    /// only the order of the jobs, and how many stood where, know of it.
    pub fn advance(&mut self, now: Timestamp) {
        self.pipeline.advance(&self.jobs, now);
        self.jobs.advance(now);
    }

    /// How a worker stands at `now`.
    pub fn standing(&self, worker: &Worker, now: Timestamp) -> Standing {
        let stalled = self.jobs.of_worker(&worker.id).any(|job| job.stalled);
        let drains = self.pools.drains(worker.pool.as_ref());
        worker.standing(now, &self.links.hearing, stalled, drains)
    }

    /// The pools at `now`, by name.
    pub fn pools_at(&self, now: Timestamp) -> Vec<pools::Pool> {
        pools::at(self, now)
    }

    /// The one of `pools` that takes jobs of `topic`; `None` if none of them does.
    pub fn pool_taking<'a>(
        &self,
        topic: &str,
        pools: &'a [pools::Pool],
    ) -> Option<&'a pools::Pool> {
        pools::taking(self, topic, pools)
    }

    /// Everything that was lost for want of room, jobs first of all.
    pub fn forgotten(&self) -> u64 {
        self.jobs.dropped()
            + self.workers.dropped()
            + self.alerts.dropped()
            + self.approvals.dropped()
            + self.rollbacks.dropped()
            + self.letters.dropped()
    }

    fn heard(&mut self, heard: &Heard, now: Timestamp) {
        self.links.heard(Source::Bus, now);
        self.traffic.heard(heard, now);
        self.senders.heard(&heard.packet, now);
        match (&heard.route, &heard.packet.body) {
            (Route::Heartbeat, Body::Heartbeat(beat)) => {
                let hearing = &self.links.hearing;
                self.workers.beat(beat, &heard.packet, now, hearing);
            }
            (Route::Alert, Body::Alert(alert)) => self.alerts.heard(alert, &heard.packet, now),
            _ => {
                self.packets.heard(heard, now);
                if heard.route == Route::DeadLetter {
                    self.letters.heard(&heard.packet, now);
                }
                if let Some(change) = self.jobs.heard(heard, now) {
                    self.changed(&change, Moments::all(now), now);
                }
            }
        }
    }

    fn told(&mut self, fact: &jobs::JobFact, now: Timestamp) {
        if let Some(change) = self.jobs.told(fact, now) {
            self.changed(&change, Moments::told(fact, now), now);
        }
    }

    fn changed(&mut self, change: &jobs::Change, moments: Moments, now: Timestamp) {
        self.pools.changed(change, moments.arrived, moments.ended);
        if let Some(decision) = change.decided
            && let Some(job) = self.jobs.get(&change.id)
        {
            let verdict = job.verdict.as_ref();
            let reason = verdict.and_then(|verdict| verdict.reason.as_deref());
            if !policy::is_grant(decision, reason) {
                self.decisions.judged(decision, moments.decided);
                let rule = verdict.and_then(|verdict| verdict.rule_id.clone());
                self.policy.judged(&rule, decision, moments.decided);
            }
        }
        if (change.new || change.from != change.to || change.asked)
            && let Some(job) = self.jobs.get(&change.id)
        {
            self.rollbacks.changed(job);
        }
        if change.from == Some(jobs::JobState::ApprovalRequired)
            && let Some(to) = change.to
        {
            let job = self.jobs.get(&change.id);
            let rejected = job.is_some_and(|job| job.was_rejected());
            self.approvals.job_moved(&change.id, to, rejected, now);
        }
    }

    /// Takes the mark of an effect from its job: what was refused or failed is no
    /// longer pending, what was done is until the job shows it.
    fn ended(&mut self, id: EffectId, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Outcome::Done(_) => self.jobs.answered(id, Some(now)),
            Outcome::Refused(_) | Outcome::Failed { .. } | Outcome::TimedOut => {
                self.jobs.answered(id, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;
    use crate::state::model::jobs::{Decision, JobFact, JobState, Request, Verdict};
    use crate::time::Elapsed;

    /// What a model says of five minutes when a job that is `age_s` old is told.
    fn told(age_s: u64) -> [u64; 3] {
        let now = Timestamp::from_millis(10_000_000);
        let then = now.minus(Elapsed::from_secs(age_s));
        let fact = JobFact {
            id: JobId::from("j1"),
            state: Some(JobState::Succeeded),
            updated_at: Some(then),
            created_at: Some(then),
            request: Some(Request {
                topic: Some("job.gpu.train".into()),
                ..Request::default()
            }),
            verdict: Some(Verdict {
                decision: Some(Decision::Allow),
                ..Verdict::default()
            }),
            ..JobFact::default()
        };
        let mut model = Model::default();
        model.apply(&Event::Jobs(vec![fact]), now);
        let later = now.plus(Elapsed::from_secs(20));
        model.advance(later);
        let pools = model.pools_at(later);
        let sum = |of: fn(&pools::Pool) -> u32| pools.iter().map(|it| u64::from(of(it))).sum();
        [
            model.decisions.lately(Decision::Allow, later),
            sum(|pool| pool.arrived),
            sum(|pool| pool.ended),
        ]
    }

    #[test]
    fn what_a_plane_tells_of_jobs_from_before_is_no_traffic_of_now() {
        assert_eq!(told(5), [1, 1, 1]);
        assert_eq!(told(120), [1, 0, 0], "a minute of jobs, five of decisions");
        assert_eq!(told(3_600), [0, 0, 0]);
    }

    #[test]
    fn a_yes_of_a_person_is_no_hit_of_the_rule_that_asked() {
        let now = Timestamp::from_millis(10_000_000);
        let mut model = Model::default();
        for (state, decision, reason) in [
            (
                JobState::ApprovalRequired,
                Decision::RequireApproval,
                "prod",
            ),
            (JobState::Pending, Decision::Allow, "approval granted"),
        ] {
            let fact = JobFact {
                id: JobId::from("j1"),
                state: Some(state),
                verdict: Some(Verdict {
                    decision: Some(decision),
                    rule_id: Some("hold".into()),
                    reason: Some(reason.into()),
                    ..Verdict::default()
                }),
                ..JobFact::default()
            };
            model.apply(&Event::Jobs(vec![fact]), now);
        }
        let rows = model.policy.rows();
        let hold = rows.iter().find(|row| row.id.as_deref() == Some("hold"));
        let counts = hold.expect("a row").counts;
        let lately = Decision::ALL.iter();
        let lately = lately.map(|it| model.decisions.lately(*it, now));
        assert!(lately.eq(counts), "nor is it a decision of policy");
        assert_eq!(counts[Decision::RequireApproval as usize], 1);
        assert_eq!(counts.iter().sum::<u64>(), 1);
    }
}
