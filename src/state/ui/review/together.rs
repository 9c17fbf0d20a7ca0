//! Jobs that are reviewed together, one of them on the screen.
//!
//! They share rule, tenant, action and snapshot, so that one yes can be meant for
//! all of them; each payload must have been seen to its end, or be equal byte for
//! byte to one that was. Start at [`Reviews::gate`].

use super::{Condition, Met, Review, approve_only, asked_for, typing_reason};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::approvals::ApprovalStatus;

/// At most this many jobs are decided together.
pub const TOGETHER: usize = 10;

/// What jobs that are decided together have in common, for sentences.
pub const SHARED: &str = "Jobs decided together must share rule, tenant, action and snapshot.";

/// One or more reviews; one of them is on the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviews {
    before: Vec<Review>,
    shown: Review,
    after: Vec<Review>,
    /// What was typed as a note, kept while they are open.
    pub note: String,
    /// What was typed as a reason.
    pub reason: String,
}

impl Reviews {
    /// Opens `first` and the rest after it.
    pub fn open(first: Review, rest: Vec<Review>) -> Self {
        Self {
            before: Vec::new(),
            shown: first,
            after: rest,
            note: String::new(),
            reason: String::new(),
        }
    }

    /// The review on the screen.
    pub fn shown(&self) -> &Review {
        &self.shown
    }

    pub(in crate::state::ui) fn shown_mut(&mut self) -> &mut Review {
        &mut self.shown
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Review> {
        let shown = std::iter::once(&self.shown);
        self.before.iter().chain(shown).chain(&self.after)
    }

    pub(in crate::state::ui) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Review> {
        let shown = std::iter::once(&mut self.shown);
        self.before.iter_mut().chain(shown).chain(&mut self.after)
    }

    /// The review of a job, if it is one of them.
    pub fn get(&self, job: &JobId) -> Option<&Review> {
        self.iter().find(|review| review.job == *job)
    }

    /// Place of the shown one, from 1, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (self.before.len() + 1, self.iter().count())
    }

    /// Whether there is more than one.
    pub fn are_several(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty()
    }

    /// Shows the next one, after the last the first; or the other way around.
    pub(in crate::state::ui) fn step(&mut self, forward: bool) {
        let (at, of) = self.place();
        self.show(if forward { at % of } else { (at + of - 2) % of });
    }

    /// Shows the review of `job`, if it is one of them.
    pub(in crate::state::ui) fn show_job(&mut self, job: &JobId) {
        let at = self.iter().position(|review| review.job == *job);
        if let Some(at) = at {
            self.show(at);
        }
    }

    fn show(&mut self, at: usize) {
        while self.before.len() > at {
            let Some(before) = self.before.pop() else {
                return;
            };
            let shown = std::mem::replace(&mut self.shown, before);
            self.after.insert(0, shown);
        }
        while self.before.len() < at && !self.after.is_empty() {
            let after = self.after.remove(0);
            let shown = std::mem::replace(&mut self.shown, after);
            self.before.push(shown);
        }
    }

    /// The reviews without that of `job`; `None` if it was the only one.
    pub(in crate::state::ui) fn without(mut self, job: &JobId) -> Option<Self> {
        if self.shown.job == *job {
            self.shown = if self.after.is_empty() {
                self.before.pop()?
            } else {
                self.after.remove(0)
            };
        } else {
            self.before.retain(|review| review.job != *job);
            self.after.retain(|review| review.job != *job);
        }
        Some(self)
    }

    /// Those that still wait for a person.
    pub fn waiting<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Review> {
        self.iter().filter(|review| waits(review, model))
    }

    /// What must hold of one job before it can be decided. `is_reading` says
    /// whether something about a job is still being read.
    pub fn conditions(
        &self,
        review: &Review,
        model: &Model,
        is_reading: &dyn Fn(&JobId) -> bool,
    ) -> Vec<Condition> {
        let own = review.read.payload_sha256.as_ref();
        let equal = own.is_some()
            && self
                .iter()
                .any(|other| other.job != review.job && other.seen_payload() == own);
        review.conditions(model, is_reading(&review.job), equal)
    }

    /// What must hold before `A` works, in the order of the screen: what is asked
    /// of the shown job, of the others, and by the dialog.
    pub fn gate(&self, model: &Model, is_reading: &dyn Fn(&JobId) -> bool) -> Vec<Condition> {
        let mut gate = self.conditions(&self.shown, model, is_reading);
        let mut left: Vec<&Review> = self.waiting(model).collect();
        if self.are_several() {
            if !waits(&self.shown, model) && !left.is_empty() {
                // What has ended is left out, and does not hold up the others.
                gate.truncate(1);
                for condition in &mut gate {
                    condition.text += ", left out";
                    condition.blocks_approval = false;
                    condition.blocks_rejection = false;
                }
            }
            self.ask_others(&mut gate, model, is_reading);
        } else {
            left = vec![&self.shown];
        }
        if gate
            .iter()
            .any(|it| it.met != Met::Yes && it.text == "read")
        {
            return gate;
        }
        let noted = if self.note.trim().is_empty() {
            Met::NotYet
        } else {
            Met::Yes
        };
        gate.push(asked_for(noted, "note".to_owned()));
        let typed = match left.as_slice() {
            [only] => model
                .approvals
                .get(&only.job)
                .and_then(|it| typing_reason(it))
                .map(|why| format!("type the last four ({why})")),
            several => Some(format!("type approve {}", several.len())),
        };
        gate.extend(typed.map(|says| asked_for(Met::NotYet, says)));
        gate
    }

    /// What is still missing of the jobs that are not on the screen, by their place.
    fn ask_others(
        &self,
        gate: &mut Vec<Condition>,
        model: &Model,
        is_reading: &dyn Fn(&JobId) -> bool,
    ) {
        let mut unseen = Vec::new();
        let mut first: Option<&Review> = None;
        for (at, review) in self.iter().enumerate() {
            let place = at + 1;
            if !waits(review, model) {
                continue;
            }
            if let Some(why) = first.and_then(|first| unlike(review, first, model)) {
                gate.push(approve_only(
                    Met::Never,
                    &format!("{place} is not like the others"),
                    &format!("{place}: {why}. {SHARED} Esc returns to the queue."),
                ));
            }
            first = first.or(Some(review));
            if review.job == self.shown.job {
                continue;
            }
            for condition in self.conditions(review, model, is_reading) {
                if condition.unseen {
                    unseen.push(place.to_string());
                } else if condition.met != Met::Yes {
                    gate.push(Condition {
                        text: format!("{place}: {}", condition.text),
                        why: format!("{place}: {}", condition.why),
                        ..condition
                    });
                }
            }
        }
        let others = match unseen.len() {
            0 if gate.iter().all(|it| it.met == Met::Yes) => approve_only(
                Met::Yes,
                &format!("all {} seen", self.waiting(model).count()),
                "",
            ),
            0 => return,
            1 => approve_only(
                Met::NotYet,
                &format!("payload of {} not seen", unseen[0]),
                &format!(
                    "Not yet: the payload of {} must have been on the screen to its end. n and N go there.",
                    unseen[0]
                ),
            ),
            _ => approve_only(
                Met::NotYet,
                &format!("payloads of {} not seen", unseen.join(", ")),
                &format!(
                    "Not yet: the payloads of {} must have been on the screen to their end. n and N go there.",
                    unseen.join(", ")
                ),
            ),
        };
        gate.push(others);
    }
}

fn waits(review: &Review, model: &Model) -> bool {
    model
        .approvals
        .get(&review.job)
        .is_some_and(|it| it.fact.status == ApprovalStatus::Pending)
}

fn unlike(review: &Review, first: &Review, model: &Model) -> Option<String> {
    let of = |review: &Review| model.approvals.get(&review.job);
    Some(of(review)?.unlike(of(first)?)?.words())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// Opens `abc`, steps by `n`, `N`, goes to `=x`, leaves out `-x`; the shown one
    /// stands in brackets.
    fn check(script: &str, expected: &str) {
        let at = Timestamp::from_millis(0);
        let review = |job: &str| Review::open(job.into(), 0, at);
        let mut reviews = Some(Reviews::open(review("a"), vec![review("b"), review("c")]));
        for word in script.split_whitespace() {
            let mut open = reviews.take().expect("open");
            reviews = match word.split_at(1) {
                ("n", _) => {
                    open.step(true);
                    Some(open)
                }
                ("N", _) => {
                    open.step(false);
                    Some(open)
                }
                ("=", job) => {
                    open.show_job(&job.into());
                    Some(open)
                }
                (_, job) => open.without(&job.into()),
            };
        }
        let text = reviews.map_or("closed".to_owned(), |reviews| {
            reviews
                .iter()
                .map(|review| match review.job == reviews.shown().job {
                    true => format!("[{}]", review.job),
                    false => review.job.to_string(),
                })
                .collect()
        });
        assert_eq!(text, expected, "{script}");
    }

    #[test]
    fn one_of_them_is_shown_and_they_keep_their_order() {
        check("", "[a]bc");
        check("n", "a[b]c");
        check("n n n", "[a]bc");
        check("N", "ab[c]");
        check("=c N", "a[b]c");
        check("=x", "[a]bc");
    }

    #[test]
    fn what_is_decided_leaves_and_the_next_one_is_shown() {
        check("-a", "[b]c");
        check("n -b", "a[c]");
        check("=c -c", "a[b]");
        check("=c -a", "b[c]");
        check("-a -b -c", "closed");
    }
}
