//! Approvals: jobs that wait for a person, as a gateway or the store lists them.
//!
//! They do not travel on the bus, so this is the plane's last answer. What an
//! approval costs while it waits is computed from the jobs that are known. What
//! is behind its pointer is read by the runtime and kept here, with its digest:
//! it is what the decision is bound to.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::{JobFact, JobState, Jobs, Request, Undo, Verdict};
use crate::state::shared::Text;
use crate::time::{Elapsed, Timestamp};

pub mod alike;
mod payload;

pub use payload::{Content, Payload};

/// How an approval stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApprovalStatus {
    /// It waits for a person.
    #[default]
    Pending,
    /// A person said yes.
    Approved,
    /// A person said no.
    Rejected,
    /// Its deadline passed and nobody decided.
    Expired,
    /// The policy or the request changed under it and nobody decided.
    Invalidated,
    /// The plane mended its record.
    Repaired,
}

impl ApprovalStatus {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Expired,
        Self::Invalidated,
        Self::Repaired,
    ];

    /// The name in JSON and in filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
            Self::Repaired => "repaired",
        }
    }

    /// Reads [`Self::name`].
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.name() == name)
    }

    /// Whether a person ended it: nobody decided what expired or was invalidated.
    pub fn is_by_a_person(self) -> bool {
        matches!(self, Self::Approved | Self::Rejected)
    }
}

/// An approval as the plane gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalFact {
    /// The job that waits, with its request and verdict.
    pub job: JobFact,
    /// The plane's last decision about the job, where it tells that apart from the one
    /// that asked for a person.
    pub stands: Option<Verdict>,
    /// How it stands.
    pub status: ApprovalStatus,
    /// The hash that policy judged.
    pub job_hash: Text,
    /// The hash of the request that is stored now, computed by this console;
    /// `None` if the plane does not show the request.
    pub own_hash: Text,
    /// The reference that the plane gives it.
    pub approval_ref: Text,
    /// Who submitted the job, as the plane names it.
    pub submitted_by: Text,
    /// Who decided.
    pub resolved_by: Text,
    /// The note or the reason.
    pub resolved_comment: Text,
    /// When it was decided, by the plane's clock.
    pub resolved_at: Option<Timestamp>,
    /// Why it can no longer be decided, in the plane's word; `None` while it can.
    pub not_actionable: Text,
}

impl ApprovalFact {
    /// What it tells of the job itself, of which a verdict `is_known` or not. Once
    /// somebody decided, policy's question is history.
    pub(super) fn of_job(&self, is_known: bool) -> Cow<'_, JobFact> {
        if self.status == ApprovalStatus::Pending || (self.stands.is_none() && !is_known) {
            return Cow::Borrowed(&self.job);
        }
        Cow::Owned(JobFact {
            verdict: self.stands.clone(),
            decided_at: self.job.decided_at.filter(|_| self.stands.is_some()),
            ..self.job.clone()
        })
    }
}

/// Whether the stored request is the one that policy judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is.
    Matches,
    /// It is not.
    Differs,
    /// The plane does not tell enough.
    Unknown,
}

impl Check {
    /// As JSON has it.
    pub fn as_bool(self) -> Option<bool> {
        match self {
            Self::Matches => Some(true),
            Self::Differs => Some(false),
            Self::Unknown => None,
        }
    }

    fn of(a: Option<&str>, b: Option<&str>) -> Self {
        match (a, b) {
            (Some(a), Some(b)) if a == b => Self::Matches,
            (Some(_), Some(_)) => Self::Differs,
            (None, _) | (_, None) => Self::Unknown,
        }
    }
}

/// An approval as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// What the plane said last.
    pub fact: ApprovalFact,
    /// Since when it waits: the plane's stamp, else when it was listed first.
    pub since: Timestamp,
    /// When the plane said it.
    pub told_at: Timestamp,
    /// How often what a decision is bound to has changed since it was listed
    /// first: request, hash, snapshot, pointer.
    pub revision: u32,
}

impl Approval {
    /// The job.
    pub fn id(&self) -> &JobId {
        &self.fact.job.id
    }

    /// How long it waits, or waited.
    pub fn wait(&self, now: Timestamp) -> Elapsed {
        self.fact.resolved_at.unwrap_or(now).since(self.since)
    }

    /// The time left to its deadline; `None` without one, zero when it has passed.
    pub fn time_left(&self, now: Timestamp) -> Option<Elapsed> {
        Some(self.deadline()?.since(now))
    }

    /// When its time is up; `None` without a deadline.
    pub fn deadline(&self) -> Option<Timestamp> {
        let request = self.fact.job.request.as_ref()?;
        request.deadline(self.fact.job.created_at.unwrap_or(self.since))
    }

    /// How close the deadline is: 0 under five minutes, 1 under fifteen, 2 beyond
    /// or without one.
    pub fn sla_band(&self, now: Timestamp) -> u8 {
        match self.time_left(now) {
            Some(left) if left.as_secs() < 300 => 0,
            Some(left) if left.as_secs() < 900 => 1,
            Some(_) | None => 2,
        }
    }

    /// Whether the stored request is the one that policy judged.
    pub fn hash(&self) -> Check {
        Check::of(self.fact.job_hash.as_deref(), self.fact.own_hash.as_deref())
    }

    /// Whether `current` is the snapshot that asked for the approval.
    pub fn snapshot(&self, current: Option<&str>) -> Check {
        let asked = self.fact.job.verdict.as_ref();
        Check::of(asked.and_then(|it| it.snapshot.as_deref()), current)
    }

    /// The job that would undo it: known, known to be none, or not known.
    pub fn undo(&self) -> Option<Option<&Arc<Undo>>> {
        let request = self.fact.job.request.as_ref()?;
        match &request.undo {
            Some(undo) => Some(Some(undo)),
            None if request.complete => Some(None),
            None => None,
        }
    }

    /// Whether it is tagged as production.
    pub fn is_prod(&self) -> bool {
        self.fact
            .job
            .request
            .as_ref()
            .is_some_and(|request| request.risk_tags.iter().any(|tag| &**tag == "prod"))
    }

    /// Where its payload is; `None` if it carries none or the plane does not say.
    pub fn context_ptr(&self) -> Option<&Arc<str>> {
        self.fact.job.request.as_ref()?.context_ptr.as_ref()
    }

    fn bound_to(&self) -> impl PartialEq + use<> {
        let request = self.fact.job.request.as_ref();
        let snapshot = self
            .fact
            .job
            .verdict
            .as_ref()
            .and_then(|it| it.snapshot.clone());
        (
            self.fact.job_hash.clone(),
            self.fact.own_hash.clone(),
            snapshot,
            request.and_then(|it| it.context_ptr.clone()),
        )
    }
}

/// The approvals that are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Approvals {
    rows: BTreeMap<JobId, Arc<Approval>>,
    waiting: usize,
    payloads: Vec<Arc<Payload>>,
    told_at: Option<Timestamp>,
    dropped: u64,
}

impl Approvals {
    /// How many wait for a person.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// When the plane was asked last and answered; `None` if never.
    pub fn told_at(&self) -> Option<Timestamp> {
        self.told_at
    }

    /// Ended approvals that were forgotten because [`limits::DECIDED`] were kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// An approval by its job.
    pub fn get(&self, id: &JobId) -> Option<&Arc<Approval>> {
        self.rows.get(id)
    }

    /// All approvals, waiting and ended, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Approval>> {
        self.rows.values()
    }

    /// Those that wait, the dearest first: nearest deadline band, most jobs held,
    /// most slots held by them, longest wait.
    pub fn by_cost(&self, jobs: &Jobs, now: Timestamp) -> Vec<&Arc<Approval>> {
        let mut rows: Vec<_> = self
            .rows
            .values()
            .filter(|row| row.fact.status == ApprovalStatus::Pending)
            .collect();
        rows.sort_by_cached_key(|row| {
            let held = held(row, jobs).unwrap_or(0);
            (
                row.sla_band(now),
                Reverse(held),
                Reverse(holds_a_slot(row, jobs)),
                row.since,
                row.id().clone(),
            )
        });
        rows
    }

    /// Those that ended, the last one first.
    pub fn ended(&self) -> Vec<&Arc<Approval>> {
        let mut rows: Vec<_> = self
            .rows
            .values()
            .filter(|row| row.fact.status != ApprovalStatus::Pending)
            .collect();
        rows.sort_by_key(|row| {
            let at = row.fact.resolved_at.unwrap_or(row.told_at);
            (Reverse(at), row.id().clone())
        });
        rows
    }

    /// What was last read behind a pointer of a job.
    pub fn payload(&self, job: &JobId, pointer: &str) -> Option<&Arc<Payload>> {
        self.payloads
            .iter()
            .find(|payload| payload.job == *job && &*payload.pointer == pointer)
    }

    pub(crate) fn read(&mut self, payload: &Payload) {
        self.payloads
            .retain(|kept| kept.job != payload.job || kept.pointer != payload.pointer);
        if self.payloads.len() >= limits::PAYLOADS {
            self.payloads.remove(0);
        }
        self.payloads.push(Arc::new(payload.clone()));
    }

    /// Takes in a whole list. What waited and is not listed any more has ended,
    /// and how is only known once the plane tells about the job.
    pub(crate) fn told(&mut self, facts: &[ApprovalFact], jobs: &Jobs, at: Timestamp) {
        self.told_at = Some(at);
        let mut listed = std::collections::BTreeSet::new();
        for fact in facts.iter().filter(|fact| !fact.job.id.is_empty()) {
            listed.insert(&fact.job.id);
            let known = self.rows.get(&fact.job.id).map(|row| &row.fact);
            let mut fact = fact.clone();
            keep_known(&mut fact, known, jobs);
            self.tell(&fact, at);
        }
        self.rows
            .retain(|id, row| row.fact.status != ApprovalStatus::Pending || listed.contains(id));
        self.recount();
    }

    /// A job that came out of APPROVAL_REQUIRED no longer waits, whatever the last
    /// list said. A denial is only a rejection if it `is_rejection`: it is also how a
    /// plane ends what a new policy no longer allows, and then nobody decided.
    pub(crate) fn job_moved(
        &mut self,
        id: &JobId,
        to: JobState,
        is_rejection: bool,
        at: Timestamp,
    ) {
        if to == JobState::Denied && !is_rejection {
            // It has ended, and how is known once the plane tells.
            self.rows
                .retain(|row, it| row != id || it.fact.status != ApprovalStatus::Pending);
            return self.recount();
        }
        let Some(row) = self.rows.get_mut(id) else {
            return;
        };
        if row.fact.status != ApprovalStatus::Pending || to == JobState::ApprovalRequired {
            return;
        }
        let row = Arc::make_mut(row);
        row.fact.resolved_at = Some(at);
        row.fact.status = match to {
            JobState::Denied => ApprovalStatus::Rejected,
            JobState::Timeout => ApprovalStatus::Expired,
            JobState::Cancelled | JobState::Failed => ApprovalStatus::Invalidated,
            JobState::Pending
            | JobState::ApprovalRequired
            | JobState::Scheduled
            | JobState::Dispatched
            | JobState::Running
            | JobState::Retrying
            | JobState::Succeeded
            | JobState::OutputQuarantined => ApprovalStatus::Approved,
        };
        self.recount();
    }

    fn tell(&mut self, fact: &ApprovalFact, at: Timestamp) {
        let since = fact.job.updated_at.unwrap_or(at).min(at);
        match self.rows.get_mut(&fact.job.id) {
            Some(row) if row.fact == *fact => Arc::make_mut(row).told_at = at,
            Some(row) => {
                let row = Arc::make_mut(row);
                let before = row.bound_to();
                if fact.status == ApprovalStatus::Pending
                    && row.fact.status != ApprovalStatus::Pending
                {
                    row.since = since;
                }
                row.fact = fact.clone();
                row.told_at = at;
                if row.bound_to() != before {
                    row.revision += 1;
                }
            }
            None => {
                let row = Approval {
                    fact: fact.clone(),
                    since: if fact.status == ApprovalStatus::Pending {
                        since
                    } else {
                        fact.job.created_at.unwrap_or(since)
                    },
                    told_at: at,
                    revision: 0,
                };
                self.rows.insert(fact.job.id.clone(), Arc::new(row));
            }
        }
    }

    fn recount(&mut self) {
        self.waiting = self
            .rows
            .values()
            .filter(|row| row.fact.status == ApprovalStatus::Pending)
            .count();
        let ended = self.rows.len() - self.waiting;
        if ended > limits::DECIDED {
            let forget: Vec<JobId> = self
                .ended()
                .iter()
                .skip(limits::DECIDED)
                .map(|row| row.id().clone())
                .collect();
            self.dropped += forget.len() as u64;
            for id in forget {
                self.rows.remove(&id);
            }
        }
    }
}

/// Keeps what was known and is not told this time: a list tells less of a request than
/// the page of its job, which is read only while a person can decide. What is told
/// counts more, and a whole request leaves nothing to be kept.
fn keep_known(fact: &mut ApprovalFact, known: Option<&ApprovalFact>, jobs: &Jobs) {
    if let Some(told) = &fact.job.request
        && told.complete
    {
        return;
    }
    let by_its_job = || jobs.get(&fact.job.id)?.request.as_deref();
    let known_request = known
        .and_then(|known| known.job.request.as_ref())
        .filter(|known| known.complete)
        .or_else(by_its_job);
    if let Some(known) = known_request {
        let request = fact.job.request.get_or_insert_with(Request::default);
        request.fill(known);
    }
    // The hash is of what is stored now: kept only where nothing can be decided by it.
    let over = fact.status != ApprovalStatus::Pending || fact.not_actionable.is_some();
    if let (true, None, Some(known)) = (over, &fact.own_hash, known) {
        fact.own_hash.clone_from(&known.own_hash);
    }
}

/// Jobs that an approval holds up: the one that asked for it while it runs, and the
/// later steps of its workflow that are known and have not ended. `None` if the
/// plane does not say whether it belongs to a workflow.
pub fn held(approval: &Approval, jobs: &Jobs) -> Option<u32> {
    let request = approval.fact.job.request.as_ref()?;
    let parent = request
        .parent
        .as_ref()
        .and_then(|parent| jobs.get(parent))
        .filter(|parent| !parent.is_ended());
    let later = request.workflow_id.as_deref().map_or(0, |workflow| {
        jobs.of_workflow(workflow)
            .filter(|job| job.id != *approval.id() && !job.is_ended())
            .filter(|job| {
                job.request
                    .as_ref()
                    .is_some_and(|it| it.step_index > request.step_index)
            })
            .count()
    });
    if !request.complete && request.workflow_id.is_none() && parent.is_none() {
        return None;
    }
    let later = u32::try_from(later).unwrap_or(u32::MAX);
    Some(later.saturating_add(u32::from(parent.is_some())))
}

/// Whether the job that asked for it keeps a slot of a worker while it waits.
fn holds_a_slot(approval: &Approval, jobs: &Jobs) -> bool {
    let request = approval.fact.job.request.as_ref();
    let parent = request.and_then(|request| jobs.get(request.parent.as_ref()?));
    parent.is_some_and(|parent| parent.state.is_some_and(JobState::is_with_worker))
}

#[cfg(test)]
mod tests {
    use crate::state::script;

    /// Ids of what waits, the dearest first, then of what ended with how.
    fn check(events: &str, expected: &str) {
        let state = script::run(events).expect("a script");
        let approvals = &state.model.approvals;
        let mut words: Vec<String> = approvals
            .by_cost(&state.model.jobs, state.now)
            .iter()
            .map(|row| row.id().to_string())
            .collect();
        let ended = approvals.ended();
        words.extend(
            ended
                .iter()
                .map(|row| format!("{}:{}", row.id(), row.fact.status.name())),
        );
        assert_eq!(words.join(" "), expected, "{events}");
    }

    #[test]
    fn the_dearest_waits_first_by_deadline_jobs_held_slots_and_wait() {
        let parents = "0s submit p topic=job.a | 0s submit q topic=job.a | 1s dispatch q w1 topic=job.a | 1s progress q 5%";
        // One answer of a gateway holds one approval in a script, so each stands alone
        // here and the order is asked of the model that was told all of them.
        let told = |rows: &str| {
            let mut state = script::run(parents).expect("a script");
            let mut facts = Vec::new();
            for event in script::events(rows).expect("a script") {
                if let crate::state::event::Event::Approvals(more) = event.value {
                    facts.extend(more);
                }
            }
            let at = script::START.plus(crate::time::Elapsed::from_secs(60));
            let model = &mut state.model;
            model.approvals.told(&facts, &model.jobs, at);
            let rows = model.approvals.by_cost(&model.jobs, at);
            let ids: Vec<&str> = rows.iter().map(|row| row.id().as_str()).collect();
            ids.join(" ")
        };
        assert_eq!(
            told(
                "2s approval late deadline=7000s | 3s approval soon deadline=100s | 2s approval quarter deadline=800s"
            ),
            "soon quarter late"
        );
        assert_eq!(
            told("2s approval old | 3s approval waiting parent=p | 4s approval running parent=q"),
            "running waiting old"
        );
        assert_eq!(told("3s approval b | 2s approval a"), "a b");
    }

    /// What is known of the request of the one approval after a script.
    fn known(events: &str) -> String {
        let state = script::run(events).expect("a script");
        let row = state.model.approvals.iter().next().expect("an approval");
        let what = row.what_runs();
        format!(
            "{} on {}, held {:?}, undo {:?}, own hash {:?}",
            what.what.as_deref().unwrap_or("?"),
            what.system.as_deref().unwrap_or("?"),
            super::held(row, &state.model.jobs),
            row.undo().map(|undo| undo.is_some()),
            row.fact.own_hash.as_deref()
        )
    }

    #[test]
    fn what_a_list_does_not_tell_of_a_request_stays_as_its_page_told_it() {
        let page = "1s approval j topic=job.k8s labels=mcp.tool:restart,mcp.server:k8s hash=h";
        let whole = "restart on k8s, held Some(0), undo Some(false), own hash Some(\"h\")";
        assert_eq!(known(page), whole);
        // The page is not read any more once nobody can decide.
        let moved = "topic=job.k8s partial=yes capability=k8s.write";
        let ended = format!("{page} | 2s approval j {moved} status=invalidated");
        assert_eq!(known(&ended), whole);
        // The job was heard to end before the list told how.
        let denied =
            format!("{page} | 2s told j DENIED | 3s approval j {moved} status=invalidated");
        assert_eq!(known(&denied), whole.replace("Some(\"h\")", "None"));
        // Of what waits the hash is not known without its stored request.
        let waits = format!("{page} | 2s approval j {moved}");
        assert_eq!(known(&waits), whole.replace("Some(\"h\")", "None"));
        // Another whole request is taken as it is.
        let other = format!("{page} | 2s approval j topic=job.other");
        assert_eq!(
            known(&other),
            "other on ?, held Some(0), undo Some(false), own hash None"
        );
    }

    #[test]
    fn a_denial_is_a_rejection_only_if_a_person_said_no() {
        let waits = "0s told j APPROVAL_REQUIRED | 0s approval j";
        check(&format!("{waits} | 1s told j DENIED"), "");
        check(
            &format!("{waits} | 1s dlq j DENIED code=approval_rejected"),
            "j:rejected",
        );
        check(&format!("{waits} | 1s told j PENDING"), "j:approved");
        check(&format!("{waits} | 1s told j TIMEOUT"), "j:expired");
    }
}
