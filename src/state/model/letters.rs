//! Dead letters: jobs that could not be done, and why.
//!
//! A gateway that lists them is believed; between two of its lists, and where there
//! is none, packets on `sys.job.dlq` tell of new ones. A letter leaves when it is
//! retried or dropped, which only the gateway's list shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::JobId;
use crate::state::limits;
use crate::state::model::jobs::{JobState, bounded, error_code};
use crate::state::shared::{Text, text};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{Body, JobStatus, Packet};

/// A letter that was heard this short a time ago may be younger than the list that
/// does not have it: a list is on its way for less than the limit of a request.
const YOUNG: Elapsed = Elapsed::from_secs(10);

/// A job that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The job.
    pub job: JobId,
    /// Its topic, where the letter tells it.
    pub topic: Text,
    /// The status of its last result.
    pub status: Option<JobStatus>,
    /// Why, as a code such as `safety_denied`.
    pub reason_code: Text,
    /// Why, for people.
    pub reason: Text,
    /// Where the job stood before.
    pub last_state: Option<JobState>,
    /// How often it had been handed to a worker; `None` if the letter does not tell.
    pub attempts: Option<u32>,
    /// When it became one: the plane's word, else when it was heard.
    pub at: Timestamp,
}

/// What a gateway lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LettersFact {
    /// The letters, the newest ones if there are more than were asked for.
    pub letters: Vec<DeadLetter>,
    /// Whether a retry there keeps labels and risk tags: the older generation,
    /// which lists without a page, drops them.
    pub retry_copies: Option<bool>,
    /// Whether there may be more.
    pub more: bool,
}

/// The dead letters that are known, one a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letters {
    rows: BTreeMap<JobId, Arc<DeadLetter>>,
    by_age: BTreeSet<(Timestamp, JobId)>,
    heard_at: BTreeMap<JobId, Timestamp>,
    /// When the gateway listed them last; `None` if none does.
    told_at: Option<Timestamp>,
    retry_copies: Option<bool>,
    more: bool,
    dropped: u64,
}

impl Letters {
    /// The letter of a job.
    pub fn get(&self, job: &JobId) -> Option<&Arc<DeadLetter>> {
        self.rows.get(job)
    }

    /// All letters, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Arc<DeadLetter>> {
        self.by_age
            .iter()
            .rev()
            .filter_map(|(_, job)| self.rows.get(job))
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the gateway has more than it was asked for.
    pub fn more(&self) -> bool {
        self.more
    }

    /// When the gateway listed them last; `None` if none does.
    pub fn told_at(&self) -> Option<Timestamp> {
        self.told_at
    }

    /// Whether a retry keeps labels and risk tags; `None` if that is not known.
    pub fn retry_copies(&self) -> Option<bool> {
        self.retry_copies
    }

    /// Letters that were heard and forgotten because [`limits::LETTERS`] were kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes in a packet of `sys.job.dlq`, read leniently: schedulers name no worker.
    pub(crate) fn heard(&mut self, packet: &Packet, now: Timestamp) {
        let Body::JobResult(result) = &packet.body else {
            return;
        };
        if result.job_id.is_empty() {
            return;
        }
        let known = self.rows.get(&result.job_id);
        let letter = DeadLetter {
            job: result.job_id.clone(),
            topic: known.and_then(|it| it.topic.clone()),
            status: Some(result.status),
            reason_code: error_code(result),
            reason: text(bounded(&result.error_message)),
            last_state: known.and_then(|it| it.last_state),
            attempts: known.and_then(|it| it.attempts),
            // The same packet heard again makes its letter no younger.
            at: known.map_or(now, |it| it.at),
        };
        self.heard_at.insert(letter.job.clone(), now);
        self.add(letter);
        while self.rows.len() > limits::LETTERS {
            let Some((_, oldest)) = self.by_age.pop_first() else {
                break;
            };
            self.rows.remove(&oldest);
            self.heard_at.remove(&oldest);
            self.dropped += 1;
        }
    }

    /// Takes in the gateway's list: what it does not have is gone, unless it was
    /// heard so shortly ago that the list may be older.
    pub(crate) fn told(&mut self, fact: &LettersFact, now: Timestamp) {
        self.heard_at
            .retain(|_, at| now.since(*at).as_millis() < YOUNG.as_millis());
        let young = std::mem::take(&mut self.rows);
        self.by_age.clear();
        for letter in fact.letters.iter().take(limits::LETTERS) {
            self.add(letter.clone());
        }
        for (job, letter) in young {
            let room = self.rows.len() < limits::LETTERS;
            if room && self.heard_at.contains_key(&job) && !self.rows.contains_key(&job) {
                self.add(DeadLetter::clone(&letter));
            }
        }
        self.told_at = Some(now);
        self.retry_copies = fact.retry_copies;
        self.more = fact.more;
    }

    fn add(&mut self, letter: DeadLetter) {
        let job = letter.job.clone();
        self.by_age.insert((letter.at, job.clone()));
        if let Some(before) = self.rows.insert(job.clone(), Arc::new(letter))
            && self.rows.get(&job).is_some_and(|now| now.at != before.at)
        {
            self.by_age.remove(&(before.at, job));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    /// The letters after a script, the newest first: job, code, seconds.
    fn check(script: &str, expected: &str) {
        let state = script::run(script).expect("a script");
        let letters: Vec<String> = state
            .model
            .letters
            .newest()
            .map(|it| {
                let code = it.reason_code.as_deref().unwrap_or("?");
                format!(
                    "{} {code} {}s",
                    it.job,
                    it.at.since(script::START).as_secs()
                )
            })
            .collect();
        assert_eq!(letters.join(", "), expected, "{script}");
    }

    #[test]
    fn a_packet_tells_of_a_letter_once() {
        check(
            "0s dlq j1 DENIED code=safety_denied | 4s dlq j2 FAILED code=boom | 9s dlq j1 DENIED code=safety_denied",
            "j2 boom 4s, j1 safety_denied 0s",
        );
        check("0s dlq \"\" FAILED code=saga_unmarshal_failed", "");
    }

    #[test]
    fn the_gateways_list_is_believed_but_not_against_what_was_heard_just_now() {
        check(
            "0s dlq j1 DENIED code=a | 30s dlq j2 FAILED code=b | 31s letter j3 FAILED code=c told=2s",
            "j2 b 30s, j3 c 2s",
        );
        check(
            "0s letter j1 FAILED code=a told=0s | 20s letter j2 FAILED code=b told=20s",
            "j2 b 20s",
        );
    }

    #[test]
    fn letters_are_bounded_and_the_oldest_goes_first() {
        let script: String = (0..=limits::LETTERS)
            .map(|n| format!("{n}s dlq j{n} FAILED code=x |"))
            .collect();
        let state = script::run(&script).expect("a script");
        let letters = &state.model.letters;
        assert_eq!((letters.len(), letters.dropped()), (limits::LETTERS, 1));
        assert!(letters.get(&JobId::from("j0")).is_none());
        assert!(letters.get(&JobId::from("j1")).is_some());
    }
}
