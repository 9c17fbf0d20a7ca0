//! How much the model keeps, and why.
//!
//! What does not fit is counted, never silently lost; the status line shows the sums.

use crate::time::Elapsed;

/// Jobs. Ended ones go first, the one that ended longest ago before all others.
/// Twice the 100,000 that a busy day has, at about a kilobyte each.
pub const JOBS: usize = 200_000;
/// Moments in the timeline of one job: a job with fifty attempts keeps the last ones.
pub const MOMENTS: usize = 48;
/// Worker rows, twice the largest fleet that the heat map is drawn for.
pub const WORKERS: usize = 20_000;
/// Labels of one job or worker, as many as the gateways of the contract take.
pub const LABELS: usize = 64;
/// Alerts heard on the bus; the oldest go first.
pub const ALERTS: usize = 1_000;
/// Senders with counters of their own; later ones share one row.
pub const SENDERS: usize = 10_000;
/// Distinct findings kept for one sender, as texts.
pub const FINDINGS: usize = 8;
/// Topics with counters of their own; later ones share one row.
pub const TOPICS: usize = 2_000;
/// Rollbacks; the one that began longest ago goes first.
pub const ROLLBACKS: usize = 1_000;
/// Steps of one rollback, as many as the embedded plane keeps.
pub const ROLLBACK_STEPS: usize = 1_000;
/// Workflows and lone jobs whose undo is known and was not asked for; the one that
/// succeeded longest ago goes first.
pub const ARMED: usize = 2_000;
/// Jobs that the tree of one trace is made of; the oldest ones stay.
pub const TRACE_JOBS: usize = 2_000;
/// Rules with counts of their own; the verdicts of later ones are not counted.
pub const RULES: usize = 2_000;
/// Policy snapshots of which it is kept when they came into force.
pub const SNAPSHOTS: usize = 100;
/// Undos of which it is kept what policy would say; a look asks about a screenful.
pub const COMPENSATIONS: usize = 500;
/// Decisions that a candidate policy is tried on, the last ones: as many as a page of
/// the log.
pub const TRIED: u32 = 500;
/// Groups of flips that one answer is read to.
pub const FLIPS: usize = 500;
/// Dead letters; the oldest go first. A gateway is asked for as many.
pub const LETTERS: usize = 500;
/// Packets about jobs kept for their details; the oldest go first. At a busy 400 a
/// second that is half a minute of all of them.
pub const PACKETS: usize = 10_000;
/// Malformed deliveries kept to be looked at.
pub const MALFORMED: usize = 100;
/// Approvals that were decided or ended, kept for the lower list.
pub const DECIDED: usize = 200;
/// Payloads kept for the review and the detail; the one read longest ago goes first.
pub const PAYLOADS: usize = 16;
/// Texts kept once for all rows.
pub const INTERNED: usize = 20_000;
/// Sets of labels kept once for all rows that have the same ones.
pub const INTERNED_LABELS: usize = 5_000;
/// Longer texts, in bytes, are not worth comparing with others.
pub const INTERNED_LEN: usize = 128;

/// A text of a job that is not its payload, in bytes: longer ones are cut, with a mark.
pub const TEXT: usize = 4_096;

/// A worker beats every 2 to 5 s by the contract; assumed until two beats were heard.
pub const BEAT: Elapsed = Elapsed::from_secs(5);
/// Silence after which schedulers give no more work to a worker.
pub const LOST: Elapsed = Elapsed::from_secs(30);
/// A lost worker keeps its row this long.
pub const GONE: Elapsed = Elapsed::from_secs(600);
/// The shortest time without a move that is called a stall.
pub const STALL: Elapsed = Elapsed::from_secs(30);
/// A stall is this many times the job's usual step.
pub const STALL_STEPS: u64 = 3;
/// An alert of the bus fires this long after it was last heard: nobody sends its end.
pub const ALERT_FIRES: Elapsed = Elapsed::from_secs(300);
