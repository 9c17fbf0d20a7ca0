//! The lines that jobs stand in, and the alarms that call them up.

use crate::control_plane::ledger::approval::ANNOUNCEMENT;
use crate::control_plane::ledger::fleet::{self, Demands};
use crate::control_plane::ledger::job::Phase;
use crate::control_plane::ledger::{Ledger, Line, rank};
use crate::time::Timestamp;

impl Ledger {
    pub(super) fn free_slot(&mut self, seq: u64, now: Timestamp) {
        if let Some(worker) = self.at_mut(seq).slot.take()
            && let Some(freed) = self.fleet.take_back(&worker)
        {
            self.call_up(&freed, now);
        }
    }

    /// Wakes as many jobs of a line as there is room for now, past those that ask for what
    /// the worker with room does not have.
    pub(in crate::control_plane::ledger) fn call_up(
        &mut self,
        freed: &fleet::Freed,
        now: Timestamp,
    ) {
        if freed.joined {
            for seq in std::mem::take(&mut self.homeless) {
                self.at_mut(seq).line = None;
                self.alarm(seq, Some(now));
            }
        }
        let may = |seq: &u64| {
            let request = self.jobs.get(seq).map(|job| &job.request);
            request.is_some_and(|it| self.fleet.meets(&freed.worker, Demands::of(it)))
        };
        let line = self.lines.get(&freed.pool).into_iter().flatten();
        let turn: Vec<u64> = line
            .map(|(_, seq)| *seq)
            .filter(may)
            .take(freed.slots as usize)
            .collect();
        for seq in turn {
            self.leave_line(seq);
            // Its turn has come, so the tries before it are forgiven.
            self.at_mut(seq).placement_tries = 0;
            self.alarm(seq, Some(now));
        }
    }

    pub(super) fn leave_line(&mut self, seq: u64) {
        let job = self.at_mut(seq);
        let rank = rank(job.request.priority);
        match job.line.take() {
            None => {}
            Some(Line::Homeless) => {
                self.homeless.remove(&seq);
            }
            Some(Line::Pools(pools)) => {
                for pool in pools {
                    if let Some(line) = self.lines.get_mut(&pool) {
                        line.remove(&(rank, seq));
                        if line.is_empty() {
                            self.lines.remove(&pool);
                        }
                    }
                }
            }
        }
    }

    /// Lets a job wait for its announcement on the bus.
    pub(in crate::control_plane::ledger) fn hold(&mut self, seq: u64, now: Timestamp) {
        let job = self.at_mut(seq);
        job.held = true;
        job.phase = Phase::Unchecked;
        self.alarm(seq, Some(now.plus(ANNOUNCEMENT)));
    }

    /// Lets a job go on now.
    pub(in crate::control_plane::ledger) fn wake(&mut self, seq: u64, now: Timestamp) {
        self.at_mut(seq).held = false;
        self.alarm(seq, Some(now));
    }

    /// Lets a job rest until its deadline, or for ever.
    pub(in crate::control_plane::ledger) fn rest(&mut self, seq: u64) {
        self.alarm(seq, None);
    }

    pub(in crate::control_plane::ledger) fn alarm(&mut self, seq: u64, at: Option<Timestamp>) {
        let job = self.at_mut(seq);
        let deadline = job.deadline_at.filter(|_| !job.state.is_ended());
        let at = [at, deadline].into_iter().flatten().min();
        let old = std::mem::replace(&mut job.alarm, at);
        if let Some(old) = old {
            self.alarms.remove(&(old, seq));
        }
        if let Some(at) = at {
            self.alarms.insert((at, seq));
        }
    }

    /// Stops counting on workers that fell silent.
    pub(in crate::control_plane) fn lose_silent_workers(&mut self, now: Timestamp) {
        self.fleet.lose_silent(now);
    }
}
