//! The records that a control plane keeps in its store, read: jobs, approvals,
//! workers, the policy in force.
//!
//! The keys are those of a CAP deployment on Redis. An index only says where to
//! look; the job's own hash says how it stands, and where that is gone, the entry
//! is too. A record that cannot be read is named in [`Troubles`] and the others
//! are read all the same; a store that does not answer fails the whole question.
//! Start at [`record`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::backfill::chain;
use super::facts;
use crate::ids::JobId;
use crate::state::event::{PoolFact, WorkerFact};
use crate::state::limits;
use crate::state::model::approvals::ApprovalFact;
use crate::state::model::jobs::{Happened, JobFact};
use crate::store::{Store, StoreError};
use crate::wire::packet::JobRequest;

mod parse;
#[cfg(test)]
mod tests;

pub(super) use parse::Troubles;

/// The index of the jobs that changed last; planes keep 1,000.
pub(super) const RECENT: &str = "job:recent";
/// The index of the jobs that wait for a person.
pub(super) const WAITING: &str = "job:index:approval_required";
/// The indexes of the jobs that have not ended.
pub(super) const OPEN: [&str; 6] = [
    "job:index:pending",
    WAITING,
    "job:index:scheduled",
    "job:index:dispatched",
    "job:index:running",
    "job:index:retrying",
];
/// The workers as the scheduler wrote them down last.
pub(super) const WORKERS: &str = "sys:workers:snapshot";
/// The policy snapshots, the one in force first.
const SNAPSHOTS: &str = "cordum:safety:snapshots";

/// Records that are asked for at once; they share one connection.
const AT_ONCE: usize = 64;
/// Longer records, in bytes, are not read, 8 MiB: the largest fleet's snapshot is less.
const LONGEST: u64 = 8 << 20;

fn meta_key(id: &JobId) -> String {
    format!("job:meta:{id}")
}

fn request_key(id: &JobId) -> String {
    format!("job:req:{id}")
}

fn events_key(id: &JobId) -> String {
    format!("job:events:{id}")
}

fn decisions_key(id: &JobId) -> String {
    format!("job:decisions:{id}")
}

fn dead_letter_key(id: &JobId) -> String {
    format!("dlq:entry:{id}")
}

/// How much of a job is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// What a list shows: its hash. What undoes another job is read as for a review.
    Row,
    /// What a decision needs: also the stored request and when it came.
    Review,
    /// All that is on record.
    Page,
}

/// A job as it is on record.
#[derive(Debug)]
pub(super) struct Record {
    /// The job.
    pub(super) job: JobFact,
    /// Its approval, where it waits or waited for a person.
    pub(super) approval: Option<ApprovalFact>,
    /// Whether it waits for a person now.
    pub(super) waits: bool,
}

/// Reads one job; `None` if nothing is on record, or no longer. `indexed_at` is
/// the score of the index that led to it, in microseconds.
///
/// # Errors
/// [`StoreError::Unreachable`] alone: what is refused is a trouble of this record.
pub(super) async fn record(
    store: &dyn Store,
    id: &JobId,
    indexed_at: Option<i64>,
    depth: Depth,
    troubles: &mut Troubles,
) -> Result<Option<Record>, StoreError> {
    let fields = one(store.hash(&meta_key(id)).await, troubles)?;
    let Some(meta) = parse::Meta::of(id, &fields) else {
        return Ok(None);
    };
    // What it undoes and when it ran are told by no row.
    let depth = match depth {
        Depth::Row if meta.is_compensation() => Depth::Review,
        depth => depth,
    };
    let stored = match depth {
        Depth::Row => None,
        Depth::Review | Depth::Page => stored_request(store, id, troubles).await?,
    };
    let mut job = parse::job(&meta, indexed_at, stored.as_ref(), troubles);
    if depth != Depth::Row {
        // One more than is kept, to see whether the first one is among them.
        let most = limits::MOMENTS + 1;
        let events = one(store.list_end(&events_key(id), most).await, troubles)?;
        let decisions = match depth {
            Depth::Page => one(store.list_end(&decisions_key(id), most).await, troubles)?,
            Depth::Row | Depth::Review => Vec::new(),
        };
        let moments = parse::moments(id, &events, &decisions, troubles);
        if events.len() < most {
            let first = moments
                .iter()
                .find(|it| matches!(it.what, Happened::Became(_)));
            job.created_at = first.map(|moment| moment.at);
        }
        if depth == Depth::Page {
            fill(&mut job, &decisions);
            job.is_whole_life = job.created_at.is_some();
            job.moments = moments;
            read_end(store, &mut job, troubles).await?;
        }
    }
    let approval = parse::approval(&meta, &job, stored.as_ref(), troubles);
    Ok(Some(Record {
        waits: meta.waits(),
        job,
        approval,
    }))
}

/// Reads the jobs behind index entries. The troubles are the third of each.
///
/// # Errors
/// As [`record`].
pub(super) async fn records(
    store: &Arc<dyn Store>,
    entries: Vec<(JobId, i64)>,
    depth: Depth,
) -> Result<Vec<(JobId, Option<Record>, Troubles)>, StoreError> {
    stream::iter(entries)
        .map(|(id, score)| {
            let store = Arc::clone(store);
            async move {
                let mut troubles = Troubles::default();
                let read = record(&*store, &id, Some(score), depth, &mut troubles).await?;
                Ok((id, read, troubles))
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// Reads the jobs of a trace, at most [`limits::TRACE_JOBS`].
///
/// # Errors
/// As [`record`].
pub(super) async fn of_trace(
    store: &Arc<dyn Store>,
    trace: &str,
    troubles: &mut Troubles,
) -> Result<Vec<JobFact>, StoreError> {
    let key = format!("trace:{trace}");
    let members = one(store.members(&key, limits::TRACE_JOBS).await, troubles)?;
    let mut jobs = Vec::new();
    let mut reading = stream::iter(members)
        .map(|id| {
            let store = Arc::clone(store);
            async move {
                let mut troubles = Troubles::default();
                let id = JobId::from(id);
                let read = record(&*store, &id, None, Depth::Row, &mut troubles).await?;
                Ok((read, troubles))
            }
        })
        .buffered(AT_ONCE);
    while let Some((read, of_job)) = reading.try_next().await? {
        troubles.join(of_job);
        jobs.extend(read.map(|record| record.job));
    }
    Ok(jobs)
}

/// Adds to what a gateway told of a job what it does not tell: the timeline,
/// limits, the stored request.
pub(super) async fn complete(store: &dyn Store, job: &mut JobFact) -> Result<(), StoreError> {
    let mut troubles = Troubles::default();
    let most = limits::MOMENTS + 1;
    let events = one(
        store.list_end(&events_key(&job.id), most).await,
        &mut troubles,
    )?;
    let decisions = one(
        store.list_end(&decisions_key(&job.id), most).await,
        &mut troubles,
    )?;
    job.moments = parse::moments(&job.id, &events, &decisions, &mut troubles);
    job.is_whole_life = !events.is_empty() && events.len() < most;
    fill(job, &decisions);
    if !job.request.as_ref().is_some_and(|it| it.complete)
        && let Some(stored) = stored_request(store, &job.id, &mut troubles).await?
    {
        facts::with_stored(job, &stored);
    }
    troubles.log();
    Ok(())
}

fn fill(job: &mut JobFact, decisions: &[Bytes]) {
    if let Some(verdict) = &mut job.verdict
        && verdict.constraints.is_empty()
    {
        verdict.constraints = parse::last_limits(decisions);
    }
}

async fn read_end(
    store: &dyn Store,
    job: &mut JobFact,
    troubles: &mut Troubles,
) -> Result<(), StoreError> {
    if job.result_ptr.is_none() {
        let key = format!("job:result_ptr:{}", job.id);
        let pointer = value(store, &key, limits::TEXT as u64, troubles).await?;
        job.result_ptr =
            pointer.and_then(|it| crate::state::shared::text(&String::from_utf8_lossy(&it)));
    }
    let letter = value(store, &dead_letter_key(&job.id), LONGEST, troubles).await?;
    if let Some(letter) = letter {
        parse::dead_letter(&job.id.clone(), &letter, job, troubles);
    }
    Ok(())
}

/// The request of a job as it is stored now; `None` if it is gone or unreadable.
///
/// # Errors
/// As [`record`].
pub(super) async fn stored_request(
    store: &dyn Store,
    id: &JobId,
    troubles: &mut Troubles,
) -> Result<Option<JobRequest>, StoreError> {
    let key = request_key(id);
    let Some(bytes) = value(store, &key, facts::MAX_PAYLOAD, troubles).await? else {
        return Ok(None);
    };
    let request = facts::read_request(&bytes);
    match request {
        Ok(request) => Ok(Some(request)),
        Err(error) => {
            troubles.add(&key, error);
            Ok(None)
        }
    }
}

/// The policy snapshot in force; `None` if the plane does not write it down, as
/// the older generation.
///
/// # Errors
/// As [`record`].
pub(super) async fn snapshot(
    store: &dyn Store,
    troubles: &mut Troubles,
) -> Result<Option<Arc<str>>, StoreError> {
    let snapshots = one(store.list(SNAPSHOTS).await, troubles)?;
    let Some(first) = snapshots.first() else {
        return Ok(None);
    };
    match std::str::from_utf8(first) {
        Ok(snapshot) if snapshot.len() <= limits::TEXT => Ok(Some(Arc::from(snapshot))),
        Ok(_) | Err(_) => {
            troubles.add(SNAPSHOTS, "the first entry is no snapshot");
            Ok(None)
        }
    }
}

/// The workers and pools; `None` if no scheduler has written them down lately.
///
/// # Errors
/// As [`record`].
pub(super) async fn fleet(
    store: &dyn Store,
    troubles: &mut Troubles,
) -> Result<Option<(Vec<WorkerFact>, Vec<PoolFact>)>, StoreError> {
    let bytes = value(store, WORKERS, LONGEST, troubles).await?;
    Ok(bytes.map(|bytes| parse::fleet(&bytes, troubles)))
}

/// The jobs in an index, the one that changed last first, at most `most`.
///
/// # Errors
/// [`StoreError`], of any kind: without its indexes a store tells nothing.
pub(super) async fn index(
    store: &dyn Store,
    key: &str,
    most: usize,
    troubles: &mut Troubles,
) -> Result<Vec<(JobId, i64)>, StoreError> {
    let mut entries = store.newest(key, most.saturating_add(1)).await?;
    if entries.len() > most {
        entries.truncate(most);
        troubles.add(
            key,
            format_args!("it has more than {most} jobs, and the oldest were not read"),
        );
    }
    let mut jobs = Vec::with_capacity(entries.len());
    for entry in entries {
        if entry.member.is_empty() || entry.member.len() > limits::TEXT {
            troubles.add(key, "an entry is no job id");
        } else {
            jobs.push((JobId::from(entry.member), entry.score));
        }
    }
    Ok(jobs)
}

/// The bytes at `key`, unless they are more than `longest`.
async fn value(
    store: &dyn Store,
    key: &str,
    longest: u64,
    troubles: &mut Troubles,
) -> Result<Option<Bytes>, StoreError> {
    match one(store.len(key).await, troubles)? {
        None => Ok(None),
        Some(long) if long > longest => {
            troubles.add(key, format_args!("{long} bytes are too many to read"));
            Ok(None)
        }
        Some(_) => one(store.get(key).await, troubles),
    }
}

/// A key that is of another shape, or may not be read, is the trouble of one
/// record; a store that does not answer is everybody's.
fn one<T: Default>(
    answer: Result<T, StoreError>,
    troubles: &mut Troubles,
) -> Result<T, StoreError> {
    match answer {
        Err(error @ StoreError::Refused { .. }) => {
            troubles.0.push(chain(&error));
            Ok(T::default())
        }
        other => other,
    }
}
