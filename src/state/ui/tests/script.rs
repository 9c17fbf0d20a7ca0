//! A script of keys and events, and what the state says at its end.

use std::sync::Arc;

use super::super::modal::Modal;
use super::super::*;
use crate::state::action::{Edit, PayloadDrawn};
use crate::state::effect::Outcome;
use crate::state::event::{LinkState, PoolFact, Source, Stamped};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus, Content, Payload};
use crate::state::model::jobs::{JobFact, JobState, Request, Verdict};
use crate::state::model::letters::{DeadLetter, LettersFact};
use crate::state::step::State;

pub(super) const PAYLOAD: &str = "{\n \"a\": 1\n}\n";

/// Runs a script and returns the state at its end as text.
///
/// Steps are separated by `|`; each starts 3 s after the one before, so that lists
/// may move and guards are over, unless `+N` says N ms. `tell a:running b:pending`
/// tells of jobs, `only nats redis` says which servers are configured, `away gateway` that one is down, `pools a b` tells of all pools, `letters a b` of all dead letters, `asks a b<a` of running jobs of one trace with their parents, `waits a` of an approval, `moved S` of a policy snapshot, `drawn
/// 0-12/12` of payload bytes on the screen, `done`, `refused CODE` and `late` answer
/// the last effect, as does `failed WHY`, `hear` takes a packet as in event files, `wipe` empties the line, `"text"`
/// types; anything else is an action.
pub(super) fn run(script: &str) -> String {
    let (state, sent) = play(script);
    describe(&state, &sent)
}

/// The state and what was sent at the end of a script.
pub(super) fn play(script: &str) -> (State, Vec<(EffectId, Effect)>) {
    let mut state = State::default();
    let mut now = Timestamp::from_millis(1_000_000);
    let mut seq = 0;
    let mut sent: Vec<(EffectId, Effect)> = Vec::new();
    let mut step = |state: &mut State, sent: &mut Vec<(EffectId, Effect)>, at, event| {
        let mut effects = EffectQueue::new();
        let stamped = Stamped {
            seq,
            at,
            value: event,
        };
        seq += 1;
        state.step(&stamped, &mut effects);
        sent.extend(effects.drain());
    };
    for source in [Source::Bus, Source::Gateway] {
        step(
            &mut state,
            &mut sent,
            now,
            Event::Link(source, LinkState::Up),
        );
    }
    let screen = Drawn {
        height: 4,
        ..Drawn::default()
    };
    step(
        &mut state,
        &mut sent,
        now,
        Event::User(Action::Drawn(screen)),
    );
    step(&mut state, &mut sent, now, Event::Policy("s1".into()));
    for word in script.split('|').map(str::trim) {
        let (gap, word) = match word.strip_prefix('+') {
            Some(rest) => {
                let (gap, word) = rest.split_once(' ').expect("+N step");
                (gap.parse().expect("milliseconds"), word)
            }
            None => (3_000, word),
        };
        now = now.plus(Elapsed::from_millis(gap));
        let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
        let mut events = Vec::new();
        match verb {
            "tell" => events.push(Event::Jobs(rest.split(' ').map(job).collect())),
            "pools" => events.push(Event::Pools(rest.split(' ').map(pool).collect())),
            "waits" => {
                let facts: Vec<ApprovalFact> = rest.split(' ').map(approval).collect();
                let jobs = facts.iter().map(|fact| JobFact {
                    id: fact.job.id.clone(),
                    state: fact.job.state,
                    ..JobFact::default()
                });
                events.push(Event::Jobs(jobs.collect()));
                events.push(Event::Approvals(facts));
            }
            "asks" => {
                let fact = |pair: &str| {
                    let (id, parent) = pair.split_once('<').unwrap_or((pair, ""));
                    JobFact {
                        trace: Some("t".into()),
                        request: Some(Request {
                            parent: (!parent.is_empty()).then(|| parent.into()),
                            ..Request::default()
                        }),
                        ..job(&format!("{id}:running"))
                    }
                };
                events.push(Event::Jobs(rest.split(' ').map(fact).collect()));
            }
            "letters" => {
                let letter = |job: &str| DeadLetter {
                    job: job.into(),
                    topic: None,
                    status: None,
                    reason_code: Some("boom".into()),
                    reason: None,
                    last_state: None,
                    attempts: None,
                    at: now,
                };
                let named = rest.split(' ').filter(|job| !job.is_empty());
                events.push(Event::DeadLetters(LettersFact {
                    letters: named.map(letter).collect(),
                    ..LettersFact::default()
                }));
            }
            "made" => {
                let (id, _) = sent.last().expect("an effect");
                events.push(Event::Outcome(*id, Outcome::Done(Some(rest.into()))));
            }
            "moved" => events.push(Event::Policy(rest.into())),
            "cut" | "away" => {
                let down = |source| {
                    Event::Link(
                        source,
                        LinkState::Down {
                            since: now,
                            reason: "gone".into(),
                            attempts: 1,
                            again_at: None,
                        },
                    )
                };
                let gone = |source: &Source| match rest {
                    "" => *source != Source::Store,
                    names => names.split(' ').any(|name| name == source.name()),
                };
                events.extend(Source::ALL.into_iter().filter(gone).map(down));
            }
            "read" => {
                events.extend(rest.split(' ').map(|word| payload(word, now)));
                for (id, _) in &sent {
                    events.push(Event::Outcome(*id, Outcome::Done(None)));
                }
            }
            "drawn" => {
                let (range, of) = rest.split_once('/').expect("from-to/of");
                let (from, to) = range.split_once('-').expect("from-to");
                let payload = PayloadDrawn {
                    reading: state.ui.review().map_or(0, |review| review.reading),
                    from: from.parse().expect("bytes"),
                    to: to.parse().expect("bytes"),
                    of: of.parse().expect("bytes"),
                };
                events.push(Event::User(Action::Drawn(Drawn {
                    payload: Some(payload),
                    ..screen
                })));
            }
            "done" | "refused" | "late" | "failed" => {
                let (id, _) = sent.last().expect("an effect");
                let outcome = match verb {
                    "done" => Outcome::Done(Some("PENDING".into())),
                    "late" => Outcome::TimedOut,
                    "failed" => Outcome::Failed {
                        reason: rest.into(),
                    },
                    _ => Outcome::Refused(crate::state::effect::Refusal {
                        by: crate::state::effect::Refuser::Plane,
                        status: 409,
                        code: rest.into(),
                        text: "".into(),
                    }),
                };
                events.push(Event::Outcome(*id, outcome));
            }
            "only" => events.extend(Source::ALL.map(|source| {
                let configured = rest.split(' ').any(|name| name == source.name());
                let state = if configured {
                    LinkState::Up
                } else {
                    LinkState::Absent
                };
                Event::Link(source, state)
            })),
            "tick" => events.push(Event::Tick),
            "wipe" => events.push(Event::User(Action::Edit(Edit::DeleteToStart))),
            "hear" => {
                let heard = crate::state::script::events(&format!("0s {rest}"));
                events.extend(heard.expect("a packet").into_iter().map(|it| it.value));
            }
            _ if verb.starts_with('"') => {
                let typed = word.trim_matches('"').chars();
                events.extend(typed.map(|c| Event::User(Action::Edit(Edit::Insert(c)))));
            }
            action => events.push(Event::User(action.parse().expect("an action"))),
        }
        for event in events {
            step(&mut state, &mut sent, now, event);
        }
    }
    (state, sent)
}

pub(super) fn job(text: &str) -> JobFact {
    let (id, status) = text.split_once(':').expect("id:state");
    JobFact {
        id: id.into(),
        state: JobState::from_name(&status.to_ascii_uppercase()),
        ..JobFact::default()
    }
}

pub(super) fn pool(name: &str) -> PoolFact {
    PoolFact {
        name: name.into(),
        topics: Vec::new(),
        draining: false,
    }
}

/// What is behind the pointer of a job: `a` is [`PAYLOAD`], `a=xyz` a line of each letter.
pub(super) fn payload(word: &str, at: Timestamp) -> Event {
    // `a$` has a secret in it.
    let (word, secret) = match word.strip_suffix('$') {
        Some(word) => (word, Some(2..3)),
        None => (word, None),
    };
    let (job, text) = match word.split_once('=') {
        Some((job, lines)) => (job, lines.chars().map(|c| format!("{c}\n")).collect()),
        None => (word, PAYLOAD.to_owned()),
    };
    Event::Payload(Box::new(Payload {
        job: job.into(),
        pointer: "redis://ctx".into(),
        read_at: at,
        size: Some(text.len() as u64),
        sha256: Some(format!("sha of {text}").into()),
        content: Content::Text {
            lines: 3,
            text: text.into(),
            secrets: secret.into_iter().collect(),
        },
    }))
}

/// An approval: `a`, with another hash `a:h2`, snapshot `a@s2` or tenant `a%t2`, or
/// already approved by bob `a!`.
pub(super) fn approval(word: &str) -> ApprovalFact {
    let end = word.find([':', '@', '%', '!']).unwrap_or(word.len());
    let (id, rest) = word.split_at(end);
    let other = |sign: char, usual: &str| -> Option<Arc<str>> {
        Some(rest.strip_prefix(sign).unwrap_or(usual).into())
    };
    let hash = other(':', "h1");
    let mut fact = ApprovalFact {
        job: JobFact {
            id: id.into(),
            request: Some(Request {
                context_ptr: Some("redis://ctx".into()),
                topic: Some("job.export".into()),
                tenant: other('%', "t1"),
                risk_tags: ["prod".into()].into(),
                ..Request::default()
            }),
            verdict: Some(Verdict {
                rule_id: Some("r1".into()),
                snapshot: other('@', "s1"),
                ..Verdict::default()
            }),
            ..job(&format!("{id}:approval_required"))
        },
        job_hash: hash.clone(),
        own_hash: hash,
        ..ApprovalFact::default()
    };
    if rest == "!" {
        fact.status = ApprovalStatus::Approved;
        fact.resolved_by = Some("bob".into());
        fact.job.state = None;
    }
    fact
}

pub(super) fn describe(state: &State, sent: &[(EffectId, Effect)]) -> String {
    let ui = &state.ui;
    let mut text = ui.view().title().to_lowercase();
    if let Some(detail) = ui.detail() {
        text += &format!(" detail={}", detail.job);
    }
    if let Some(reviews) = ui.reviews() {
        let review = reviews.shown();
        text += &format!(" review={}", review.job);
        if review.reveals(state.now) {
            text += " revealed";
        }
        if reviews.are_several() {
            let (at, of) = reviews.place();
            text += &format!(" {at}/{of}");
        }
        let changed: Vec<String> = review.changed().map(|line| format!("~{line}")).collect();
        text += &changed.join("");
        if let Some(refused) = &review.refused {
            text += &format!(" {} {}", refused.what, refused.code);
        }
    } else {
        let list = &ui.current().state;
        let rows: Vec<String> = list
            .order()
            .iter()
            .map(|row| {
                let cursor = if list.selected() == Some(row) {
                    ">"
                } else {
                    ""
                };
                let mark = if list.marks().contains(row) { "*" } else { "" };
                let row = match row {
                    Subject::Flip(key) => key.replace(' ', ">"),
                    row => row.to_string(),
                };
                format!("{cursor}{row}{mark}")
            })
            .collect();
        text += &format!(" [{}]", rows.join(" "));
    }
    if let Some(file) = ui.trial() {
        text += &format!(" tries {file}");
    }
    if let Some(why) = ui.not_tried() {
        text += &format!(" ({why})");
    }
    for modal in ui.modals() {
        text += match modal {
            Modal::Help(_) => " help",
            Modal::Palette(_) => " palette",
            Modal::Filter(_) => " filter",
            Modal::Cancel(_) => " cancel?",
            Modal::Approve(_) => " approve?",
            Modal::Reject(_) => " reject?",
            Modal::Retry(_) => " retry?",
            Modal::Log(_) => " log",
            Modal::Json(_) => " json",
            Modal::Explain { .. } => " explain",
            Modal::Cause { .. } => " cause",
            Modal::Flip { .. } => " flip",
        };
        if let Some(form) = modal.form() {
            text += &format!(
                "{:?}:{}:{}",
                form.focus,
                form.note.value(),
                form.typed.value()
            );
        }
    }
    if ui.frozen().is_some() {
        text += " frozen";
    }
    if ui.quitting() {
        text += " quit";
    }
    if let Some(ignored) = ui.ignored(state.now) {
        text += &format!(" ignored: {} {}", ignored.action, ignored.why);
    } else if let Some(footer) = ui.footer(state.now) {
        text += &format!(" says: {}", footer.text);
    }
    for (_, effect) in sent {
        match effect {
            Effect::Cancel { job, reason } => text += &format!(" !cancel {job} '{reason}'"),
            Effect::Decide {
                job,
                ruling,
                binding,
                ..
            } => {
                text += &format!(" !{ruling:?} {job} {:?}", binding.job_hash.as_deref());
            }
            Effect::ReadPolicy => text += " !policy",
            Effect::Try { path } => text += &format!(" !try {path}"),
            Effect::JudgeCompensation { job } => text += &format!(" !judge {job}"),
            Effect::Explain { job } => text += &format!(" !explain {job}"),
            Effect::Retry { job } => text += &format!(" !retry {job}"),
            Effect::CopyText(copied) => text += &format!(" !copy {copied}"),
            Effect::CopyJson => text += " !copy-json",
            Effect::KeepView { name, kept } => {
                let kept = kept
                    .as_ref()
                    .map(|it| format!("{} {}", it.view.title(), it.filter));
                text += &format!(" !keep {name} {kept:?}");
            }
            _ => {}
        }
    }
    text
}
