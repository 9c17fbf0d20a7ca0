//! What velocity rules counted, in the store: an index for each rule, of the requests that
//! passed it by in its window, with the instants in milliseconds as their scores.
//!
//! CAP deployments keep counts at `cordum:velocity:<rule>:<value>`, in a form that only
//! their own script knows. Ours are beside them, under a name of our own: what one
//! scheduler wrote there the other one could not read, and each counts what it decides. An
//! index takes requests one by one, forgets them by their time, and is the same when it is
//! written twice, so that it can be part of a commit. One for all the keys of a rule is
//! found by the name of the rule, however many keys there are, and goes by itself when
//! nothing is counted for as long as its window.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control_plane::kernel::policy::Policy;
use crate::control_plane::kernel::velocity::{Counted, MAX_COUNTED, Passed};
use crate::ids::JobId;
use crate::store::{Store, StoreError, Write};
use crate::time::{Elapsed, Timestamp};

/// The requests that passed a rule by are at this and its id.
const VELOCITY: &str = "capdeck:velocity:";
/// Requests read at once.
const READ_AT_ONCE: usize = 20_000;

/// A request, as a member of the index.
#[derive(Serialize, Deserialize)]
struct Member(String, String, u64);

fn key(rule: &str) -> String {
    format!("{VELOCITY}{rule}")
}

/// All that has to be written for what was counted.
pub(super) fn writes(counted: &Counted, now: Timestamp) -> Vec<Write> {
    let rules = counted.0.iter().map(|counted| {
        let members = counted.passed.iter().map(|passed| {
            let Passed { key, job, .. } = passed;
            let member = Member(key.clone(), job.to_string(), passed.number);
            let member = serde_json::to_string(&member).expect("plain data can be written");
            (member, passed.at.as_millis())
        });
        // What is as old as the window counts no more.
        let over = now.minus(counted.window).plus(Elapsed::from_millis(1));
        Write::Window {
            key: key(&counted.rule),
            members: members.collect(),
            from: over.as_millis(),
            ttl: counted.window,
        }
    });
    rules.collect()
}

/// Reads what was counted for the rules of a policy, the newest if there is too much. What
/// cannot be read stays where it is and is told.
pub(super) async fn read(
    store: &dyn Store,
    policy: &Policy,
) -> Result<BTreeMap<String, Vec<Passed>>, StoreError> {
    let mut counts = BTreeMap::new();
    let limited = policy.rules.iter().filter(|rule| rule.velocity.is_some());
    for rule in limited {
        let key = key(&rule.id);
        let mut passed = Vec::new();
        while passed.len() < MAX_COUNTED {
            let part = store.newest_after(&key, passed.len(), READ_AT_ONCE).await?;
            let last = part.len() < READ_AT_ONCE;
            passed.extend(part);
            if last {
                break;
            }
        }
        let mut readable = Vec::with_capacity(passed.len());
        for it in passed {
            match serde_json::from_str(&it.member) {
                Ok(Member(key, job, number)) => readable.push(Passed {
                    at: Timestamp::from_millis(it.score),
                    key,
                    job: JobId::from(job),
                    number,
                }),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(key, error, "a request that was counted is left out");
                }
            }
        }
        counts.insert(rule.id.clone(), readable);
    }
    Ok(counts)
}
