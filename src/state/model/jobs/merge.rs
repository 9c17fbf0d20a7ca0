//! What one packet tells about a job.
//!
//! The order of a job's life is (attempt, rank). A request on a dispatch subject
//! after a retryable result opens the next attempt, and so does one on submit
//! after an approval; what is older than the first packet of its attempt is late
//! and moves nothing. Applying a packet twice equals applying it once.

use std::sync::Arc;

use crate::ids::{JobId, SenderId, TraceId, WorkerId};
use crate::state::event::{Heard, Route};
use crate::state::model::jobs::job::{CancelAsked, Early, Happened, Job, Progress, ResultFacts};
use crate::state::model::jobs::phase::JobState;
use crate::state::model::jobs::request::{Request, bounded};
use crate::state::shared::{Interner, Text, learn, learn_first, text};
use crate::time::Timestamp;
use crate::wire::packet::{
    Body, DispatchIdentity, ErrorCode, JobCancel, JobProgress, JobResult, JobStatus, WireEnum as _,
};

/// Senders that are the plane itself and never a worker.
const PLANE: [&str; 4] = [
    "api-gateway",
    "api-gateway-http",
    "cordum-scheduler",
    "cordum-scheduler-saga",
];

/// A packet about a job, reduced to what it tells.
pub(super) struct News<'a> {
    at: Timestamp,
    sent: Option<Timestamp>,
    sender: &'a SenderId,
    trace: &'a TraceId,
    tells: Tells<'a>,
}

enum Tells<'a> {
    Submit(&'a JobId, Request, bool),
    Dispatch(&'a JobId, Request, Option<WorkerId>, u64),
    Progress(&'a JobProgress, Option<&'a str>),
    Result(&'a JobResult, bool, Option<WorkerId>),
    Cancel(&'a JobCancel),
}

impl<'a> News<'a> {
    /// What a packet tells about a job; `None` when it is about none.
    pub(super) fn of(heard: &'a Heard, at: Timestamp, interner: &mut Interner) -> Option<Self> {
        let packet = &heard.packet;
        let sender = &packet.sender;
        let sent = packet.sent_at;
        let by = bounded(sender.as_str());
        let tells = match (&heard.route, &packet.body) {
            (Route::Submit, Body::JobRequest(request)) => Tells::Submit(
                &request.job_id,
                Request::from_packet(request, interner.text(by), sent, interner),
                request
                    .labels
                    .get("approval_granted")
                    .is_some_and(|it| it == "true"),
            ),
            (Route::Dispatch { worker }, Body::JobRequest(request)) => {
                // The sender of a dispatch is the scheduler, not who asked.
                let facts = Request::from_packet(request, None, None, interner);
                Tells::Dispatch(
                    &request.job_id,
                    facts,
                    // A worker has many jobs: they share its name.
                    worker
                        .as_ref()
                        .and_then(|worker| interner.text(worker.as_str()))
                        .map(WorkerId::new),
                    wire_attempt(request.dispatch.as_ref()),
                )
            }
            (Route::Progress, Body::JobProgress(progress)) => {
                Tells::Progress(progress, worker_named(by))
            }
            (Route::Result, Body::JobResult(result)) => {
                let worker = worker_named(result.worker_id.as_str()).map(WorkerId::from);
                Tells::Result(result, false, worker)
            }
            (Route::DeadLetter, Body::JobResult(result)) => Tells::Result(result, true, None),
            (Route::Cancel, Body::JobCancel(cancel)) => Tells::Cancel(cancel),
            _ => return None,
        };
        let news = Self {
            at,
            sent,
            sender,
            trace: &packet.trace,
            tells,
        };
        (!news.job().is_empty()).then_some(news)
    }

    /// The job it is about.
    pub(super) fn job(&self) -> &JobId {
        match &self.tells {
            Tells::Submit(job, ..) | Tells::Dispatch(job, ..) => job,
            Tells::Progress(progress, _) => &progress.job_id,
            Tells::Result(result, ..) => &result.job_id,
            Tells::Cancel(cancel) => &cancel.job_id,
        }
    }

    /// Changes `job`; says whether anything changed.
    pub(super) fn apply(self, job: &mut Job) -> bool {
        let Self {
            at,
            sent,
            sender,
            trace,
            tells,
        } = self;
        let moment = When { at, sent };
        match tells {
            Tells::Submit(_, request, granted) => {
                let by = request.sender.clone();
                let known = learn_request(job, request) | learn_trace(job, trace, true);
                submitted(job, moment, by, granted) | known
            }
            Tells::Dispatch(_, request, worker, attempt) => {
                let known = learn_request(job, request) | learn_trace(job, trace, true);
                dispatched(job, moment, worker.as_ref(), attempt) | known
            }
            Tells::Progress(progress, worker) => progressed(job, moment, sender, progress, worker),
            Tells::Result(result, dead_letter, worker) => {
                let known = !dead_letter && learn_trace(job, trace, false);
                ended(job, moment, sender, result, dead_letter, worker) | known
            }
            Tells::Cancel(cancel) => cancelled(job, moment, cancel),
        }
    }
}

#[derive(Clone, Copy)]
struct When {
    at: Timestamp,
    sent: Option<Timestamp>,
}

impl When {
    fn said(self) -> Timestamp {
        self.sent.unwrap_or(self.at)
    }
}

fn wire_attempt(dispatch: Option<&DispatchIdentity>) -> u64 {
    dispatch.map_or(0, |dispatch| dispatch.attempt)
}

/// The sender as a worker; `None` for the plane itself.
fn worker_named(name: &str) -> Option<&str> {
    (!name.is_empty() && !PLANE.contains(&name)).then_some(name)
}

fn learn_request(job: &mut Job, request: Request) -> bool {
    match &mut job.request {
        Some(known) if **known == request => false,
        Some(known) => Arc::make_mut(known).fill(&request),
        none => {
            *none = Some(Arc::new(request));
            true
        }
    }
}

/// The trace of a request counts more than that of a result.
fn learn_trace(job: &mut Job, trace: &TraceId, from_request: bool) -> bool {
    if trace.is_empty() || job.trace_from_request {
        return false;
    }
    // Planes put the job's name where they tell of its end; its trace is another.
    if !from_request && trace.as_str() == job.id.as_str() {
        return false;
    }
    if from_request {
        job.trace_from_request = true;
        return learn(&mut job.trace, Some(trace.clone()));
    }
    learn_first(&mut job.trace, Some(trace.clone()))
}

/// Whether what `sender` says belongs to an attempt before the present one.
fn is_late(job: &Job, when: When, sender: &SenderId, attempt: u64) -> bool {
    if attempt > 0 && job.told_dispatch > 0 {
        return attempt < job.told_dispatch;
    }
    let Some(sent) = when.sent else {
        return false;
    };
    match (job.closed.as_deref(), job.opened) {
        // The same clock stamped the result that closed the last attempt, so
        // this says more than a comparison of two clocks.
        (Some((by, closed)), _) if by == sender => sent <= *closed,
        (_, Some(opened)) => sent < opened,
        (_, None) => false,
    }
}

fn become_state(job: &mut Job, to: JobState, when: When) {
    // A sender whose clock is ahead must not hold up what the plane says later.
    job.moved_sent = Some(when.said().min(when.at));
    job.enter(to, when.at);
}

fn submitted(job: &mut Job, when: When, by: Text, granted: bool) -> bool {
    match job.state {
        None => {
            become_state(job, JobState::Pending, when);
            job.note(when.at, Happened::Submitted(by));
            true
        }
        Some(JobState::ApprovalRequired)
            if granted || job.moved_sent.is_none_or(|moved| when.said() > moved) =>
        {
            job.attempt += 1;
            become_state(job, JobState::Pending, when);
            job.note(when.at, Happened::Submitted(by));
            true
        }
        Some(_) => {
            let heard = job
                .history
                .iter()
                .any(|moment| matches!(moment.what, Happened::Submitted(_)));
            if !heard && job.history_dropped == 0 {
                job.note(when.at, Happened::Submitted(by));
            }
            !heard
        }
    }
}

fn dispatched(job: &mut Job, when: When, worker: Option<&WorkerId>, attempt: u64) -> bool {
    let newer = job.dispatched_sent.is_none_or(|known| when.said() > known);
    let mut changed = false;
    if attempt > job.told_dispatch {
        job.told_dispatch = attempt;
        changed = true;
    }
    let first = job.dispatches == 0;
    match job.state {
        Some(JobState::Retrying) if newer => {
            open(job, when, worker);
            return true;
        }
        Some(JobState::Running) if newer && !first => {
            // Its result has not come yet; see `ended`.
            let early = Early {
                worker: worker.cloned(),
                sent: when.said(),
                at: when.at,
            };
            let known = job.early.as_deref().is_some_and(|it| it.sent >= early.sent);
            if !known {
                job.early = Some(Box::new(early));
            }
            return changed || !known;
        }
        Some(JobState::Dispatched) if newer && !first => {
            job.dispatched_sent = Some(when.said());
            if worker.is_some() {
                job.dispatch_worker = worker.cloned();
            }
            return true;
        }
        _ => {}
    }
    if first {
        job.dispatches = 1;
        job.dispatched_sent = Some(when.said());
        job.note(when.at, Happened::Dispatched(worker.cloned()));
        changed = true;
    }
    if job.dispatch_worker.is_none() && worker.is_some() && first {
        job.dispatch_worker = worker.cloned();
        changed = true;
    }
    if job
        .state
        .is_none_or(|state| state.rank() < JobState::Dispatched.rank())
    {
        become_state(job, JobState::Dispatched, when);
        changed = true;
    }
    changed
}

/// Opens the next attempt with a dispatch.
fn open(job: &mut Job, when: When, worker: Option<&WorkerId>) {
    job.attempt += 1;
    job.dispatches = job.dispatches.max(1) + 1;
    job.before_worker = job.worker().cloned();
    job.dispatch_worker = worker.cloned();
    job.progress_worker = None;
    if let Some(result) = &mut job.result {
        Arc::make_mut(result).worker = None;
    }
    job.opened = Some(when.said());
    job.dispatched_sent = Some(when.said());
    if let Some(progress) = &mut job.progress {
        progress.moves = 0;
        progress.sent = None;
    }
    become_state(job, JobState::Dispatched, when);
    job.note(when.at, Happened::Dispatched(worker.cloned()));
}

fn progressed(
    job: &mut Job,
    when: When,
    sender: &SenderId,
    report: &JobProgress,
    worker: Option<&str>,
) -> bool {
    if is_late(job, when, sender, wire_attempt(report.dispatch.as_ref())) {
        return false;
    }
    if job.is_ended() {
        return reported_after_end(job, when, report);
    }
    let mut changed = false;
    if job
        .state
        .is_none_or(|state| state.rank() < JobState::Running.rank())
    {
        become_state(job, JobState::Running, when);
        let worker = worker.map(|worker| named_like(job, worker));
        job.note(when.at, Happened::FirstWord(worker));
        changed = true;
    }
    if let Some(worker) = worker
        && job.progress_worker.as_ref().map(WorkerId::as_str) != Some(worker)
    {
        job.progress_worker = Some(named_like(job, worker));
        changed = true;
    }
    changed | learn_progress(job, when, report)
}

/// The id of `worker`, shared with the dispatch to it where there was one.
fn named_like(job: &Job, worker: &str) -> WorkerId {
    match &job.dispatch_worker {
        Some(known) if known.as_str() == worker => known.clone(),
        Some(_) | None => WorkerId::from(worker),
    }
}

/// A report that a terminal result overtook still tells the last percent; one that
/// was sent after it shows a worker that goes on. Instants are whole milliseconds, so
/// one of the same instant may be either: it counts where it takes nothing back.
fn reported_after_end(job: &mut Job, when: When, report: &JobProgress) -> bool {
    let ended = job
        .result
        .as_ref()
        .filter(|result| !result.dead_letter)
        .and_then(|result| result.sent);
    if let (Some(sent), Some(ended)) = (when.sent, ended)
        && sent <= ended
    {
        let goes_back = |known: &Progress| report.percent < known.percent;
        let may_be_later = sent == ended && job.progress.as_ref().is_some_and(goes_back);
        return !may_be_later && learn_progress(job, when, report);
    }
    if let Some(cancel) = &mut job.cancel
        && job.state == Some(JobState::Cancelled)
        && cancel.worker_stopped_at.is_none()
        && when
            .sent
            .is_some_and(|sent| job.moved_sent.is_some_and(|end| sent > end))
        && cancel.still_reported_at.is_none_or(|known| when.at > known)
    {
        Arc::make_mut(cancel).still_reported_at = Some(when.at);
        return true;
    }
    false
}

fn learn_progress(job: &mut Job, when: When, report: &JobProgress) -> bool {
    let message = text(bounded(&report.message));
    let Some(known) = &mut job.progress else {
        job.progress = Some(Progress {
            percent: report.percent,
            message,
            step_id: text(bounded(&report.step_id)),
            at: when.at,
            result_ptr: text(bounded(&report.result_ptr)),
            artifact_ptrs: pointers(&report.artifact_ptrs),
            moves: 1,
            first_move: when.at,
            last_move: when.at,
            told: false,
            sent: when.sent,
        });
        return true;
    };
    let overtaken = match (when.sent, known.sent) {
        (Some(sent), Some(last)) => sent < last || (sent == last && report.percent < known.percent),
        _ => false,
    };
    if overtaken {
        return false;
    }
    let before = known.clone();
    known.percent = report.percent;
    learn(&mut known.message, message);
    learn(&mut known.step_id, text(bounded(&report.step_id)));
    learn(&mut known.result_ptr, text(bounded(&report.result_ptr)));
    if !report.artifact_ptrs.is_empty() {
        known.artifact_ptrs = pointers(&report.artifact_ptrs);
    }
    let moved = known.percent != before.percent
        || known.message != before.message
        || known.step_id != before.step_id
        || known.moves == 0;
    let repeated = !moved && when.sent.is_some() && when.sent == known.sent;
    if repeated && *known == before {
        return false;
    }
    known.sent = when.sent.or(known.sent);
    known.told = false;
    known.at = when.at;
    if moved {
        if known.moves == 0 {
            known.first_move = when.at;
        }
        known.moves = known.moves.saturating_add(1);
        known.last_move = when.at;
    }
    true
}

fn ended(
    job: &mut Job,
    when: When,
    sender: &SenderId,
    result: &JobResult,
    dead_letter: bool,
    worker: Option<WorkerId>,
) -> bool {
    if is_late(job, when, sender, wire_attempt(result.dispatch.as_ref())) {
        return false;
    }
    let mut changed = false;
    if let Some(cancel) = &mut job.cancel
        && worker.is_some()
        && cancel.worker_stopped_at.is_none()
        && JobState::from_result(result.status).is_some_and(JobState::is_terminal)
    {
        let cancel = Arc::make_mut(cancel);
        cancel.worker_stopped_at = Some(when.at);
        cancel.worker_finished = result.status == JobStatus::Succeeded;
        changed = true;
    }
    let facts = ResultFacts {
        status: Some(result.status),
        at: when.at,
        dead_letter,
        result_ptr: text(bounded(&result.result_ptr)),
        artifact_ptrs: pointers(&result.artifact_ptrs),
        worker,
        execution_ms: result.execution_ms,
        error_code: error_code(result),
        error_message: text(bounded(&result.error_message)),
        sent: when.sent,
    };
    let noted = dead_letter
        && !job
            .history
            .iter()
            .any(|moment| matches!(moment.what, Happened::DeadLetter(_)));
    if noted {
        job.note(when.at, Happened::DeadLetter(facts.error_code.clone()));
        changed = true;
    }
    let to = JobState::from_result(result.status);
    let moves = to.is_some_and(|to| match job.state {
        None => true,
        Some(state) => to.rank() > state.rank(),
    });
    changed |= learn_result(job, facts, moves);
    let (true, Some(to)) = (moves, to) else {
        return changed;
    };
    if to == JobState::Retrying {
        job.closed = Some(Box::new((sender.clone(), when.said())));
    }
    become_state(job, to, when);
    job.note(when.at, Happened::Became(to));
    if to == JobState::Retrying
        && let Some(early) = job.early.take()
    {
        let when = When {
            at: when.at.max(early.at),
            sent: Some(early.sent),
        };
        open(job, when, early.worker.as_ref());
    }
    true
}

/// A result that moved the job is its last one; one that did not only fills what
/// is empty, and a dead letter never speaks over a result.
fn learn_result(job: &mut Job, mut facts: ResultFacts, moves: bool) -> bool {
    let Some(known) = &mut job.result else {
        job.result = Some(Arc::new(facts));
        return true;
    };
    let in_flight = |facts: &ResultFacts| facts.status.is_some_and(JobStatus::is_in_flight);
    // A dead letter repeats, in the plane's words, the result that caused it.
    let same_end = |facts: &ResultFacts| facts.status.and_then(JobState::from_result);
    let newer = moves
        || (!facts.dead_letter && known.dead_letter && same_end(&facts) == same_end(known))
        || (in_flight(&facts) && in_flight(known) && facts.sent > known.sent);
    if newer {
        let before = Arc::clone(known);
        if facts.result_ptr.is_none() {
            facts.result_ptr.clone_from(&before.result_ptr);
        }
        if facts.worker.is_none() {
            facts.worker.clone_from(&before.worker);
        }
        if facts == *before {
            return false;
        }
        *known = Arc::new(facts);
        return true;
    }
    if facts.dead_letter && known.error_code.is_none() && facts.error_code.is_some() {
        let known = Arc::make_mut(known);
        known.error_code = facts.error_code;
        known.error_message = known.error_message.take().or(facts.error_message);
        return true;
    }
    false
}

fn cancelled(job: &mut Job, when: When, cancel: &JobCancel) -> bool {
    let known = job.cancel.as_deref().cloned().unwrap_or_default();
    if known.heard_at.is_some() {
        return false;
    }
    let by = text(bounded(&cancel.requested_by));
    job.note(when.at, Happened::CancelAsked(by.clone()));
    job.cancel = Some(Arc::new(CancelAsked {
        heard_at: Some(when.at),
        by: by.or(known.by),
        reason: text(bounded(&cancel.reason)).or(known.reason),
        ..known
    }));
    true
}

/// The name of the number where the contract has one, else the sender's word.
pub(crate) fn error_code(result: &JobResult) -> Text {
    let number = result.error_code_enum;
    if number != ErrorCode::Unspecified && number.is_known() {
        return text(&error_name(number));
    }
    text(bounded(&result.error_code))
        .or_else(|| (number != ErrorCode::Unspecified).then(|| error_name(number).into()))
}

/// The contract's name of a cause, or its number where the contract has none.
pub(crate) fn error_name(code: ErrorCode) -> String {
    if code.is_known() {
        format!("ERROR_CODE_{}", code.name())
    } else {
        code.name().into_owned()
    }
}

/// Pointers as sent, at most [`LABELS`](crate::state::limits::LABELS).
pub(crate) fn pointers(pointers: &[String]) -> Arc<[Arc<str>]> {
    pointers
        .iter()
        .take(crate::state::limits::LABELS)
        .map(|it| Arc::from(bounded(it)))
        .collect()
}
