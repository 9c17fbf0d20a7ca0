//! Which jobs the ledger remembers, by all that they are found by, and which it forgets
//! to make room.

use super::keys::{PastKey, idempotency_key};
use super::{Job, Ledger};

impl Ledger {
    /// Keeps a job under all that it is found by.
    pub(super) fn keep_job(&mut self, seq: u64, job: Job) {
        self.ids.insert(job.id.clone(), seq);
        if let Some(key) = idempotency_key(&job.request) {
            self.past_keys.remove(&key);
            // A later one has it only because it took the key over.
            self.keys.insert(key, seq);
        }
        self.by_state
            .entry(job.state)
            .or_default()
            .insert((job.updated_at, seq));
        let resolved_at = job.approval.as_ref().and_then(|it| it.resolved_at);
        self.resolved.extend(resolved_at.map(|at| (at, seq)));
        if !job.request.parent_job_id.is_empty() {
            let parent = job.request.parent_job_id.clone();
            self.children.entry(parent).or_default().insert(seq);
        }
        self.jobs.insert(seq, job);
    }

    /// Forgets the job that ended longest ago. Returns whether there was one.
    pub(super) fn forget_oldest(&mut self) -> bool {
        let oldest = self
            .by_state
            .iter()
            .filter(|(state, _)| state.is_ended())
            .filter_map(|(state, index)| index.first().map(|key| (*key, *state)))
            .min();
        let Some(((at, seq), state)) = oldest else {
            return false;
        };
        if let Some(index) = self.by_state.get_mut(&state) {
            index.remove(&(at, seq));
        }
        if let Some(job) = self.jobs.remove(&seq) {
            self.notes.forgotten(seq, &job);
            self.ids.remove(&job.id);
            // A retry may have taken the key over.
            if let Some(key) = idempotency_key(&job.request)
                && self.keys.get(&key) == Some(&seq)
            {
                self.keys.remove(&key);
                let dropped = self.past_keys.keep(key, PastKey::of(&job));
                self.counters.forgotten_keys += u64::from(dropped);
            }
            let parent = &job.request.parent_job_id;
            if let Some(siblings) = self.children.get_mut(parent) {
                siblings.remove(&seq);
                if siblings.is_empty() {
                    self.children.remove(parent);
                }
            }
            if let Some(at) = job.approval.and_then(|approval| approval.resolved_at) {
                self.resolved.remove(&(at, seq));
            }
        }
        self.counters.forgotten_jobs += 1;
        true
    }
}
