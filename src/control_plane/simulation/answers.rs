//! What the simulated plane's gateway would answer, as the same JSON.
//!
//! Many facts never travel on the bus (decisions, approvals, timeouts), so a
//! picture of the console needs both: what was heard, and these.

use serde_json::{Value, json};

use super::{START, Simulation};
use crate::control_plane::gateway::policy;
use crate::control_plane::gateway::types::{self, Payloads};
use crate::control_plane::ledger::{DecisionsQuery, JobsQuery};
use crate::ids::JobId;

impl Simulation {
    /// The answer to `GET /api/v1/jobs`: at most `limit` jobs, the last changed first.
    pub fn jobs_answer(&self, limit: usize) -> Value {
        let jobs = self.ledger.jobs(JobsQuery::default()).take(limit);
        let items: Vec<Value> = jobs.map(types::job_record).collect();
        json!({ "items": items, "next_cursor": null })
    }

    /// The answer to `GET /api/v1/jobs/{id}`; `None` stands for a 404.
    pub fn job_answer(&self, id: &JobId) -> Option<Value> {
        let job = self.ledger.job(id)?;
        let payloads = Payloads {
            context: self.readable(&job.request.context_ptr),
            result: self.readable(&job.result_ptr),
        };
        Some(types::job_detail(&self.ledger, job, payloads))
    }

    /// The answer to `GET /api/v1/jobs/{id}/decisions`; `None` stands for a 404.
    pub fn decisions_answer(&self, id: &JobId) -> Option<Value> {
        let job = self.ledger.job(id)?;
        let records = job.decisions.iter().rev();
        let records = records.map(|record| types::decision_record(job, record));
        Some(records.collect())
    }

    /// The answer to `GET /api/v1/approvals`: waiting ones, the oldest first, then
    /// those that were decided, the latest first.
    pub fn approvals_answer(&self) -> Value {
        let waiting = self.ledger.waiting_approvals();
        let all = waiting.chain(self.ledger.resolved_approvals());
        let items: Vec<Value> = all
            .filter_map(|job| {
                let approval = job.approval.as_ref()?;
                Some(types::approval_item(&self.ledger, job, approval))
            })
            .collect();
        json!({ "items": items, "next_cursor": null })
    }

    /// The answer to `GET /api/v1/governance/decisions`: at most `limit` evaluations,
    /// the newest first.
    pub fn decision_log_answer(&self, limit: usize) -> Value {
        let log = self.ledger.decisions(DecisionsQuery::default()).take(limit);
        let items: Vec<Value> = log
            .map(|logged| types::governance::logged_item(&self.ledger, logged))
            .collect();
        let since = self.ledger.decided_since(START).as_micros();
        json!({ "items": items, "next_cursor": null, "record_since": since })
    }

    /// The answer to `GET /api/v1/dlq`: at most `limit` dead letters, the newest first.
    pub fn dead_letters_answer(&self, limit: usize) -> Value {
        let letters = self.ledger.dead_letters().take(limit);
        let items: Vec<Value> = letters.map(types::dead_letter_item).collect();
        json!({ "items": items })
    }

    /// The answer to `GET /api/v1/rollbacks`: at most `limit`, the last failure first.
    pub fn rollbacks_answer(&self, limit: usize) -> Value {
        let begun = self.ledger.begun_rollbacks();
        let items: Vec<Value> = begun
            .iter()
            .take(limit)
            .map(|rollback| types::governance::rollback_item(&self.ledger, rollback))
            .collect();
        json!({ "items": items })
    }

    /// The answer to `GET /api/v1/workers`.
    pub fn workers_answer(&self) -> Value {
        let workers = self.ledger.fleet().iter();
        let items: Vec<Value> = workers
            .map(|(id, worker)| types::worker_item(id, worker, self.now))
            .collect();
        json!({ "items": items })
    }

    /// The answer to `GET /api/v1/pools`.
    pub fn pools_answer(&self) -> Value {
        let pools = self.ledger.pools();
        let pools = pools.iter().map(|pool| {
            let mapped: Vec<String> = self
                .routes
                .iter()
                .filter(|(_, pools)| pools.contains(&pool.name))
                .map(|(topic, _)| topic.to_owned())
                .collect();
            types::pool_item(pool, &mapped)
        });
        pools.collect()
    }

    /// The answer to `GET /api/v1/policy/rules`.
    pub fn rules_answer(&self) -> Value {
        policy::listed(self.policy())
    }

    /// The answer to `GET /api/v1/status` as far as it tells of policy.
    pub fn status_answer(&self) -> Value {
        json!({
            "kernel": { "ok": true },
            "circuit_breakers": {
                "input": types::governance::breaker_item(self.ledger.breaker(), self.now),
            },
            "fail_mode": if self.ledger.fails_open() { "open" } else { "closed" },
        })
    }

    /// The answer to `GET /api/v1/policy/snapshots`.
    pub fn snapshots_answer(&self) -> Value {
        json!({ "snapshots": self.snapshots })
    }

    /// A stored payload as a detail shows it: JSON if it is JSON, else text.
    fn readable(&self, pointer: &str) -> Value {
        let key = pointer.strip_prefix("redis://").unwrap_or(pointer);
        let Some(bytes) = self.payload(key) else {
            return Value::Null;
        };
        serde_json::from_slice(bytes)
            .or_else(|_| std::str::from_utf8(bytes).map(Value::from))
            .unwrap_or_default()
    }
}
