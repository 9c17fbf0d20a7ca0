//! The jobs of a trace or a workflow as a tree, and where their time went.
//!
//! Derived from the jobs when a trace is looked at. Children stand under the job
//! that asked for them, what undoes a job under that job, and jobs whose parent
//! nobody has heard of in a group of their own. Start at [`tree`] and [`spent`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{JobId, TraceId};
use crate::state::limits;
use crate::state::model::Model;
use crate::state::model::jobs::{Happened, Job, JobState, Moment};
use crate::state::model::rollbacks::{Undone, undone_by};
use crate::time::{Elapsed, Timestamp};

/// Which jobs belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TraceOf {
    /// Those of a workflow, with the traces they are in.
    Workflow(Arc<str>),
    /// Those of a trace.
    Trace(TraceId),
    /// A job that names neither.
    Job(JobId),
}

impl TraceOf {
    /// What a job belongs to.
    pub fn job(job: &Job) -> Self {
        let request = job.request.as_ref();
        match request.and_then(|it| it.workflow_id.clone()) {
            Some(workflow) => Self::Workflow(workflow),
            None => match &job.trace {
                Some(trace) => Self::Trace(trace.clone()),
                None => Self::Job(job.id.clone()),
            },
        }
    }

    /// What `id` names: a trace, a workflow or a job that is known.
    pub fn named(model: &Model, id: &str) -> Option<Self> {
        let trace = TraceId::from(id);
        if model.jobs.of_trace(&trace).next().is_some() {
            return Some(Self::Trace(trace));
        }
        if model.jobs.of_workflow(id).next().is_some() {
            return Some(Self::Workflow(Arc::from(id)));
        }
        model.jobs.get(&JobId::from(id)).map(|job| Self::job(job))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Workflow(name) => name,
            Self::Trace(trace) => trace.as_str(),
            Self::Job(job) => job.as_str(),
        }
    }
}

/// A place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The job; `None` for the group of those whose parent was not seen.
    pub job: Option<JobId>,
    /// For each level above whether more follows there, the outermost first; its
    /// length is the depth.
    pub rails: Vec<bool>,
    /// Whether more follows on its own level.
    pub more: bool,
    /// How many nodes are below it, at any depth.
    pub below: usize,
}

/// The jobs of `of` with all that they came from, the oldest first; at most
/// [`limits::TRACE_JOBS`].
pub fn members<'a>(model: &'a Model, of: &TraceOf) -> Vec<&'a Arc<Job>> {
    let mut known: BTreeMap<&JobId, &Arc<Job>> = BTreeMap::new();
    let mut add = |job: &'a Arc<Job>| {
        if known.len() < limits::TRACE_JOBS {
            known.insert(&job.id, job);
        }
    };
    match of {
        TraceOf::Job(job) => model.jobs.get(job).into_iter().for_each(&mut add),
        TraceOf::Trace(trace) => model.jobs.of_trace(trace).for_each(&mut add),
        TraceOf::Workflow(workflow) => {
            model.jobs.of_workflow(workflow).for_each(&mut add);
            let traces: BTreeSet<&TraceId> = model
                .jobs
                .of_workflow(workflow)
                .take(limits::TRACE_JOBS)
                .filter_map(|job| job.trace.as_ref())
                .collect();
            for trace in traces {
                model.jobs.of_trace(trace).for_each(&mut add);
            }
            let undo = model.rollbacks.get(&Undone::Workflow(Arc::clone(workflow)));
            for id in undo.iter().flat_map(|undo| &undo.jobs) {
                model.jobs.get(id).into_iter().for_each(&mut add);
            }
        }
    }
    // What they came from, although it is in another trace.
    let mut open: Vec<&Arc<Job>> = known.values().copied().collect();
    while let Some(job) = open.pop() {
        let parent = parent_of(job).and_then(|parent| model.jobs.get(parent));
        if let Some(parent) = parent
            && known.len() < limits::TRACE_JOBS
            && known.insert(&parent.id, parent).is_none()
        {
            open.push(parent);
        }
    }
    let mut jobs: Vec<&Arc<Job>> = known.into_values().collect();
    jobs.sort_by_key(|job| (job.first_seen, job.id.clone()));
    jobs
}

fn parent_of(job: &Job) -> Option<&JobId> {
    job.request.as_ref()?.parent.as_ref()
}

/// The tree of `of`, each job before what it asked for.
pub fn tree(model: &Model, of: &TraceOf) -> Vec<Node> {
    let jobs = members(model, of);
    let known: BTreeSet<&JobId> = jobs.iter().map(|job| &job.id).collect();
    let mut children: BTreeMap<&JobId, Vec<&Arc<Job>>> = BTreeMap::new();
    let (mut roots, mut orphans) = (Vec::new(), Vec::new());
    for job in &jobs {
        match parent_of(job) {
            Some(parent) if known.contains(parent) && *parent != job.id => {
                children.entry(parent).or_default().push(job);
            }
            Some(parent) if *parent != job.id => orphans.push(*job),
            Some(_) | None => roots.push(*job),
        }
    }
    let order = |jobs: &mut Vec<&Arc<Job>>| {
        jobs.sort_by_key(|job| {
            let step = job.request.as_ref().map_or(0, |it| it.step_index);
            (step, job.first_seen, job.id.clone())
        });
    };
    children.values_mut().for_each(order);
    order(&mut roots);
    order(&mut orphans);
    let mut walk = Walk {
        children,
        seen: BTreeSet::new(),
        nodes: Vec::new(),
    };
    walk.grow(roots, &[]);
    // Jobs that name each other as parents hang nowhere.
    let hanging: BTreeSet<JobId> = orphans.iter().map(|job| job.id.clone()).collect();
    if !orphans.is_empty() {
        walk.group(orphans);
    }
    let lost = |job: &&Arc<Job>| !walk.seen.contains(&job.id) && !hanging.contains(&job.id);
    let circle: Vec<&Arc<Job>> = jobs.iter().copied().filter(|job| lost(job)).collect();
    for job in circle {
        if !walk.seen.contains(&job.id) {
            walk.grow(vec![job], &[]);
        }
    }
    walk.nodes
}

struct Walk<'a> {
    children: BTreeMap<&'a JobId, Vec<&'a Arc<Job>>>,
    seen: BTreeSet<JobId>,
    nodes: Vec<Node>,
}

impl<'a> Walk<'a> {
    /// Adds `jobs` with all below them, under the levels of `rails`. A chain can be
    /// as long as the trace, so it is walked without recursion.
    fn grow(&mut self, jobs: Vec<&'a Arc<Job>>, rails: &[bool]) {
        let push = |open: &mut Vec<(&'a Arc<Job>, Vec<bool>, bool)>,
                    jobs: &[&'a Arc<Job>],
                    rails: &[bool]| {
            for (at, job) in jobs.iter().enumerate().rev() {
                open.push((*job, rails.to_vec(), at + 1 < jobs.len()));
            }
        };
        let mut open = Vec::new();
        push(&mut open, &jobs, rails);
        let mut above: Vec<usize> = Vec::new();
        let base = rails.len();
        while let Some((job, rails, more)) = open.pop() {
            if !self.seen.insert(job.id.clone()) {
                continue;
            }
            above.truncate(rails.len() - base);
            for ancestor in &above {
                self.nodes[*ancestor].below += 1;
            }
            above.push(self.nodes.len());
            if let Some(children) = self.children.get(&job.id) {
                let mut deeper = rails.clone();
                deeper.push(more);
                push(&mut open, children, &deeper);
            }
            self.nodes.push(Node {
                job: Some(job.id.clone()),
                rails,
                more,
                below: 0,
            });
        }
    }

    fn group(&mut self, orphans: Vec<&'a Arc<Job>>) {
        let at = self.nodes.len();
        self.nodes.push(Node {
            job: None,
            rails: Vec::new(),
            more: false,
            below: 0,
        });
        self.grow(orphans, &[false]);
        self.nodes[at].below = self.nodes.len() - at - 1;
    }
}

/// What a job does with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// It waits for another job, a worker or the plane.
    Queued,
    /// It waits for a person.
    Person,
    /// It waited at first and was with a worker, or over, at last, and nobody told what
    /// came between.
    Unknown,
    /// A worker has it.
    Worked,
}

impl Doing {
    /// What a job in this state does; `None` once it has ended.
    fn of(state: JobState) -> Option<Self> {
        match state {
            JobState::ApprovalRequired => Some(Self::Person),
            JobState::Pending | JobState::Scheduled | JobState::Retrying => Some(Self::Queued),
            JobState::Dispatched | JobState::Running => Some(Self::Worked),
            JobState::Succeeded
            | JobState::Failed
            | JobState::Cancelled
            | JobState::Timeout
            | JobState::Denied
            | JobState::OutputQuarantined => None,
        }
    }
}

/// A stretch of a job's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// When it began.
    pub from: Timestamp,
    /// When it ended, or `now`.
    pub to: Timestamp,
    /// What the job did.
    pub doing: Doing,
}

/// When a job ended, or `now` if it goes on.
pub fn end_of(job: &Job, now: Timestamp) -> Timestamp {
    if job.is_ended() {
        job.since.max(job.first_seen)
    } else {
        now
    }
}

/// What a job did from when it was heard of to its end or `now`, as its timeline
/// tells.
///
/// Where nobody can have told all, as when a gateway is asked every few seconds what
/// has become of it, the stretch is [`Doing::Unknown`].
pub fn stretches(job: &Job, now: Timestamp) -> Vec<Stretch> {
    let end = end_of(job, now);
    let life = Life::of(job);
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut close = |from: Timestamp, to: Timestamp, doing| {
        let to = to.min(end);
        if to <= from {
            return;
        }
        match stretches.last_mut() {
            Some(last) if last.doing == doing && last.to == from => last.to = to,
            _ => stretches.push(Stretch { from, to, doing }),
        }
    };
    let mut from = job.first_seen;
    // Moments that the timeline lost were its first ones.
    let mut doing = match job.history_dropped {
        0 => Doing::Queued,
        _ => Doing::Unknown,
    };
    for moment in &job.history {
        let next = match &moment.what {
            Happened::Submitted(_) => Doing::Queued,
            Happened::Dispatched(_) | Happened::FirstWord(_) => Doing::Worked,
            Happened::Became(state) => match Doing::of(*state) {
                Some(doing) => doing,
                None => continue,
            },
            Happened::Decided(_) | Happened::CancelAsked(_) | Happened::DeadLetter(_) => continue,
        };
        if next != doing && moment.at > from {
            let was = match next {
                Doing::Worked => life.before_work(doing, moment),
                Doing::Queued | Doing::Person | Doing::Unknown => doing,
            };
            close(from, moment.at, was);
            from = moment.at.min(end);
        }
        doing = next;
    }
    // Where nobody told the timeline, the state still says what it does now, and since
    // when.
    if let Some(now_doing) = job.state.and_then(Doing::of).filter(|it| *it != doing) {
        let since = job.since.max(from).min(end);
        let was = match now_doing {
            Doing::Worked if !life.is_told_at(since) => Doing::Unknown,
            Doing::Worked | Doing::Queued | Doing::Person | Doing::Unknown => doing,
        };
        close(from, since, was);
        (from, doing) = (since, now_doing);
    }
    if job.is_ended() {
        doing = life.before_end(doing);
    }
    close(from, end, doing);
    if stretches.is_empty() && job.is_ended() && !job.is_birth_known() {
        // An end of which nobody told the beginning.
        stretches.push(Stretch {
            from: end,
            to: end,
            doing: Doing::Unknown,
        });
    }
    stretches
}

/// How much of a job's life was told, so that what is missing in it did not happen.
struct Life<'a> {
    job: &'a Job,
    /// Its request was heard, and so would have been all packets after it.
    is_heard: bool,
    /// Each time that it was handed to a worker is in the timeline.
    has_all_tries: bool,
    /// Policy wanted a person, and that it waited for one was not told.
    lacks_person: bool,
}

impl<'a> Life<'a> {
    fn of(job: &'a Job) -> Self {
        let became = |state| {
            job.history
                .iter()
                .any(|it| it.what == Happened::Became(state))
        };
        let mut tries = 0;
        let mut has_worker = false;
        for moment in &job.history {
            let starts = match &moment.what {
                Happened::Dispatched(_) | Happened::FirstWord(_) => true,
                Happened::Became(state) => Doing::of(*state) == Some(Doing::Worked),
                Happened::Submitted(_)
                | Happened::Decided(_)
                | Happened::CancelAsked(_)
                | Happened::DeadLetter(_) => continue,
            };
            tries += u32::from(starts && !has_worker);
            has_worker = starts;
        }
        Self {
            job,
            is_heard: job.is_heard_from_birth(),
            has_all_tries: job.attempts() <= tries.max(1),
            lacks_person: job.was_held() && !became(JobState::ApprovalRequired),
        }
    }

    /// Whether the plane told all that came before this.
    fn is_told_at(&self, at: Timestamp) -> bool {
        self.job.told_until().is_some_and(|told| at <= told)
    }

    /// What a job did that was `doing` this when a worker had it.
    fn before_work(&self, doing: Doing, work: &Moment) -> Doing {
        if self.is_told_at(work.at) {
            return doing;
        }
        // A worker has it before it says its first word, and a person decides before.
        let is_seen_through = doing == Doing::Queued
            && !matches!(work.what, Happened::FirstWord(_))
            && !self.lacks_person
            && (self.is_heard || self.has_all_tries);
        if is_seen_through {
            doing
        } else {
            Doing::Unknown
        }
    }

    /// What a job did that was `doing` this before it ended.
    fn before_end(&self, doing: Doing) -> Doing {
        if self.is_told_at(self.job.since) || doing == Doing::Worked {
            return doing;
        }
        let never_ran = match self.job.state {
            Some(JobState::Denied) => true,
            Some(JobState::Failed | JobState::Timeout | JobState::Cancelled) => {
                self.is_heard && self.job.attempts() == 0 && self.job.worker().is_none()
            }
            Some(
                JobState::Pending
                | JobState::ApprovalRequired
                | JobState::Scheduled
                | JobState::Dispatched
                | JobState::Running
                | JobState::Retrying
                | JobState::Succeeded
                | JobState::OutputQuarantined,
            )
            | None => false,
        };
        let is_known = never_ran && (doing == Doing::Person || !self.lacks_person);
        if is_known { doing } else { Doing::Unknown }
    }
}

/// Whether more of what `job` did could be told than is known.
pub fn is_unclear(job: &Job, now: Timestamp) -> bool {
    !job.is_birth_known()
        || stretches(job, now)
            .iter()
            .any(|it| it.doing == Doing::Unknown)
}

/// Where the time of a trace went: at each instant the most that any job did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// When the first job was heard of.
    pub from: Timestamp,
    /// When the last one ended, or `now`.
    pub to: Timestamp,
    /// A worker had a job.
    pub worked: Elapsed,
    /// Nobody worked and a job waited for a person.
    pub person: Elapsed,
    /// Jobs only waited for other jobs, for workers or for the plane.
    pub queued: Elapsed,
    /// Nobody told what a job did, and no other one is known to have been with a worker.
    pub unknown: Elapsed,
    /// No job that is known was on its way.
    pub idle: Elapsed,
}

impl Spent {
    /// From when the first job was heard of to the end.
    pub fn total(&self) -> Elapsed {
        self.to.since(self.from)
    }

    /// Percent of the whole, rounded.
    pub fn percent(&self, part: Elapsed) -> u64 {
        let total = self.total().as_millis().max(1);
        (part.as_millis() * 100 + total / 2) / total
    }
}

/// Where the time of `jobs` went up to `now`.
pub fn spent(jobs: &[&Arc<Job>], now: Timestamp) -> Spent {
    let mut marks: BTreeMap<Timestamp, [i32; 4]> = BTreeMap::new();
    for job in jobs {
        for stretch in stretches(job, now) {
            marks.entry(stretch.from).or_default()[stretch.doing as usize] += 1;
            marks.entry(stretch.to).or_default()[stretch.doing as usize] -= 1;
        }
    }
    let from = jobs.iter().map(|job| job.first_seen).min().unwrap_or(now);
    let to = jobs.iter().map(|job| end_of(job, now)).max().unwrap_or(now);
    let mut open = [0; 4];
    let mut sums = [0_u64; 5];
    let mut last = from;
    for (at, changes) in marks {
        let most = open.iter().rposition(|count| *count > 0);
        sums[most.unwrap_or(4)] += at.since(last).as_millis();
        last = at;
        for (count, change) in open.iter_mut().zip(changes) {
            *count += change;
        }
    }
    let [queued, person, unknown, worked, idle] = sums.map(Elapsed::from_millis);
    Spent {
        from,
        to,
        worked,
        person,
        queued,
        unknown,
        idle,
    }
}

/// The chain of jobs that decides when a trace ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// From the first to the last of them.
    pub jobs: Vec<JobId>,
    /// The one that took longest.
    pub longest: JobId,
    /// Jobs behind the last one that have not ended.
    pub behind: usize,
    /// How many of those have been with a worker.
    pub started: usize,
    /// Whether the last one waits for a person.
    pub waits: bool,
}

/// The chain that decides when `jobs` end; `None` when there is no job.
///
/// What waits for a person decides alone, the longest wait first: nothing else can
/// move it. Else it is the job that goes on, or ended, last, with those it came from.
pub fn path(jobs: &[&Arc<Job>], now: Timestamp) -> Option<Path> {
    let known: BTreeMap<&JobId, &Arc<Job>> = jobs.iter().map(|job| (&job.id, *job)).collect();
    let waits = |job: &&&Arc<Job>| job.state == Some(JobState::ApprovalRequired);
    let longest_wait = jobs
        .iter()
        .filter(waits)
        .min_by_key(|job| (job.since, job.id.clone()));
    let last = longest_wait.or_else(|| {
        // What a worker has now is nearer to the end than what still waits for it.
        jobs.iter().max_by_key(|job| {
            let with_worker = job.state.is_some_and(JobState::is_with_worker);
            let ends = (!job.is_ended(), with_worker, end_of(job, now));
            (ends, std::cmp::Reverse(job.first_seen), job.id.clone())
        })
    })?;
    let took = |job: &Job| end_of(job, now).since(job.first_seen);
    let mut chain = vec![*last];
    if longest_wait.is_none() {
        let mut seen = BTreeSet::from([&last.id]);
        let mut at = *last;
        while let Some(before) = came_from(at, jobs, &known)
            && seen.insert(&before.id)
        {
            chain.push(before);
            at = before;
        }
    }
    chain.reverse();
    let longest = chain.iter().max_by_key(|job| took(job))?;
    let behind: Vec<&&Arc<Job>> = jobs
        .iter()
        .filter(|job| !job.is_ended() && stands_behind(job, &last.id, &known))
        .collect();
    Some(Path {
        longest: longest.id.clone(),
        started: behind.iter().filter(|job| job.attempts() > 0).count(),
        behind: behind.len(),
        waits: longest_wait.is_some(),
        jobs: chain.iter().map(|job| job.id.clone()).collect(),
    })
}

/// What had to end before `job` could begin: its parent; but for what undoes a job the
/// undo before it, or the failure that began the rollback.
fn came_from<'a>(
    job: &Job,
    jobs: &[&'a Arc<Job>],
    known: &BTreeMap<&JobId, &'a Arc<Job>>,
) -> Option<&'a Arc<Job>> {
    let parent = parent_of(job).and_then(|parent| known.get(parent)).copied();
    if undoes(job).is_none() {
        return parent;
    }
    let ended_before = jobs.iter().filter(|other| {
        let failed = other.state == Some(JobState::Failed);
        let counts = undoes(other).is_some() || failed;
        counts && other.is_ended() && other.since <= job.first_seen && other.id != job.id
    });
    let last = ended_before.max_by_key(|other| (other.since, other.first_seen));
    last.copied().or(parent)
}

fn stands_behind(job: &Job, ancestor: &JobId, known: &BTreeMap<&JobId, &Arc<Job>>) -> bool {
    let mut seen = BTreeSet::from([&job.id]);
    let mut at = parent_of(job);
    while let Some(parent) = at {
        if parent == ancestor {
            return true;
        }
        if !seen.insert(parent) {
            return false;
        }
        at = known.get(parent).and_then(|job| parent_of(job));
    }
    false
}

/// Whether a job stands under the one that it undoes.
pub fn undoes(job: &Job) -> Option<&JobId> {
    undone_by(job)?;
    parent_of(job)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    const TICKET: &str = "0s submit a topic=job.a trace=t workflow=wf | 1s dispatch a w1 | 12s succeed a w1 \
        | 13s submit c topic=job.c trace=t workflow=wf parent=a step=2 | 13s submit b topic=job.b trace=t workflow=wf parent=a step=1 \
        | 14s told c APPROVAL_REQUIRED | 14s dispatch b w1 | 20s succeed b w1 \
        | 21s submit d topic=job.d trace=t workflow=wf parent=c | 22s submit e topic=job.e trace=t workflow=wf parent=gone \
        | 23s submit x topic=job.x trace=other";

    fn of(name: &str) -> TraceOf {
        TraceOf::Workflow(name.into())
    }

    /// The tree after a script, a line a node: `│` and blanks for the levels above.
    #[track_caller]
    fn check(script: &str, of: &TraceOf, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let lines: Vec<String> = tree(&state.model, of)
            .into_iter()
            .map(|node| {
                let rails = node
                    .rails
                    .iter()
                    .skip(1)
                    .map(|more| if *more { "│" } else { " " });
                let mut line: String = rails.collect();
                if !node.rails.is_empty() {
                    line.push(if node.more { '├' } else { '└' });
                }
                let name = node.job.as_ref().map_or("(parent not seen)", JobId::as_str);
                line.push_str(name);
                if node.below > 0 {
                    line.push_str(&format!(" +{}", node.below));
                }
                line
            })
            .collect();
        assert_eq!(lines, expected, "{script}");
    }

    #[test]
    fn a_job_does_what_its_state_says_whatever_a_timeline_of_one_instant_ends_with() {
        use crate::state::event::Event;
        use crate::state::model::jobs::{JobFact, Moment};

        let now = Timestamp::from_millis(1_000_000);
        let ago = |seconds| now.minus(Elapsed::from_secs(seconds));
        let fact = JobFact {
            id: JobId::from("a"),
            state: Some(JobState::ApprovalRequired),
            created_at: Some(ago(280)),
            updated_at: Some(ago(277)),
            moments: [JobState::ApprovalRequired, JobState::Pending]
                .into_iter()
                .map(|state| Moment {
                    at: ago(277),
                    what: Happened::Became(state),
                })
                .collect(),
            ..JobFact::default()
        };
        let mut model = Model::default();
        model.apply(&Event::Jobs(vec![fact]), now);
        let job = model.jobs.get(&"a".into()).expect("a job");
        let told: Vec<_> = stretches(job, now)
            .iter()
            .map(|it| (it.doing, it.to.since(it.from).as_secs()))
            .collect();
        assert_eq!(told.last(), Some(&(Doing::Person, 277)), "{told:?}");
    }

    /// What job `a` did after a script up to `40s`: a stretch as `work 3s`.
    #[track_caller]
    fn check_life(script: &str, expected: &str) {
        let state = script::run(&format!("{script} | 40s tick")).expect("a script");
        let job = state.model.jobs.get(&"a".into()).expect("a job");
        let told: Vec<String> = stretches(job, state.now)
            .iter()
            .map(|it| {
                let doing = match it.doing {
                    Doing::Queued => "queue",
                    Doing::Person => "person",
                    Doing::Unknown => "unknown",
                    Doing::Worked => "work",
                };
                format!("{doing} {}s", it.to.since(it.from).as_secs())
            })
            .collect();
        assert_eq!(told.join(" "), expected, "{script}");
    }

    #[test]
    fn what_no_poll_caught_between_waiting_and_the_end_is_unknown() {
        // A gateway was asked at 1 s and at 9 s, of a job of which it tells the birth.
        let polled = "1s told a PENDING born=0s";
        check_life(&format!("{polled} | 9s told a SUCCEEDED"), "unknown 9s");
        check_life(&format!("{polled} | 9s told a CANCELLED"), "unknown 9s");
        check_life(
            &format!("{polled} | 9s told a TIMEOUT attempts=1"),
            "unknown 9s",
        );
        check_life(&format!("{polled} | 9s told a DENIED"), "queue 9s");
        check_life("9s told a SUCCEEDED born=0s", "unknown 9s");
        // Of this one not even when it began.
        check_life("9s told a SUCCEEDED", "unknown 0s");
        // What was caught is drawn as it was told.
        let caught = format!("{polled} | 5s told a RUNNING attempts=1");
        check_life(
            &format!("{caught} | 9s told a SUCCEEDED"),
            "queue 5s work 4s",
        );
        // Twice handed over and once seen: it may have worked before.
        let again = format!("{polled} | 5s told a RUNNING attempts=2");
        check_life(
            &format!("{again} | 9s told a SUCCEEDED"),
            "unknown 5s work 4s",
        );
    }

    #[test]
    fn a_wait_for_a_person_is_known_only_up_to_a_decision_that_is() {
        let waits =
            "0s told a PENDING born=0s | 1s told a APPROVAL_REQUIRED decision=REQUIRE_APPROVAL";
        check_life(waits, "queue 1s person 39s");
        let ran = "9s told a RUNNING attempts=1";
        check_life(&format!("{waits} | {ran}"), "queue 1s unknown 8s work 31s");
        let yes = "4s told a PENDING";
        check_life(
            &format!("{waits} | {yes} | {ran}"),
            "queue 1s person 3s queue 5s work 31s",
        );
        check_life(&format!("{waits} | 9s told a DENIED"), "queue 1s person 8s");
        // That it waited for one was never caught.
        let uncaught = "0s told a PENDING born=0s decision=REQUIRE_APPROVAL";
        check_life(&format!("{uncaught} | {ran}"), "unknown 9s work 31s");
        let granted =
            "9s told a RUNNING attempts=1 born=0s decision=ALLOW reason=\"approval granted\"";
        check_life(granted, "unknown 9s work 31s");
    }

    #[test]
    fn the_page_of_a_job_tells_what_polls_missed() {
        let polled = "1s told a PENDING born=0s | 9s told a SUCCEEDED attempts=3";
        let page =
            "10s told a SUCCEEDED told=9s record=0s:PENDING,2s:DISPATCHED,2s:RUNNING,9s:SUCCEEDED";
        check_life(&format!("{polled} | {page}"), "queue 2s work 7s");
        let never = "10s told a CANCELLED told=9s record=0s:PENDING,9s:CANCELLED";
        check_life(&format!("1s told a PENDING born=0s | {never}"), "queue 9s");
    }

    #[test]
    fn packets_that_were_all_heard_leave_nothing_unknown() {
        check_life(
            "0s submit a | 2s dispatch a w1 | 9s succeed a w1",
            "queue 2s work 7s",
        );
        check_life("0s submit a | 9s told a CANCELLED", "queue 9s");
        // A worker has a job before it speaks, and a result needs one.
        check_life("0s submit a | 4s progress a 10%", "unknown 4s work 36s");
        check_life("0s submit a | 9s succeed a w1", "unknown 9s");
    }

    #[test]
    fn what_is_unknown_counts_less_than_work_and_more_than_waiting() {
        let script = "0s submit a trace=t | 0s submit b trace=t | 4s dispatch b w \
             | 6s succeed b w | 9s succeed a w | 9s submit x trace=t | 12s tick";
        let state = script::run(script).expect("a script");
        let jobs = members(&state.model, &TraceOf::Trace("t".into()));
        let spent = spent(&jobs, state.now);
        let parts = [spent.worked, spent.unknown, spent.queued, spent.idle];
        assert_eq!(parts.map(Elapsed::as_secs), [2, 7, 3, 0]);
    }

    #[test]
    fn children_stand_under_their_parent_by_step_and_unseen_parents_are_grouped() {
        check(
            TICKET,
            &of("wf"),
            &["a +3", "├b", "└c +1", " └d", "(parent not seen) +1", "└e"],
        );
        check(TICKET, &TraceOf::Trace("other".into()), &["x"]);
    }

    #[test]
    fn what_undoes_a_job_hangs_under_it_though_its_trace_is_its_own() {
        let script = "0s submit a topic=job.a trace=t workflow=wf undo=job.u | 1s succeed a w \
             | 2s submit u topic=job.u trace=u parent=a labels=saga_compensation:true,saga_workflow_id:wf";
        check(script, &of("wf"), &["a +1", "└u"]);
        let state = script::run(script).expect("a script");
        let u = state.model.jobs.get(&"u".into()).expect("a job");
        assert_eq!(undoes(u), Some(&JobId::from("a")));
        // From the undo alone one still sees what it undoes.
        check(script, &TraceOf::Trace("u".into()), &["a +1", "└u"]);
    }

    #[test]
    fn jobs_that_are_their_own_ancestors_are_shown_once() {
        let script = "0s submit a topic=job.a trace=t parent=b | 1s submit b topic=job.b trace=t parent=a \
             | 2s submit c topic=job.c trace=t parent=c | 3s submit d topic=job.d trace=t parent=b";
        check(
            script,
            &TraceOf::Trace("t".into()),
            &["c", "a +2", "└b +1", " └d"],
        );
        let state = script::run(script).expect("a script");
        let jobs = members(&state.model, &TraceOf::Trace("t".into()));
        assert!(path(&jobs, state.now).is_some());
    }

    #[test]
    fn a_chain_as_long_as_the_limit_is_walked() {
        let script: String = (0..limits::TRACE_JOBS + 5)
            .map(|n| {
                format!(
                    "{n}s submit j{n} topic=job.a trace=t parent=j{} |",
                    n.max(1) - 1
                )
            })
            .collect();
        let state = script::run(&script).expect("a script");
        let nodes = tree(&state.model, &TraceOf::Trace("t".into()));
        assert!(nodes.len() <= limits::TRACE_JOBS + 1);
        assert!(nodes.iter().any(|node| node.rails.len() > 100));
    }

    #[test]
    fn a_name_is_a_trace_a_workflow_or_a_job() {
        let state = script::run(TICKET).expect("a script");
        let named = |id: &str| TraceOf::named(&state.model, id);
        assert_eq!(named("t"), Some(TraceOf::Trace("t".into())));
        assert_eq!(named("wf"), Some(of("wf")));
        assert_eq!(named("b"), Some(of("wf")));
        assert_eq!(named("x"), Some(TraceOf::Trace("other".into())));
        assert_eq!(named("nothing"), None);
    }

    #[test]
    fn each_instant_counts_once_and_work_counts_before_waiting() {
        let state = script::run(&format!("{TICKET} | 40s tick")).expect("a script");
        let jobs = members(&state.model, &of("wf"));
        let spent = spent(&jobs, state.now);
        let parts = [spent.worked, spent.person, spent.queued, spent.idle];
        // 1-12 and 14-20 worked; 20-40 a person; 0-1 and 13-14 queued; 12-13 nothing.
        assert_eq!(parts.map(Elapsed::as_secs), [17, 20, 2, 1]);
        assert_eq!(spent.total().as_secs(), 40);
        assert_eq!(spent.percent(spent.person), 50);
    }

    #[test]
    fn what_waits_for_a_person_is_the_path_and_who_stands_behind_it_is_counted() {
        let state = script::run(&format!("{TICKET} | 40s tick")).expect("a script");
        let jobs = members(&state.model, &of("wf"));
        let path = path(&jobs, state.now).expect("a path");
        assert_eq!(path.jobs, [JobId::from("c")]);
        assert_eq!((path.behind, path.started, path.waits), (1, 0, true));
    }

    #[test]
    fn of_ended_jobs_the_last_to_end_and_what_it_came_from_are_the_path() {
        let script = "0s submit a topic=job.a trace=t | 1s dispatch a w | 5s succeed a w \
             | 5s submit b topic=job.b trace=t parent=a | 5s submit c topic=job.c trace=t parent=a \
             | 6s dispatch b w | 30s succeed b w | 31s dispatch c w | 32s tick";
        let ended = format!(
            "{} | 33s succeed c w",
            script.rsplit_once(" | 32s").expect("a step").0
        );
        for (script, chain, longest) in [(script, "a c", "c"), (&ended, "a c", "c")] {
            let state = script::run(script).expect("a script");
            let jobs = members(&state.model, &TraceOf::Trace("t".into()));
            let path = path(&jobs, state.now).expect("a path");
            let ids: Vec<&str> = path.jobs.iter().map(JobId::as_str).collect();
            assert_eq!(
                (ids.join(" ").as_str(), path.longest.as_str()),
                (chain, longest)
            );
            assert!(!path.waits);
        }
    }

    #[test]
    fn the_path_of_a_rollback_goes_through_the_failure_and_every_undo_before() {
        let step = |at: u32, name: &str, parent: &str, ends: &str| {
            format!(
                "{at}s submit {name} topic=job.{name} trace=t workflow=wf {parent} | {at}s dispatch {name} w \
                 | {}s {ends} {name} w",
                at + 2
            )
        };
        let undo = |at: u32, name: &str| {
            let saga = "labels=saga_compensation:true,saga_workflow_id:wf";
            step(
                at,
                &format!("undo-{name}"),
                &format!("parent={name} {saga}"),
                "succeed",
            )
        };
        let script = [
            step(0, "a", "", "succeed"),
            step(2, "b", "parent=a", "succeed"),
            step(4, "c", "parent=b", "fatal"),
            undo(6, "b"),
            undo(8, "a"),
        ]
        .join(" | ");
        let state = script::run(&script).expect("a script");
        let jobs = members(&state.model, &of("wf"));
        let path = path(&jobs, state.now).expect("a path");
        let ids: Vec<&str> = path.jobs.iter().map(JobId::as_str).collect();
        assert_eq!(ids, ["a", "b", "c", "undo-b", "undo-a"]);
    }

    #[test]
    fn a_job_forgotten_by_its_trace_leaves_no_index_behind() {
        // The trace of a request replaces that of a result.
        let script = "0s succeed a w trace=t1 | 1s submit a topic=job.a trace=t2";
        let state = script::run(script).expect("a script");
        let count = |trace: &str| state.model.jobs.of_trace(&trace.into()).count();
        assert_eq!((count("t1"), count("t2")), (0, 1));
    }
}
