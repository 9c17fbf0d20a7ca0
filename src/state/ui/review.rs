//! The guards of the review: what you saw is what you approve.
//!
//! The review keeps a copy of what was read. `A` works once every byte of the
//! payload has been on the screen and neither policy nor request moved since; a
//! decision is bound to the copy. Start at [`Review::conditions`]; several jobs
//! that are reviewed together are a [`together::Reviews`].

use std::ops::Range;
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::action::PayloadDrawn;
use crate::state::diff;
use crate::state::effect::{Binding, Looked};
use crate::state::model::Model;
use crate::state::model::approvals::{Approval, ApprovalStatus, Check, Content, Payload};
use crate::text;
use crate::time::{Elapsed, Timestamp};

pub mod together;

/// How long `V` shows secrets.
pub const REVEALED: Elapsed = Elapsed::from_secs(10);

/// Which bytes of a payload have been on the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Ranges from, to: sorted, apart from each other.
    ranges: Vec<(u32, u32)>,
    of: u32,
}

impl Seen {
    /// Takes in what a frame showed. Says whether any of it is new.
    pub fn add(&mut self, drawn: PayloadDrawn) -> bool {
        if drawn.of != self.of {
            // Another payload: nothing of it has been seen.
            *self = Self {
                ranges: Vec::new(),
                of: drawn.of,
            };
        }
        let (from, to) = (drawn.from, drawn.to.min(drawn.of));
        if from >= to || self.ranges.iter().any(|(a, b)| *a <= from && to <= *b) {
            return false;
        }
        self.ranges.push((from, to));
        self.ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (from, to) in self.ranges.drain(..) {
            match joined.last_mut() {
                Some((_, end)) if from <= *end => *end = (*end).max(to),
                _ => joined.push((from, to)),
            }
        }
        self.ranges = joined;
        true
    }

    /// Whether all of a payload of `size` bytes has been on the screen.
    pub fn all(&self, size: u32) -> bool {
        size == 0 || (self.of == size && self.ranges == [(0, size)])
    }

    /// Bytes seen from the start without a gap.
    pub fn from_the_start(&self) -> u32 {
        match self.ranges.first() {
            Some((0, to)) => *to,
            _ => 0,
        }
    }

    /// Bytes that have been on the screen.
    pub fn bytes(&self) -> u32 {
        self.ranges.iter().map(|(from, to)| to - from).sum()
    }
}

/// What was read, kept while the review is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The job hash; `None` if the plane tells none.
    pub job_hash: Option<Arc<str>>,
    /// The policy snapshot that asked for the approval.
    pub policy_snapshot: Option<Arc<str>>,
    /// The snapshot in force when it was read.
    pub policy_in_force: Option<Arc<str>>,
    /// The SHA-256 of the payload; `None` while it is not read, or if there is none.
    pub payload_sha256: Option<Arc<str>>,
    /// The approval as it was, shown on when the plane's moves.
    pub approval: Option<Arc<Approval>>,
    /// The payload as it was.
    pub payload: Option<Arc<Payload>>,
    /// When.
    pub at: Timestamp,
}

/// A line of the payload that is not as it was before the last reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedLine {
    /// Its number, from 1.
    pub line: usize,
    /// Its bytes.
    bytes: Range<u32>,
    /// Whether its end has been on the screen.
    drawn: bool,
}

/// One condition of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it holds.
    pub met: Met,
    /// What it is, such as "policy current".
    pub text: String,
    /// Why nothing can be decided while it does not hold, and the next key.
    pub why: String,
    /// Whether `A` waits for it. The dialog asks for the rest itself.
    pub blocks_approval: bool,
    /// Whether `R` waits for it.
    pub blocks_rejection: bool,
    /// Whether all that is missing is that a payload is scrolled through.
    pub unseen: bool,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// It holds.
    Yes,
    /// Not yet; it can.
    NotYet,
    /// Something moved; a reload may help.
    Moved,
    /// It cannot be met here.
    Never,
}

/// A refusal as it stands over the review until the next reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was not done, such as "NOT APPROVED".
    pub what: &'static str,
    /// The status, code and time.
    pub code: String,
    /// What happened, what it means, the next key.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// The open review of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The job.
    pub job: JobId,
    /// Which reading this is: no two reviews or reloads of a session share one.
    pub reading: u64,
    /// What was read of it when it opened or was last reloaded.
    pub read: Read,
    /// Whether everything was read, so that `read` is what a decision is bound to.
    pub bound: bool,
    /// Whether it was read again. Then it waits for the next list of approvals, for
    /// that tells which policy and which request are judged now.
    pub reloaded: bool,
    /// The payload before the last reload, to compare with.
    before: Option<Arc<Payload>>,
    /// Lines that the last reload changed and that were not passed since.
    changed: Vec<ChangedLine>,
    /// What of its payload has been on the screen.
    pub seen: Seen,
    /// First payload row on the screen.
    pub scroll: usize,
    /// Whether the facts have the keyboard, not the payload.
    pub facts: bool,
    /// First row of the facts on the screen, where they scroll.
    pub facts_scroll: usize,
    /// Until when secrets are shown.
    pub revealed_until: Option<Timestamp>,
    /// The last refusal.
    pub refused: Option<Refused>,
    /// When it opened.
    pub opened_at: Timestamp,
}

impl Review {
    /// A review that has read nothing yet.
    pub fn open(job: JobId, reading: u64, now: Timestamp) -> Self {
        Self {
            job,
            reading,
            read: Read {
                at: now,
                ..Read::default()
            },
            bound: false,
            reloaded: false,
            before: None,
            changed: Vec::new(),
            seen: Seen::default(),
            scroll: 0,
            facts: false,
            facts_scroll: 0,
            revealed_until: None,
            refused: None,
            opened_at: now,
        }
    }

    /// Reads everything again. What was seen of the old copy says nothing about
    /// the new one; the old payload stays to be compared with.
    pub(super) fn reload(&mut self, reading: u64, now: Timestamp) {
        let again = Self::open(self.job.clone(), reading, now);
        let old = std::mem::replace(self, again);
        self.opened_at = old.opened_at;
        self.reloaded = true;
        self.before = old.read.payload.or(old.before);
    }

    /// Binds it to what the model holds, once everything about it was read.
    pub(super) fn bind(&mut self, model: &Model, now: Timestamp) {
        let approval = model.approvals.get(&self.job);
        let payload = approval
            .and_then(|it| it.context_ptr())
            .and_then(|pointer| model.approvals.payload(&self.job, pointer));
        self.read = Read {
            job_hash: approval.and_then(|it| it.fact.job_hash.clone()),
            policy_snapshot: approval.and_then(|it| it.fact.job.verdict.as_ref()?.snapshot.clone()),
            policy_in_force: model.snapshot.clone(),
            payload_sha256: payload.and_then(|it| it.sha256.clone()),
            approval: approval.cloned(),
            payload: payload.cloned(),
            at: now,
        };
        self.bound = true;
        self.changed = self.compare();
    }

    fn compare(&self) -> Vec<ChangedLine> {
        let text_of = |payload: &Option<Arc<Payload>>| match &payload.as_ref()?.content {
            Content::Text { text, .. } => Some(Arc::clone(text)),
            Content::Binary(_)
            | Content::TooLong { .. }
            | Content::Missing
            | Content::Unreadable(_) => None,
        };
        let (Some(old), Some(new)) = (text_of(&self.before), text_of(&self.read.payload)) else {
            return Vec::new();
        };
        let changed = diff::changed_lines(&old, &new);
        let mut starts = vec![0_usize];
        for line in diff::lines(&new) {
            starts.push(starts[starts.len() - 1] + line.len() + 1);
        }
        let byte = |at: usize| u32::try_from(at.min(new.len())).unwrap_or(u32::MAX);
        changed
            .into_iter()
            .map(|at| ChangedLine {
                line: at + 1,
                bytes: byte(starts[at])..byte(starts[at + 1]),
                drawn: false,
            })
            .collect()
    }

    /// Takes in what a frame showed while the review had the keyboard. The mark of
    /// a changed line goes when the line has been on the screen and left it.
    pub(super) fn drawn(&mut self, drawn: PayloadDrawn) {
        if !self.bound || drawn.reading != self.reading {
            return;
        }
        self.seen.add(drawn);
        self.changed.retain_mut(|line| {
            let on_screen = drawn.from < line.bytes.end && line.bytes.start < drawn.to;
            line.drawn |= on_screen && line.bytes.end <= drawn.to;
            on_screen || !line.drawn
        });
    }

    /// Lines of the payload that the last reload changed, until they were passed.
    pub fn changed(&self) -> impl ExactSizeIterator<Item = usize> {
        self.changed.iter().map(|line| line.line)
    }

    /// What a decision is bound to.
    pub(super) fn binding(&self) -> Binding {
        Binding {
            job_hash: self.read.job_hash.clone(),
            policy_snapshot: self.read.policy_snapshot.clone(),
            payload_sha256: self.read.payload_sha256.clone(),
        }
    }

    /// How it was looked at, for the operator's log.
    pub(super) fn looked(&self, now: Timestamp) -> Looked {
        Looked {
            payload_bytes: self.seen.bytes(),
            open_for: now.since(self.opened_at),
        }
    }

    /// What must hold of the job before `A` works, in the order of the screen; the
    /// note and what is typed come after it.
    ///
    /// `reading` says whether something about the job is still being read, `equal`
    /// whether a payload with the same bytes was seen to its end.
    pub fn conditions(&self, model: &Model, reading: bool, equal: bool) -> Vec<Condition> {
        let Some(approval) = model.approvals.get(&self.job) else {
            return vec![both(
                Met::Never,
                "no longer listed",
                "The plane no longer lists this approval. Esc returns to the queue.",
            )];
        };
        let mut conditions = Vec::new();
        if approval.fact.status != ApprovalStatus::Pending {
            let who = match approval.fact.status.is_by_a_person() {
                true => approval.fact.resolved_by.as_deref().unwrap_or("somebody"),
                false => "nobody",
            };
            let how = approval.fact.status.name();
            conditions.push(both(
                Met::Never,
                &format!("{how} by {who}"),
                &format!("It is {how} already, by {who}. Esc returns to the queue."),
            ));
        }
        if reading || !self.bound {
            conditions.push(both(Met::NotYet, "read", "It is still being read."));
            return conditions;
        }
        conditions.push(self.policy(approval, model.snapshot.as_deref()));
        conditions.push(self.request(approval));
        conditions.push(self.payload(approval, model, equal));
        conditions
    }

    /// The SHA-256 of its payload if all of it has been on the screen.
    fn seen_payload(&self) -> Option<&Arc<str>> {
        let payload = self.read.payload.as_ref()?;
        let Content::Text { text, .. } = &payload.content else {
            return None;
        };
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let seen = self.bound && payload.can_be_judged() && self.seen.all(size);
        payload.sha256.as_ref().filter(|_| seen)
    }

    fn policy(&self, approval: &Approval, current: Option<&str>) -> Condition {
        let asked = approval.fact.job.verdict.as_ref();
        let asked = asked.and_then(|it| it.snapshot.clone());
        let read_anew = asked == self.read.policy_snapshot;
        if !read_anew || approval.snapshot(current) == Check::Differs {
            let in_force = self.read.policy_in_force.as_deref();
            let before = read_anew && approval.snapshot(in_force) == Check::Differs;
            let (judged, current) = (short(self.read.policy_snapshot.as_deref()), short(current));
            let says = if before {
                format!(
                    "It was judged under policy {judged}, and {current} is in force: a yes would be refused. R rejects it; sent again, it is judged anew."
                )
            } else {
                format!(
                    "The policy moved while you read, from {judged} to {current}. r reads the job again under the new policy."
                )
            };
            return approve_only(Met::Moved, "policy moved", &says);
        }
        match approval.snapshot(current) {
            Check::Unknown => approve_only(Met::Yes, "policy unknown: the plane does not tell", ""),
            Check::Matches | Check::Differs => approve_only(Met::Yes, "policy current", ""),
        }
    }

    fn request(&self, approval: &Approval) -> Condition {
        if approval.fact.job_hash != self.read.job_hash {
            return approve_only(
                Met::Moved,
                "request changed",
                "The stored request is not the one you read. Somebody changed it. r reads it again, R rejects.",
            );
        }
        match approval.hash() {
            Check::Differs => approve_only(
                Met::Never,
                "request does not match",
                "The request in store does not hash to what policy judged. Do not approve it. R rejects.",
            ),
            Check::Unknown => approve_only(Met::Yes, "request hash unknown", ""),
            Check::Matches => approve_only(Met::Yes, "request unchanged", ""),
        }
    }

    fn payload(&self, approval: &Approval, model: &Model, equal: bool) -> Condition {
        let Some(pointer) = approval.context_ptr() else {
            return approve_only(Met::Yes, "no payload", "");
        };
        let Some(payload) = model.approvals.payload(&self.job, pointer) else {
            return approve_only(
                Met::NotYet,
                "payload",
                "The payload has not been read. r reads it again.",
            );
        };
        if payload.sha256 != self.read.payload_sha256 {
            return approve_only(
                Met::Moved,
                "payload changed",
                "The payload is not the one you read. r reads it again, R rejects.",
            );
        }
        let cannot = |why: String| {
            approve_only(
                Met::Never,
                "payload",
                &format!("{why} What cannot be read cannot be approved; R works."),
            )
        };
        match &payload.content {
            Content::Text { text, .. } if payload.can_be_judged() => {
                let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
                if self.seen.all(size) {
                    return approve_only(Met::Yes, "payload seen", "");
                }
                if equal {
                    return approve_only(Met::Yes, "payload equal to one seen", "");
                }
                let line_of = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'\n').count();
                let seen = self.seen.from_the_start() as usize;
                let seen = line_of(&text.as_bytes()[..seen.min(text.len())]);
                let of = text.lines().count();
                Condition {
                    unseen: true,
                    ..approve_only(
                        Met::NotYet,
                        &format!("payload seen to line {seen} of {of}"),
                        "Not yet: every line of the payload must have been on the screen. j and PgDn scroll.",
                    )
                }
            }
            Content::Text { .. } => cannot("The payload was not read to its end.".to_owned()),
            Content::Binary(bytes) => cannot(format!("Binary, {} bytes.", bytes.len())),
            Content::TooLong { readable } => cannot(match payload.size {
                Some(size) => format!("Only {readable} of {size} bytes can be read."),
                None => format!("Only {readable} bytes can be read."),
            }),
            Content::Missing => cannot("The payload is gone (contexts live 24 h).".to_owned()),
            Content::Unreadable(why) => cannot(format!("The payload cannot be read: {why}.")),
        }
    }

    /// Whether secrets are shown now.
    pub fn reveals(&self, now: Timestamp) -> bool {
        self.revealed_until.is_some_and(|until| now < until)
    }
}

fn both(met: Met, text: &str, why: &str) -> Condition {
    Condition {
        blocks_rejection: true,
        ..approve_only(met, text, why)
    }
}

fn approve_only(met: Met, text: &str, why: &str) -> Condition {
    Condition {
        met,
        text: text.to_owned(),
        why: why.to_owned(),
        blocks_approval: true,
        blocks_rejection: false,
        unseen: false,
    }
}

/// A condition that the dialog asks for: nothing waits for it here.
fn asked_for(met: Met, text: String) -> Condition {
    Condition {
        blocks_approval: false,
        ..approve_only(met, &text, "")
    }
}

/// The first condition that keeps a job from being approved, or rejected.
pub(super) fn blocking(conditions: &[Condition], approve: bool) -> Option<&Condition> {
    conditions.iter().find(|it| {
        let blocks = if approve {
            it.blocks_approval
        } else {
            it.blocks_rejection
        };
        blocks && it.met != Met::Yes
    })
}

fn short(snapshot: Option<&str>) -> String {
    snapshot.map_or_else(|| "unknown".to_owned(), text::digest)
}

/// Why the last four characters of the id must be typed; `None` if they need not be.
pub fn typing_reason(approval: &Approval) -> Option<&'static str> {
    if approval.is_prod() {
        return Some("tagged prod");
    }
    match approval.undo() {
        Some(Some(_)) => None,
        Some(None) => Some("no undo"),
        None => Some("undo unknown"),
    }
}

/// The last four characters of an id.
pub fn last_four(id: &JobId) -> String {
    let mut last: Vec<char> = id.as_str().chars().rev().take(4).collect();
    last.reverse();
    last.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of: u32, drawn: &[(u32, u32)], all: bool, from_the_start: u32) {
        let mut seen = Seen::default();
        for (from, to) in drawn {
            seen.add(PayloadDrawn {
                reading: 0,
                from: *from,
                to: *to,
                of,
            });
        }
        assert_eq!((seen.all(of), seen.from_the_start()), (all, from_the_start));
    }

    #[test]
    fn a_payload_is_seen_when_every_byte_was_on_the_screen() {
        check(100, &[(0, 40), (40, 100)], true, 100);
        check(100, &[(60, 100), (0, 70)], true, 100);
        check(100, &[(0, 40), (30, 60), (55, 99)], false, 99);
    }

    #[test]
    fn jumping_to_the_end_does_not_count_the_middle() {
        check(100, &[(0, 20), (80, 100)], false, 20);
        check(100, &[(0, 20), (80, 100), (20, 80)], true, 100);
    }

    #[test]
    fn an_empty_payload_counts_as_seen_and_another_one_does_not() {
        let mut seen = Seen::default();
        assert!(seen.all(0));
        seen.add(PayloadDrawn {
            reading: 0,
            from: 0,
            to: 9,
            of: 9,
        });
        assert!(seen.all(9));
        seen.add(PayloadDrawn {
            reading: 0,
            from: 0,
            to: 5,
            of: 10,
        });
        assert!(!seen.all(10) && !seen.all(9));
    }
}
