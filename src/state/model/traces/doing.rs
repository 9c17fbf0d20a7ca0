//! What a job did when, as its timeline tells, and where the time of a trace went.
//!
//! Where nobody can have told all, what a job did is [`Doing::Unknown`], never a guess.
//! Start at [`stretches`] and [`spent`].

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::state::model::jobs::{Happened, Job, JobState, Moment};
use crate::time::{Elapsed, Timestamp};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::JobId;
    use crate::state::model::Model;
    use crate::state::model::traces::tests::{TICKET, of};
    use crate::state::model::traces::{TraceOf, members};
    use crate::state::script;

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
    fn a_wait_for_a_person_stays_one_when_the_job_goes_on() {
        let record = "record=0s:PENDING,0s:REQUIRE_APPROVAL,0s:APPROVAL_REQUIRED";
        let held = "told a APPROVAL_REQUIRED born=0s told=0s decision=REQUIRE_APPROVAL";
        let waits = format!("1s {held} | 2s {held} {record}");
        check_life(&waits, "person 40s");
        let on = format!("{record},20s:PENDING,20s:ALLOW,20s:DISPATCHED,20s:RUNNING");
        let goes = format!("21s told a RUNNING born=0s told=20s decision=ALLOW {on}");
        check_life(&format!("{waits} | {goes}"), "person 20s work 20s");
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
}
