//! What to say when something is missing: a server that is gone, data that is
//! old, a deployment that nobody has reached yet.

use crate::state::State;
use crate::state::event::{LinkState, Source};
use crate::state::model::Model;
use crate::text;
use crate::time::{Elapsed, Timestamp};
use crate::view::Prose;

/// How long a notice of a server that is back stays.
const BACK: Elapsed = Elapsed::from_secs(5);

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Good news.
    Good,
    /// Something is missing.
    Missing,
}

/// Something that all of the screen should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub weight: Weight,
    /// What happened, then what still holds and what does not.
    pub lines: Vec<Prose>,
}

/// The name that sentences give a server.
pub fn spoken(source: Source) -> &'static str {
    match source {
        Source::Bus => "NATS",
        Source::Gateway => "The gateway",
        Source::Store => "Redis",
    }
}

/// The server that tells of jobs and approvals, in the middle of a sentence.
pub fn teller(model: &Model) -> &'static str {
    match model.links.teller() {
        Some(Source::Store) => "Redis",
        Some(Source::Gateway | Source::Bus) | None => "the gateway",
    }
}

/// What all of the screen should know now, worst first.
pub fn notices(state: &State) -> Vec<Notice> {
    let links = &state.model.links;
    let now = state.now;
    let mut notices: Vec<Notice> = Source::ALL
        .into_iter()
        .filter_map(|source| gone(state, source))
        .collect();
    for source in Source::ALL {
        if let Some((down_for, at)) = links.of(source).back
            && now.since(at) < BACK
            && links.of(source).is_up()
        {
            notices.push(Notice {
                weight: Weight::Good,
                lines: vec![back(state, source, down_for)],
            });
        }
    }
    if let LinkState::Lagging { dropped } = links.of(Source::Bus).state {
        notices.push(Notice {
            weight: Weight::Missing,
            lines: vec![
                Prose::new()
                    .strong(format!(
                        "{} dropped: they came faster than we read.",
                        text::count(dropped, "packet was", "packets were")
                    ))
                    .own(" Counts since then may be low."),
            ],
        });
    }
    notices
}

fn gone(state: &State, source: Source) -> Option<Notice> {
    let links = &state.model.links;
    let line = links.of(source);
    let LinkState::Down {
        since,
        reason,
        attempts,
        again_at,
    } = &line.state
    else {
        return None;
    };
    if !line.was_up {
        // The first-run screen says it while nothing has ever answered.
        return None;
    }
    let first = Prose::new()
        .strong(format!(
            "{} is gone for {}.",
            spoken(source),
            text::age(state.now.since(*since))
        ))
        .own(format!(" {}", tries(*attempts, *again_at, state.now)))
        .outside(reason.clone())
        .own(".");
    let gateway = links.of(Source::Gateway).is_up();
    let bus = links.of(Source::Bus).is_up();
    let teller = links.teller().filter(|source| links.of(*source).is_up());
    let second = match source {
        Source::Bus => format!(
            "Workers and progress are as of {}. {}",
            text::clock(*since),
            match teller {
                Some(Source::Gateway) => "Jobs and approvals stay current: the gateway is asked.",
                Some(_) => "Jobs and approvals stay current: Redis is asked.",
                None => "Nothing else tells about jobs.",
            }
        ),
        Source::Gateway if bus => {
            "Watching goes on over NATS; A R X T and payloads wait for it.".to_owned()
        }
        Source::Gateway if links.of(Source::Bus).state == LinkState::Absent => {
            format!("Everything is as of {}.", text::clock(*since))
        }
        // What the bus told is as old as its own notice says.
        Source::Gateway => format!("Approvals and verdicts are as of {}.", text::clock(*since)),
        Source::Store if gateway => {
            "Payloads and job hashes come from the gateway; what it does not have reads unknown."
                .to_owned()
        }
        Source::Store if links.teller() == Some(Source::Gateway) => {
            "Payloads and job hashes wait for it or the gateway.".to_owned()
        }
        Source::Store if bus => format!(
            "Approvals are as of {}, and payloads cannot be read. Watching goes on over NATS.",
            text::clock(*since)
        ),
        Source::Store if links.of(Source::Bus).state == LinkState::Absent => {
            format!("Everything is as of {}.", text::clock(*since))
        }
        Source::Store => format!("Approvals and verdicts are as of {}.", text::clock(*since)),
    };
    Some(Notice {
        weight: Weight::Missing,
        lines: vec![first, Prose::new().own(second)],
    })
}

/// What is done about a lost line: `Trying again in 4s, attempt 7: `.
fn tries(attempts: u32, again_at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(again_at) = again_at else {
        return "It is not tried again: ".to_owned();
    };
    // Due now is under way: its own limit is not known here.
    let when = match again_at.since(now) {
        left if left.as_millis() == 0 => "now".to_owned(),
        left => format!("in {}s", left.as_millis().div_ceil(1_000)),
    };
    format!(
        "Trying again {when}, attempt {}: ",
        attempts.saturating_add(1)
    )
}

fn back(state: &State, source: Source, down_for: Elapsed) -> Prose {
    let links = &state.model.links;
    let says = match source {
        Source::Bus if links.of(Source::Gateway).is_up() => {
            "What happened in between is read from the gateway; progress is not."
        }
        Source::Bus if links.teller() == Some(Source::Store) && links.of(Source::Store).is_up() => {
            "What happened in between is read from Redis; progress is not."
        }
        Source::Bus => "What happened in between was not heard.",
        Source::Gateway | Source::Store => "It is asked again.",
    };
    Prose::new()
        .strong(format!(
            "{} is back after {}.",
            spoken(source),
            text::age(down_for)
        ))
        .own(format!(" {says}"))
}

/// Since when what the bus tells is old; `None` while it is heard, or if it never was.
pub fn bus_silent_since(state: &State) -> Option<Timestamp> {
    state.model.links.hearing.deaf_since()
}

/// Since when nobody tells about jobs; `None` while the bus does, or the gateway, or
/// Redis in its place, and if none of them ever did.
pub fn jobs_silent_since(state: &State) -> Option<Timestamp> {
    let links = &state.model.links;
    let teller = links.teller().unwrap_or(Source::Gateway);
    let tell = [Source::Bus, teller].map(|source| links.of(source));
    if tell.iter().any(|line| line.is_up()) {
        return None;
    }
    tell.iter()
        .filter(|line| line.was_up)
        .map(|line| line.since)
        .max()
}

/// A server on the first-run screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRow {
    /// The server.
    pub source: Source,
    /// How it is.
    pub state: LinkState,
}

/// The servers, while nothing has ever answered; `None` as soon as something has,
/// and when no server is configured.
pub fn first_run(state: &State) -> Option<Vec<ServerRow>> {
    let links = &state.model.links;
    let lines = Source::ALL.map(|source| (source, links.of(source)));
    let configured = lines
        .iter()
        .any(|(_, line)| line.state != LinkState::Absent);
    let answered = lines.iter().any(|(_, line)| line.was_up);
    let nothing_known = state.model.jobs.is_empty() && state.model.workers.is_empty();
    (configured && !answered && nothing_known).then(|| {
        lines
            .into_iter()
            .map(|(source, line)| ServerRow {
                source,
                state: line.state.clone(),
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    /// What the notices say after the first line's "trying again", or all of it
    /// where there is no more.
    #[track_caller]
    fn check(script: &str, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let says: Vec<String> = notices(&state)
            .iter()
            .filter_map(|notice| notice.lines.last())
            .map(Prose::plain)
            .collect();
        assert_eq!(says, expected, "{script}");
    }

    #[test]
    fn what_is_missing_without_redis_depends_on_who_else_tells() {
        let lost = "| 10s link redis down | 20s tick";
        check(
            &format!("0s link redis up | 0s link gateway up {lost}"),
            &[
                "Payloads and job hashes come from the gateway; what it does not have reads unknown.",
            ],
        );
        check(
            &format!("0s link redis up | 0s link gateway down {lost}"),
            &["Payloads and job hashes wait for it or the gateway."],
        );
        check(
            &format!("0s link redis up | 0s link nats up {lost}"),
            &[
                "Approvals are as of 00:00:10Z, and payloads cannot be read. Watching goes on over NATS.",
            ],
        );
        check(
            &format!("0s link redis up {lost}"),
            &["Everything is as of 00:00:10Z."],
        );
    }

    #[test]
    fn redis_stands_in_for_the_bus_where_there_is_no_gateway() {
        let cut = "0s link redis up | 0s link nats up | 10s link nats down";
        check(
            &format!("{cut} | 20s tick"),
            &[
                "Workers and progress are as of 00:00:10Z. Jobs and approvals stay current: Redis is asked.",
            ],
        );
        check(
            &format!("{cut} | 20s link nats up"),
            &[
                "NATS is back after 10s. What happened in between is read from Redis; progress is not.",
            ],
        );
    }
}
