//! What is undone or would be, step by step, and the jobs that could not be done.

use std::sync::Arc;

use crate::ids::{JobId, WorkerId};
use crate::state::State;
use crate::state::model::Model;
use crate::state::model::approvals::ApprovalStatus;
use crate::state::model::compensations::Judged;
use crate::state::model::jobs::{Decision, Happened, Job, JobState, Moment, WaitingOn};
use crate::state::model::letters::DeadLetter;
use crate::state::model::rollbacks::{Stack, StackState, Step, StepState, Undone, stack};
use crate::state::ui::ListId;
use crate::state::ui::order::{step_row, undone_of};
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::{Prose, compensations, shown};

/// A day, in milliseconds: "today" is that of UTC, as all clocks here.
const DAY: i64 = 86_400_000;

/// The visible part of the undos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollbacksView {
    /// The rows that can be seen.
    pub rows: Vec<StackRow>,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// Rows that pass the filter.
    pub passing: usize,
    /// Rows without the filter.
    pub known: usize,
    /// Rollbacks that started since midnight UTC.
    pub today: usize,
    /// What they are sorted by, in words.
    pub sort: &'static str,
    /// The filter as typed; empty shows all.
    pub filter: String,
    /// Rollbacks and armed workflows that were forgotten.
    pub forgotten: u64,
}

/// An undo in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackRow {
    /// The workflow, or the job without one.
    pub name: Arc<str>,
    /// How it stands.
    pub state: StackState,
    /// The state of its first broken step, and how many are broken.
    pub broken: Option<(JobState, usize)>,
    /// Steps that have undone what they undo.
    pub undone: usize,
    /// All steps.
    pub steps: usize,
    /// The cursor is here.
    pub selected: bool,
}

/// The undos that are visible in `height` rows.
pub fn rollbacks(state: &State, height: usize) -> RollbacksView {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::Rollbacks);
    let window = list.state.window(height);
    let midnight = now.as_millis().div_euclid(DAY) * DAY;
    let today = model.rollbacks.latest().into_iter();
    RollbacksView {
        first: window.start,
        passing: list.state.order().len(),
        known: list.unfiltered,
        today: today
            .filter(|(_, row)| row.started.as_millis() >= midnight)
            .count(),
        sort: list.sort(ListId::Rollbacks).word(),
        filter: list.filter_text.clone(),
        forgotten: model.rollbacks.dropped(),
        rows: list.state.order()[window]
            .iter()
            .filter_map(|subject| {
                let stack = stack(model, &undone_of(subject)?, now)?;
                Some(StackRow {
                    selected: list.state.selected() == Some(subject),
                    ..row(&stack)
                })
            })
            .collect(),
    }
}

fn row(stack: &Stack) -> StackRow {
    let broken = stack.steps.iter().filter_map(|step| match step.state {
        StepState::Job(Some(state)) if step.state.is_broken() => Some(state),
        // As if policy had denied it: nothing ran.
        StepState::Refused => Some(JobState::Denied),
        _ => None,
    });
    let first = broken.clone().next();
    StackRow {
        name: name(&stack.of),
        state: stack.state,
        broken: first.map(|state| (state, broken.count())),
        undone: stack.undone(),
        steps: stack.steps.len(),
        selected: false,
    }
}

fn name(of: &Undone) -> Arc<str> {
    match of {
        Undone::Workflow(workflow) => Arc::clone(workflow),
        Undone::Job(job) => Arc::from(job.as_str()),
    }
}

/// The undo under the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackView {
    /// The workflow, or the job without one.
    pub name: Arc<str>,
    /// How it stands.
    pub state: StackState,
    /// What started it.
    pub started: Prose,
    /// The steps that can be seen, in the order in which they run.
    pub steps: Vec<StepRow>,
    /// Whether that order is known; else it is that in which they were heard of.
    pub is_order_known: bool,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// How many there are.
    pub total: usize,
    /// What state the world is in, what nobody will do, and what to do next; empty
    /// unless something was not undone.
    pub notice: Vec<Prose>,
}

/// A step of the undo under the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Its place, from 1.
    pub number: usize,
    /// The topic of the job that is undone.
    pub undoes: Option<Arc<str>>,
    /// The topic of the job that undoes it.
    pub with: Option<Arc<str>>,
    /// How it stands.
    pub state: StepState,
    /// What policy decided; `None` until it was asked, or where nobody told.
    pub decision: Option<Decision>,
    /// What policy would decide, before it runs; `None` if it was not asked.
    pub would: Option<Arc<Judged>>,
    /// What happened.
    pub happened: Prose,
    /// Its idempotency key.
    pub key: Option<Arc<str>>,
    /// The cursor is here.
    pub selected: bool,
}

/// The undo under the cursor with as many of its steps as `height` lines hold, three
/// a step; `None` without one.
pub fn under_cursor(state: &State, height: usize) -> Option<StackView> {
    let (model, now) = shown(state);
    let of = undone_of(state.ui.list(ListId::Rollbacks).state.selected()?)?;
    let stack = stack(model, &of, now)?;
    let list = state.ui.list(ListId::Steps);
    let total = stack.steps.len();
    let ran = model.rollbacks.get(&of);
    let is_order_known = ran.is_none_or(|ran| ran.is_order_known());
    // The order is recomputed now and then, the stack is what is now.
    let window = list.state.window(height);
    let first = window.start.min(total);
    let last = (first + height).min(total);
    let next = stack
        .steps
        .iter()
        .position(|step| step.state == StepState::WillRun);
    let rows = stack
        .steps
        .iter()
        .enumerate()
        .skip(first)
        .take(last - first);
    Some(StackView {
        name: name(&of),
        state: stack.state,
        started: started(model, &stack, now),
        steps: rows
            .map(|(at, step)| {
                let subject = step_row(step);
                StepRow {
                    number: at + 1,
                    undoes: step.undoes_topic.clone().or_else(|| {
                        let id = step.undoes.as_ref()?;
                        Some(Arc::from(text::id_tail(id.as_str())))
                    }),
                    with: step.topic.clone(),
                    state: step.state,
                    decision: step.decision,
                    would: step
                        .waits_to_undo()
                        .and_then(|job| compensations::judged(state, job))
                        .cloned(),
                    happened: happened(model, step, next == Some(at), now),
                    key: step.idempotency_key.clone(),
                    selected: subject.is_some() && list.state.selected() == subject.as_ref(),
                }
            })
            .collect(),
        first,
        total,
        notice: notice(model, &stack, is_order_known),
        is_order_known,
    })
}

fn started(model: &Model, stack: &Stack, now: Timestamp) -> Prose {
    let says = Prose::new();
    let Some(at) = stack.started else {
        return says.own("armed: nothing of it has failed");
    };
    match stack.failed.first() {
        Some(job) => {
            let topic = model.jobs.get(job).and_then(|job| job.topic());
            let topic = topic.map_or("a job of unknown topic", short);
            says.own("started by ")
                .outside(topic)
                .own(" ")
                .outside(text::id_tail(job.as_str()))
                .own(format!(" FAILED_FATAL {}", text::clock_near(at, now)))
        }
        None => says.own(format!(
            "started {}, unknown by which job",
            text::clock_near(at, now)
        )),
    }
}

/// Whether the work of a job is known to have been undone.
pub fn was_undone(model: &Model, job: &JobId, now: Timestamp) -> bool {
    let known = model.jobs.get(job);
    let workflow = known.and_then(|it| it.request.as_ref()?.workflow_id.clone());
    let of = workflow.map_or_else(|| Undone::Job(job.clone()), Undone::Workflow);
    let is_its = |step: &Step| {
        let undone = matches!(step.state, StepState::Job(Some(JobState::Succeeded)));
        undone && step.undoes.as_ref() == Some(job)
    };
    stack(model, &of, now).is_some_and(|stack| stack.steps.iter().any(is_its))
}

/// How many steps of a rollback wait until this step of it has run; `None` if the job is
/// no step of one.
pub fn steps_behind(model: &Model, job: &JobId, now: Timestamp) -> Option<usize> {
    let of = model.rollbacks.undone_by(model.jobs.get(job)?)?;
    let stack = stack(model, &of, now)?;
    let waits = |step: &&Step| step.state == StepState::WillRun;
    Some(stack.steps.iter().filter(waits).count())
}

/// `3 more steps of its rollback`.
pub fn more_steps(count: usize) -> String {
    match count {
        0 => "no other step of its rollback".to_owned(),
        n => text::count(
            n as u64,
            "more step of its rollback",
            "more steps of its rollback",
        ),
    }
}

/// A topic without what all topics begin with.
pub fn short(topic: &str) -> &str {
    topic.strip_prefix("job.").unwrap_or(topic)
}

fn happened(model: &Model, step: &Step, next: bool, now: Timestamp) -> Prose {
    let says = Prose::new();
    match step.state {
        StepState::Armed => return says.aside("would run if its workflow ended FAILED_FATAL"),
        StepState::WillRun if next => return says.own("runs next"),
        StepState::WillRun => return says.own("runs after the steps above"),
        StepState::NotRun => return says.own("the rollback stopped before it"),
        StepState::Unknown if step.job.is_some() => {
            return says.own("its job is no longer known");
        }
        StepState::Unknown => return says.own("nothing was heard of it"),
        StepState::Refused => return says.own("the plane could not make a job of it"),
        StepState::Skipped => return says.own("left out: its key runs or ran before"),
        StepState::Job(_) => {}
    }
    let Some((id, job)) = step
        .job
        .as_ref()
        .and_then(|id| Some((id, model.jobs.get(id)?)))
    else {
        return says.own("its job is no longer known");
    };
    let tail = says.outside(text::id_tail(id.as_str()));
    let on = |says: Prose, worker: Option<&WorkerId>, word: &str| match worker {
        Some(worker) => says.own(word).outside(worker.as_str()),
        None => says,
    };
    match job.state {
        Some(JobState::Succeeded | JobState::OutputQuarantined) => {
            let took = job.result.as_ref().map_or(0, |it| it.execution_ms);
            let took = match u64::try_from(took) {
                Ok(ms) if ms > 0 => Some(Elapsed::from_millis(ms)),
                _ if job.is_birth_known() => Some(job.since.since(job.first_seen)),
                _ => None,
            };
            let tail = match took {
                Some(took) => tail.own(format!(", {}", text::duration(took))),
                None => tail.own(", it is unknown how long it took"),
            };
            on(tail, job.worker(), ", worker ")
        }
        Some(JobState::Denied) if was_rejected(model, job) => said(
            Prose::new().own("nothing ran; a person said no"),
            ", ",
            rejection(model, job),
        ),
        Some(JobState::Failed | JobState::Timeout | JobState::Cancelled) => {
            said(on(tail, job.worker(), ", worker "), ", ", cause(job))
        }
        Some(JobState::Denied) if job.is_refused_by_worker() => {
            said(on(tail, job.worker(), ", worker "), ", ", cause(job))
        }
        Some(JobState::Denied) => said(
            Prose::new().own("nothing ran"),
            "; ",
            denial(job).or_else(|| cause(job)),
        ),
        Some(JobState::Running) => {
            let tail = match job.percent() {
                Some(percent) => tail.own(format!(", {percent}%")),
                None => tail,
            };
            let tail = on(tail, job.worker(), " on ");
            said(tail, ", ", job.message().map(Arc::from))
        }
        Some(JobState::ApprovalRequired) => tail.own(format!(
            ", waits for a person, {}",
            text::age(now.since(job.since))
        )),
        Some(JobState::Dispatched) => on(tail, job.worker(), ", handed to "),
        Some(JobState::Pending | JobState::Scheduled | JobState::Retrying) => tail.own(format!(
            ", {}, {}",
            waits(job.waits_on()),
            text::age(now.since(job.since))
        )),
        None => tail.own(", its state is unknown"),
    }
}

fn waits(on: Option<WaitingOn>) -> &'static str {
    match on {
        Some(WaitingOn::Approval) => "waits for a person",
        Some(WaitingOn::Throttled) => "throttled",
        Some(WaitingOn::NoWorkers) => "no live worker takes it",
        Some(WaitingOn::PoolOverloaded) => "its pool is overloaded",
        Some(WaitingOn::NoPoolMapping) => "no pool takes it",
        Some(WaitingOn::TenantLimit) => "its tenant is at its limit",
        Some(WaitingOn::KernelUnavailable) => "the kernel is silent",
        Some(WaitingOn::RetryBackoff) => "is tried again",
        Some(WaitingOn::BusUnavailable) => "the bus did not take it",
        Some(WaitingOn::Unknown) | None => "waits, unknown why",
    }
}

fn said(says: Prose, between: &'static str, what: Option<Arc<str>>) -> Prose {
    match what {
        Some(what) => says.own(between).outside(what),
        None => says,
    }
}

/// Whether a person said no to a job, by whichever word there is of it: lists of jobs do
/// not tell.
fn was_rejected(model: &Model, job: &Job) -> bool {
    let approval = model.approvals.get(&job.id);
    let letter = model.letters.get(&job.id);
    job.was_rejected()
        || approval.is_some_and(|it| it.fact.status == ApprovalStatus::Rejected)
        || letter.is_some_and(|it| it.reason_code.as_deref() == Some("approval_rejected"))
}

/// What the person said who rejected a job.
fn rejection(model: &Model, job: &Job) -> Option<Arc<str>> {
    let letter = model.letters.get(&job.id);
    let said = letter.and_then(|it| it.reason.clone());
    said.or_else(|| job.error_message().map(Arc::from))
}

/// Whether a job that has ended is known to have been with no worker.
pub fn never_ran(job: &Job) -> bool {
    let with_worker = |moment: &Moment| match &moment.what {
        Happened::Dispatched(_) | Happened::FirstWord(_) => true,
        Happened::Became(state) => state.is_with_worker(),
        Happened::Submitted(_)
        | Happened::Decided(_)
        | Happened::CancelAsked(_)
        | Happened::DeadLetter(_) => false,
    };
    let denied = job.state == Some(JobState::Denied) && !job.is_refused_by_worker();
    (denied || job.is_birth_known())
        && job.attempts() == 0
        && job.worker().is_none()
        && !job.history.iter().any(with_worker)
}

/// The rule that denied a job and its reason.
fn denial(job: &Job) -> Option<Arc<str>> {
    let verdict = job.verdict.as_ref()?;
    match (&verdict.rule_id, &verdict.reason) {
        (Some(rule), Some(reason)) => Some(Arc::from(format!("rule {rule}: {reason}"))),
        (Some(rule), None) => Some(Arc::from(format!("rule {rule}"))),
        (None, Some(reason)) => Some(Arc::clone(reason)),
        (None, None) => None,
    }
}

fn cause(job: &Job) -> Option<Arc<str>> {
    match (job.error_code(), job.error_message()) {
        (Some(code), Some(says)) => Some(Arc::from(format!("{code}: {says}"))),
        (Some(only), None) | (None, Some(only)) => Some(Arc::from(only)),
        (None, None) => None,
    }
}

/// `step 2`, `steps 2 and 3`, `steps 1, 2 and 4`.
fn numbered(places: &[usize]) -> String {
    let all: Vec<String> = places.iter().map(|at| (at + 1).to_string()).collect();
    match all.as_slice() {
        [] => "no step".to_owned(),
        [only] => format!("step {only}"),
        [first @ .., last] => format!("steps {} and {last}", first.join(", ")),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + letters.as_str()
    })
}

fn places(stack: &Stack, is: impl Fn(&Step) -> bool) -> Vec<usize> {
    let steps = stack.steps.iter().enumerate();
    steps
        .filter(|(_, step)| is(step))
        .map(|(at, _)| at)
        .collect()
}

/// What state the world is in, what nobody will do, and the one next step.
fn notice(model: &Model, stack: &Stack, is_order_known: bool) -> Vec<Prose> {
    let says = Prose::new();
    let were = |count: usize| if count == 1 { "was" } else { "were" };
    match stack.state {
        StackState::Broken => {
            let broken = places(stack, |step| step.state.is_broken());
            let mut lines = vec![says.strong(format!(
                "{} {} not undone and the plane will not try again.",
                capital(&numbered(&broken)),
                were(broken.len())
            ))];
            let first = broken.first().copied().unwrap_or(0);
            let after = places(stack, |step| step.job.is_some());
            let after: Vec<usize> = after
                .into_iter()
                .filter(|at| *at > first && !broken.contains(at))
                .collect();
            if !after.is_empty() && is_order_known {
                lines.push(Prose::new().own(format!(
                    "{} went on without it.",
                    capital(&numbered(&after))
                )));
            }
            let not_run = places(stack, |step| step.state == StepState::NotRun);
            if !not_run.is_empty() {
                lines.push(Prose::new().own(format!(
                    "{} {} not run: the rollback stopped before.",
                    capital(&numbered(&not_run)),
                    were(not_run.len())
                )));
            }
            lines.extend(stack.steps.get(first).map(|step| next_step(model, step)));
            lines
        }
        StackState::Approval => vec![
            says.strong("A step waits for a person, and those after it wait too.")
                .own(" Nothing is undone further until somebody decides: Enter on it, then a."),
        ],
        StackState::Unknown => {
            let unknown = places(stack, |step| step.state == StepState::Unknown);
            vec![
                says.strong(format!(
                    "Nothing was heard of {}: whether it was undone is unknown.",
                    numbered(&unknown)
                )),
                Prose::new()
                    .own("Planes drop a step that policy denies without a word. Look at what it would undo before you undo it by hand."),
            ]
        }
        StackState::Running | StackState::Undone | StackState::Armed => Vec::new(),
    }
}

fn next_step(model: &Model, step: &Step) -> Prose {
    let says = Prose::new();
    let job = step.job.as_ref().and_then(|id| model.jobs.get(id));
    let topic: Arc<str> = step.topic.clone().unwrap_or_else(|| Arc::from("its undo"));
    // Submitted again with its key it would only be named again: a retry takes the key over.
    let again = "Undo it by hand, or press T on its dead letter.";
    match step.state {
        StepState::Refused => says
            .own("The plane could not make a job of ")
            .outside(topic)
            .own(". Undo it by hand, or submit it again with the key above."),
        StepState::Job(Some(JobState::Denied)) => {
            if job.is_some_and(|job| was_rejected(model, job)) {
                return says
                    .own("A person rejected ")
                    .outside(topic)
                    .own(format!(". {again}"));
            }
            if job.is_some_and(|job| job.is_refused_by_worker()) {
                return says
                    .own("Its worker refused ")
                    .outside(topic)
                    .own(format!(". {again}"));
            }
            let rule = job.and_then(|job| job.verdict.as_ref()?.rule_id.clone());
            let says = says.own("Policy forbids ").outside(topic);
            let says = match rule {
                Some(rule) => says.own(" by rule ").outside(rule),
                None => says,
            };
            says.own(". Undo it by hand, or press T on its dead letter once policy allows it.")
        }
        StepState::Job(Some(JobState::Timeout)) => says.outside(topic).own(format!(
            " ran out of time, so it may have half happened. {again}"
        )),
        StepState::Job(Some(JobState::Cancelled)) if job.is_some_and(|it| never_ran(it)) => says
            .outside(topic)
            .own(format!(" was cancelled before it ran. {again}")),
        StepState::Job(Some(JobState::Cancelled)) => says.outside(topic).own(format!(
            " was cancelled, so it may have half happened. {again}"
        )),
        _ => says
            .outside(topic)
            .own(format!(" failed, so it may have half happened. {again}")),
    }
}

/// The visible part of the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LettersView {
    /// The rows that can be seen.
    pub rows: Vec<LetterRow>,
    /// Place of the first of them, from 0.
    pub first: usize,
    /// Rows that pass the filter.
    pub passing: usize,
    /// Rows without the filter.
    pub known: usize,
    /// Whether the gateway has more than it was asked for.
    pub more: bool,
    /// Whether only packets told of them: those from before were not heard.
    pub heard_only: bool,
    /// The filter as typed; empty shows all.
    pub filter: String,
    /// The one under the cursor.
    pub under: Option<LetterView>,
}

/// A dead letter in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRow {
    /// Its job.
    pub job: JobId,
    /// Why, as a code.
    pub reason_code: Option<Arc<str>>,
    /// How long it is one.
    pub age: Elapsed,
    /// A retry of it is under way.
    pub asked: bool,
    /// The cursor is here.
    pub selected: bool,
}

/// The dead letter under the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterView {
    /// What it was: job, topic, tenant.
    pub what: Prose,
    /// Why, for people.
    pub reason: Option<Arc<str>>,
}

/// The dead letters that are visible in `height` rows.
pub fn letters(state: &State, height: usize) -> LettersView {
    let (model, now) = shown(state);
    let list = state.ui.list(ListId::DeadLetters);
    let window = list.state.window(height);
    let selected = list.state.selected();
    LettersView {
        first: window.start,
        passing: list.state.order().len(),
        known: list.unfiltered,
        more: model.letters.more(),
        heard_only: model.letters.told_at().is_none(),
        filter: list.filter_text.clone(),
        rows: list.state.order()[window]
            .iter()
            .filter_map(|subject| {
                let letter = model.letters.get(subject.job()?)?;
                Some(LetterRow {
                    job: letter.job.clone(),
                    reason_code: letter.reason_code.clone(),
                    age: now.since(letter.at),
                    asked: state.ui.is_retrying(&letter.job),
                    selected: selected == Some(subject),
                })
            })
            .collect(),
        under: selected
            .and_then(|subject| model.letters.get(subject.job()?))
            .map(|letter| letter_view(model, letter)),
    }
}

fn letter_view(model: &Model, letter: &DeadLetter) -> LetterView {
    let job = model.jobs.get(&letter.job);
    let topic = letter
        .topic
        .as_deref()
        .or_else(|| job.and_then(|job| job.topic()));
    let what = Prose::new()
        .strong(text::id_tail(letter.job.as_str()))
        .own("  ")
        .outside(topic.map_or("unknown topic", short));
    let what = match job.and_then(|job| job.tenant()) {
        Some(tenant) => what.own(", tenant ").outside(tenant),
        None => what,
    };
    let what = match letter.attempts {
        Some(attempts) if attempts > 1 => what.own(format!(", {attempts} attempts")),
        _ => what,
    };
    LetterView {
        what,
        reason: letter.reason.clone(),
    }
}
