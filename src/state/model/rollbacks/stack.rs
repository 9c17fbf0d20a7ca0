//! How an undo stands, step by step, in the order in which its steps run: the
//! failed job's own first, for it may have half happened, then the last success
//! first.
//!
//! Derived from the jobs each time it is asked for, so that nothing here can
//! disagree with them. Nobody tells which steps a plane has planned: what ran is
//! known, what would run is worked out. Start at [`stack`].

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Step, StepState, ToldStep, Undone, is_fatal};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::jobs::{Job, JobState};
use crate::time::{Elapsed, Timestamp};

/// A step that nobody has heard of for this long after the last word of its
/// rollback is no longer called to come: planes drop steps without a word.
const QUIET: Elapsed = Elapsed::from_secs(60);

/// An undo: what would be done, is done or was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Whose work.
    pub of: Undone,
    /// How it stands in all.
    pub state: StackState,
    /// The jobs whose fatal end started it, the last one first; empty while armed,
    /// or when they are not known.
    pub failed: Vec<JobId>,
    /// When it started; `None` while armed.
    pub started: Option<Timestamp>,
    /// When something about it happened last.
    pub last: Timestamp,
    /// The steps, in the order in which they run.
    pub steps: Vec<Step>,
}

impl Stack {
    /// How many steps have undone what they undo.
    pub fn undone(&self) -> usize {
        self.count(|step| step.state.is_done())
    }

    /// How many steps are as `is` says.
    pub fn count(&self, is: impl Fn(&Step) -> bool) -> usize {
        self.steps.iter().filter(|step| is(step)).count()
    }
}

/// How an undo stands in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StackState {
    /// A step ended without having undone anything.
    Broken,
    /// A step waits for a person.
    Approval,
    /// Steps run or will run.
    Running,
    /// Nothing was heard of a step.
    Unknown,
    /// Everything was undone.
    Undone,
    /// Nothing failed; it would be undone if something did.
    Armed,
}

impl StackState {
    /// The name in filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Approval => "approval",
            Self::Running => "running",
            Self::Unknown => "unknown",
            Self::Undone => "undone",
            Self::Armed => "armed",
        }
    }

    fn class(self) -> u8 {
        match self {
            Self::Broken | Self::Approval | Self::Running | Self::Unknown => 0,
            Self::Undone => 1,
            Self::Armed => 2,
        }
    }
}

/// Whose undo `job` is a step of, should it come to one; `None` for a job that
/// cannot be undone or has nothing to undo yet.
pub(super) fn armed_by(job: &Job) -> Option<Undone> {
    let request = job.request.as_ref()?;
    request.undo.as_ref()?;
    let fatal = is_fatal(job);
    if job.state != Some(JobState::Succeeded) && !fatal {
        return None;
    }
    match &request.workflow_id {
        Some(workflow) => Some(Undone::Workflow(Arc::clone(workflow))),
        // Nobody undoes the success of a job that stands alone.
        None => fatal.then(|| Undone::Job(job.id.clone())),
    }
}

/// How the undo of `of` stands at `now`; `None` when nothing of it is known any more.
pub fn stack(model: &Model, of: &Undone, now: Timestamp) -> Option<Stack> {
    let members: Vec<&Arc<Job>> = match of {
        Undone::Workflow(workflow) => model.jobs.of_workflow(workflow).collect(),
        Undone::Job(job) => model.jobs.get(job).into_iter().collect(),
    };
    let rollbacks = &model.rollbacks;
    let members = members.into_iter();
    let members = members.filter(|job| rollbacks.undone_by(job).is_none());
    let (mut failed, mut targets) = (Vec::new(), Vec::new());
    for job in members {
        if is_fatal(job) {
            failed.push(job);
        }
        if armed_by(job).as_ref() == Some(of) {
            targets.push(job);
        }
    }
    failed.sort_by_key(|job| (Reverse(job.since), job.id.clone()));
    targets.sort_by_key(|job| (!is_fatal(job), Reverse(job.since), job.id.clone()));
    let ran = model.rollbacks.get(of);
    let jobs: &[JobId] = ran.map_or(&[], |ran| &ran.jobs);
    let told = ran.and_then(|ran| ran.told.as_deref());
    let told_steps: &[ToldStep] = told.map_or(&[], |told| &told.steps);
    if jobs.is_empty() && targets.is_empty() && told_steps.is_empty() {
        return None;
    }
    let failed_at = failed.iter().map(|job| job.since).min();
    let started = ran.map(|ran| ran.started).or(failed_at);
    let mut last = failed.iter().chain(&targets).map(|job| job.since).max();
    let mut steps: Vec<Step> = Vec::with_capacity(jobs.len());
    for id in jobs {
        let job = model.jobs.get(id);
        last = last.max(job.map(|job| job.since));
        let told = told_steps.iter().find(|step| step.job.as_ref() == Some(id));
        steps.push(ran_step(model, id, job, told));
    }
    let mut steps = without_earlier_tries(steps, told_steps);
    // Some planes stop at a step that fails and others go on, and few say which.
    let is_quiet = last.is_some_and(|last| now.since(last).as_millis() >= QUIET.as_millis())
        || steps.last().is_some_and(|step| step.state.is_broken());
    let has_job = |target: &JobId| steps.iter().any(|it| it.undoes.as_ref() == Some(target));
    let left: Vec<bool> = targets.iter().map(|target| !has_job(&target.id)).collect();
    let told_of = |target: &JobId| {
        let told = told_steps.iter().filter(|step| step.job.is_none());
        let mut told = told.filter(|step| step.undoes.as_ref() == Some(target));
        told.next()
    };
    let last_with_job = left.iter().rposition(|left| !left);
    let mut waiting = Vec::new();
    for (place, target) in targets.iter().enumerate().filter(|(place, _)| left[*place]) {
        // A success after the rollback began is armed for the next one.
        let after = started.is_none_or(|started| target.since > started) && !is_fatal(target);
        let state = if let Some(told) = told_of(&target.id) {
            told.state
        } else if after {
            StepState::Armed
        } else if is_quiet || last_with_job.is_some_and(|last| place < last) {
            StepState::Unknown
        } else {
            StepState::WillRun
        };
        waiting.push(to_come(target, state, told_of(&target.id)));
    }
    // What is undone by these was forgotten, or never heard of.
    for told in told_steps.iter().filter(|step| step.job.is_none()) {
        let known = |id: &JobId| has_job(id) || targets.iter().any(|target| target.id == *id);
        if !told.undoes.as_ref().is_some_and(known) {
            waiting.push(told_step(model, told));
        }
    }
    if let Some(told) = told {
        // The plane knows in which order they run.
        let place = |step: &Step| {
            let told = told.steps.iter();
            let mut places = told.map(|it| it.undoes.is_some() && it.undoes == step.undoes);
            places.position(|is| is).unwrap_or(usize::MAX)
        };
        waiting.sort_by_key(place);
    }
    steps.extend(waiting);
    let mut failed: Vec<JobId> = failed.iter().map(|job| job.id.clone()).collect();
    if failed.is_empty() {
        failed.extend(told.and_then(|told| told.failed.clone()));
    }
    Some(Stack {
        of: of.clone(),
        state: state_of(&steps),
        failed,
        started,
        last: last.or(started).unwrap_or_default(),
        steps,
    })
}

/// A step that is tried again is another job, and that one tells how it stands: the one
/// that the plane names, else the one that was heard of last.
fn without_earlier_tries(steps: Vec<Step>, told: &[ToldStep]) -> Vec<Step> {
    let counts: Vec<bool> = steps
        .iter()
        .enumerate()
        .map(|(place, step)| {
            let Some(undoes) = &step.undoes else {
                return true;
            };
            let named = told.iter().filter(|it| it.undoes.as_ref() == Some(undoes));
            let named = named.filter_map(|it| it.job.as_ref()).next();
            let named = named.filter(|named| steps.iter().any(|it| it.job.as_ref() == Some(named)));
            match named {
                Some(named) => step.job.as_ref() == Some(named),
                None => !steps[place + 1..].iter().any(|it| it.undoes == step.undoes),
            }
        })
        .collect();
    let mut counts = counts.into_iter();
    let mut steps = steps;
    steps.retain(|_| counts.next().unwrap_or(true));
    steps
}

/// All that is known, what runs or is broken first, then the newest, armed last.
pub fn stacks(model: &Model, now: Timestamp) -> Vec<Stack> {
    let all = model.rollbacks.all();
    let mut stacks: Vec<Stack> = all.filter_map(|of| stack(model, of, now)).collect();
    stacks.sort_by(|a, b| {
        let key = |it: &Stack| (it.state.class(), Reverse(it.started), Reverse(it.last));
        key(a).cmp(&key(b)).then_with(|| a.of.cmp(&b.of))
    });
    stacks
}

fn state_of(steps: &[Step]) -> StackState {
    let any = |is: &dyn Fn(StepState) -> bool| steps.iter().any(|step| is(step.state));
    let runs = |state: StepState| match state {
        StepState::WillRun => true,
        StepState::Job(state) => !state.is_some_and(JobState::is_terminal),
        StepState::Armed
        | StepState::NotRun
        | StepState::Unknown
        | StepState::Refused
        | StepState::Skipped => false,
    };
    if any(&|state| state.is_broken() || state == StepState::NotRun) {
        StackState::Broken
    } else if any(&|state| state == StepState::Job(Some(JobState::ApprovalRequired))) {
        StackState::Approval
    } else if any(&runs) {
        StackState::Running
    } else if any(&|state| matches!(state, StepState::Unknown | StepState::Skipped)) {
        StackState::Unknown
    } else if any(&StepState::is_done) {
        StackState::Undone
    } else {
        StackState::Armed
    }
}

fn ran_step(model: &Model, id: &JobId, job: Option<&Arc<Job>>, told: Option<&ToldStep>) -> Step {
    let request = job.and_then(|job| job.request.as_ref());
    let undoes = request
        .and_then(|it| it.parent.clone())
        .or_else(|| told?.undoes.clone());
    let original = undoes.as_ref().and_then(|id| model.jobs.get(id));
    let named = original.and_then(|job| job.request.as_ref()?.undo.clone());
    Step {
        undoes_topic: original.and_then(|job| job.request.as_ref()?.topic.clone()),
        topic: request
            .and_then(|it| it.topic.clone())
            .or_else(|| told?.topic.clone()),
        // A job that was heard of stands as it was heard.
        state: match (job.and_then(|job| job.state), told) {
            (Some(state), _) => StepState::Job(Some(state)),
            (None, Some(told)) => told.state,
            (None, None) => job.map_or(StepState::Unknown, |_| StepState::Job(None)),
        },
        idempotency_key: request
            .and_then(|it| it.idempotency_key.clone())
            .or_else(|| named.and_then(|it| it.idempotency_key.clone()))
            .or_else(|| told?.idempotency_key.clone()),
        decision: job
            .and_then(|job| job.decision())
            .or_else(|| told?.decision),
        job: Some(id.clone()),
        undoes,
    }
}

/// A step without a job that only the plane knows of.
fn told_step(model: &Model, told: &ToldStep) -> Step {
    let original = told.undoes.as_ref().and_then(|id| model.jobs.get(id));
    Step {
        undoes: told.undoes.clone(),
        undoes_topic: original.and_then(|job| job.request.as_ref()?.topic.clone()),
        topic: told.topic.clone(),
        job: None,
        state: told.state,
        idempotency_key: told.idempotency_key.clone(),
        decision: told.decision,
    }
}

fn to_come(target: &Job, state: StepState, told: Option<&ToldStep>) -> Step {
    let request = target.request.as_ref();
    let undo = request.and_then(|it| it.undo.as_ref());
    Step {
        undoes: Some(target.id.clone()),
        undoes_topic: request.and_then(|it| it.topic.clone()),
        topic: undo.map(|it| Arc::clone(&it.topic)),
        job: None,
        state,
        // The plane derives a key where the job names none.
        idempotency_key: undo
            .and_then(|it| it.idempotency_key.clone())
            .or_else(|| told?.idempotency_key.clone()),
        decision: told.and_then(|it| it.decision),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::jobs::Decision;
    use crate::state::script;

    /// Four jobs of a workflow of which three can be undone; the last one fails.
    const FAILS: &str = "0s submit a topic=job.a workflow=wf undo=job.undo_a | 1s succeed a w1 \
        | 2s submit b topic=job.b workflow=wf | 3s succeed b w1 \
        | 4s submit c topic=job.c workflow=wf undo=job.undo_c | 5s succeed c w1 \
        | 6s submit d topic=job.d workflow=wf undo=job.undo_d | 7s fatal d w1";

    /// The stacks after a script: name, state, undone of all, then each step as the
    /// job it undoes, the one that does it, and how that stands.
    #[track_caller]
    fn check(script: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let rows: Vec<String> = stacks(&state.model, state.now)
            .into_iter()
            .map(|stack| {
                let name = match &stack.of {
                    Undone::Workflow(name) => name.to_string(),
                    Undone::Job(job) => format!("job {job}"),
                };
                let mut row = format!(
                    "{name} {} {} of {}",
                    stack.state.name(),
                    stack.undone(),
                    stack.steps.len()
                );
                for step in &stack.steps {
                    let id = |id: &Option<JobId>| id.as_ref().map_or("-".into(), JobId::to_string);
                    let stands = step.state.name().unwrap_or("?");
                    row.push_str(&format!(
                        ", {}:{} {stands}",
                        id(&step.undoes),
                        id(&step.job)
                    ));
                }
                row
            })
            .collect();
        assert_eq!(rows, expected, "{script}");
    }

    #[test]
    fn a_step_that_is_tried_again_stands_as_the_last_try_does() {
        let undo = |id: &str, of: &str| {
            format!(
                "9s submit {id} topic=job.undo_{of} workflow=wf parent={of} \
                 labels=saga_compensation:true,saga_workflow_id:wf"
            )
        };
        let denied = format!(
            "{FAILS} | {} | 10s succeed u1 w1 | {} | 11s denied u2 w1",
            undo("u1", "d"),
            undo("u2", "c")
        );
        check(
            &denied,
            &["wf broken 1 of 3, d:u1 SUCCEEDED, c:u2 DENIED, a:- ?"],
        );
        let again = format!(
            "{denied} | {} | 12s succeed u3 w1 | {} | 13s succeed u4 w1",
            undo("u3", "c"),
            undo("u4", "a")
        );
        check(
            &again,
            &["wf undone 3 of 3, d:u1 SUCCEEDED, c:u3 SUCCEEDED, a:u4 SUCCEEDED"],
        );
    }

    #[test]
    fn a_rollback_from_before_the_console_came_stands_as_the_plane_tells_it() {
        // Nobody heard of the jobs, and their own pages were not read.
        check(
            "9s rollback wf failed=d started=7s steps=d:x1:SUCCEEDED,c:x2:SUCCEEDED",
            &["wf undone 2 of 2, d:x1 SUCCEEDED, c:x2 SUCCEEDED"],
        );
        check(
            "9s rollback wf failed=d started=7s steps=d:x1:RUNNING,c::WAITING,a::REFUSED",
            &["wf broken 0 of 3, d:x1 RUNNING, c:- WAITING, a:- REFUSED"],
        );
        check(
            "9s rollback d alone failed=d started=7s steps=d:x1:SUCCEEDED",
            &["job d undone 1 of 1, d:x1 SUCCEEDED"],
        );
        // The page of the failed job tells its undo, and a list the job that does it
        // without the labels that say so.
        let page = "1s told d FAILED topic=job.d workflow=wf undo=job.undo_d ended=FAILED_FATAL \
            | 2s told x1 SUCCEEDED topic=job.undo_d";
        check(page, &["wf running 0 of 1, d:- WAITING"]);
        // It stopped: what had a turn has none, until the step is retried.
        let stopped = "7s rollback wf failed=d started=6s steps=d:x1:DENIED,c::NOT_RUN";
        check(stopped, &["wf broken 0 of 2, d:x1 DENIED, c:- NOT_RUN"]);
        let goes_on = "9s rollback wf failed=d started=6s steps=d:x2:RUNNING,c::WAITING";
        check(
            &format!("{stopped} | {goes_on}"),
            &["wf running 0 of 3, -:x1 ?, d:x2 RUNNING, c:- WAITING"],
        );
        check(
            &format!("{page} | 9s rollback wf failed=d started=1s steps=d:x1:SUCCEEDED"),
            &["wf undone 1 of 1, d:x1 SUCCEEDED"],
        );
    }

    #[test]
    fn a_job_that_was_heard_of_counts_more_than_what_the_plane_said_of_it_before() {
        let script =
            "7s rollback wf failed=d started=6s steps=d:x1:RUNNING,c::WAITING | 8s succeed x1 w2";
        check(script, &["wf running 1 of 2, d:x1 SUCCEEDED, c:- WAITING"]);
        let script = format!("{script} | 9s {} | 10s succeed x2 w2", undo("x2", "c"));
        check(
            &script,
            &["wf undone 2 of 2, d:x1 SUCCEEDED, c:x2 SUCCEEDED"],
        );
    }

    #[test]
    fn a_step_that_is_told_is_known_with_its_topic_key_verdict_and_what_failed() {
        let script = "9s rollback wf failed=d started=7s steps=d:x1:DENIED:deny";
        let state = script::run(script).expect("a script");
        let stacks = stacks(&state.model, state.now);
        let stack = stacks.first().expect("a stack");
        assert_eq!(stack.failed, [JobId::from("d")]);
        let at = script::START.plus(Elapsed::from_secs(7));
        assert_eq!(stack.started, Some(at));
        let step = &stack.steps[0];
        assert_eq!(step.topic.as_deref(), Some("job.undo_d"));
        assert_eq!(step.idempotency_key.as_deref(), Some("d/undo"));
        assert_eq!(step.decision, Some(Decision::Deny));
    }

    #[test]
    fn a_step_to_come_keeps_the_key_that_the_plane_derives_when_its_job_becomes_known() {
        let told = "7s rollback wf failed=d started=6s steps=d:x1:DENIED,a::NOT_RUN:deny";
        let page = "8s told a SUCCEEDED topic=job.a workflow=wf undo=job.undo_a";
        for script in [told.to_owned(), format!("{told} | {page}")] {
            let state = script::run(&script).expect("a script");
            let stacks = stacks(&state.model, state.now);
            let step = stacks[0].steps.last().expect("a step");
            assert_eq!(step.idempotency_key.as_deref(), Some("a/undo"), "{script}");
            assert_eq!(step.decision, Some(Decision::Deny), "{script}");
        }
    }

    fn undo(id: &str, of: &str) -> String {
        format!(
            "submit {id} topic=job.undo_{of} parent={of} workflow=wf labels=saga_compensation:true,saga_workflow_id:wf"
        )
    }

    #[test]
    fn a_workflow_is_armed_by_successes_that_can_be_undone_the_last_one_first() {
        let before: String = FAILS.rsplit_once("| 7s").expect("a step").0.to_owned();
        check(&before, &["wf armed 0 of 2, c:- RECORDED, a:- RECORDED"]);
        check("0s submit a topic=job.a undo=job.u | 1s succeed a w1", &[]);
    }

    #[test]
    fn the_failed_jobs_own_undo_runs_first_then_the_last_success() {
        check(
            FAILS,
            &["wf running 0 of 3, d:- WAITING, c:- WAITING, a:- WAITING"],
        );
        let script = format!("{FAILS} | 8s {} | 9s succeed x1 w2", undo("x1", "d"));
        check(
            &script,
            &["wf running 1 of 3, d:x1 SUCCEEDED, c:- WAITING, a:- WAITING"],
        );
        check(
            "0s submit a topic=job.a undo=job.u | 1s fatal a w1",
            &["job a running 0 of 1, a:- WAITING"],
        );
    }

    #[test]
    fn a_denied_step_breaks_the_undo_although_others_go_on() {
        let script = format!(
            "{FAILS} | 8s {} | 9s denied x1 | 10s {} | 11s dispatch x2 w2",
            undo("x1", "d"),
            undo("x2", "c")
        );
        check(
            &script,
            &["wf broken 0 of 3, d:x1 DENIED, c:x2 DISPATCHED, a:- WAITING"],
        );
    }

    #[test]
    fn a_step_that_was_passed_over_or_never_came_is_unknown_not_done() {
        // A plane that runs only what was recorded says nothing about the own undo.
        let script = format!("{FAILS} | 8s {} | 9s succeed x2 w2", undo("x2", "c"));
        check(
            &script,
            &["wf running 1 of 3, c:x2 SUCCEEDED, d:- null, a:- WAITING"
                .replace("null", "?")
                .as_str()],
        );
        check(
            &format!(
                "{FAILS} | 8s {} | 9s succeed x2 w2 | 80s tick",
                undo("x2", "c")
            ),
            &["wf unknown 1 of 3, c:x2 SUCCEEDED, d:- ?, a:- ?"],
        );
    }

    #[test]
    fn all_undone_is_said_only_when_every_step_was() {
        let script = format!(
            "{FAILS} | 8s {} | 9s succeed x1 w2 | 10s {} | 11s succeed x2 w2 | 12s {} | 13s succeed x3 w2",
            undo("x1", "d"),
            undo("x2", "c"),
            undo("x3", "a")
        );
        check(
            &script,
            &["wf undone 3 of 3, d:x1 SUCCEEDED, c:x2 SUCCEEDED, a:x3 SUCCEEDED"],
        );
        // FAILED, TIMEOUT, DENIED and a cancel undo nothing.
        for end in ["fail d w1", "timeout d w1", "denied d", "cancelled d w1"] {
            let script = FAILS.replace("fatal d w1", end);
            check(&script, &["wf armed 0 of 2, c:- RECORDED, a:- RECORDED"]);
        }
    }

    #[test]
    fn what_is_broken_or_runs_comes_first_then_the_newest_then_what_is_armed() {
        let one = |wf: &str, at: u64, rest: &str| {
            format!(
                "{at}s submit {wf}1 topic=job.a workflow={wf} undo=job.u | {at}s succeed {wf}1 w | {} | ",
                rest.replace("WF", wf)
            )
        };
        let undone = "9s submit WF2 topic=job.b workflow=WF | 10s fatal WF2 w | 11s submit WF3 topic=job.u parent=WF1 \
             labels=saga_compensation:true,saga_workflow_id:WF | 12s succeed WF3 w";
        let runs = "9s submit WF2 topic=job.b workflow=WF | 10s fatal WF2 w";
        let script = [
            one("armed", 1, "1s tick"),
            one("undone", 2, undone),
            one("runs", 3, runs),
            one("armed-later", 4, "4s tick"),
        ]
        .concat();
        let state = script::run(script.trim_end_matches("| ")).expect("a script");
        let names: Vec<String> = stacks(&state.model, state.now)
            .into_iter()
            .map(|stack| format!("{:?}", stack.of))
            .collect();
        let names = names.join(" ").replace("Workflow", "");
        assert_eq!(names, r#"("runs") ("undone") ("armed-later") ("armed")"#);
    }

    #[test]
    fn an_undo_that_becomes_known_late_arms_its_workflow_all_the_same() {
        check(
            "0s told a SUCCEEDED topic=job.a workflow=wf partial=1 | 1s told a SUCCEEDED undo=job.u",
            &["wf armed 0 of 1, a:- RECORDED"],
        );
    }
}
