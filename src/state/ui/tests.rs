//! The operator's side as text: facts and keys in, the screen's state out.

use std::sync::Arc;

use super::modal::Modal;
use super::*;
use crate::state::action::{Edit, PayloadDrawn};
use crate::state::effect::Outcome;
use crate::state::event::{LinkState, PoolFact, Source, Stamped};
use crate::state::model::approvals::{ApprovalFact, ApprovalStatus, Content, Payload};
use crate::state::model::jobs::{JobFact, JobState, Request, Verdict};
use crate::state::model::letters::{DeadLetter, LettersFact};
use crate::state::step::State;

mod compensations;
mod together;
mod trying;

const PAYLOAD: &str = "{\n \"a\": 1\n}\n";

/// Runs a script and returns the state at its end as text.
///
/// Steps are separated by `|`; each starts 3 s after the one before, so that lists
/// may move and guards are over, unless `+N` says N ms. `tell a:running b:pending`
/// tells of jobs, `only nats redis` says which servers are configured, `away gateway` that one is down, `pools a b` tells of all pools, `letters a b` of all dead letters, `asks a b<a` of running jobs of one trace with their parents, `waits a` of an approval, `moved S` of a policy snapshot, `drawn
/// 0-12/12` of payload bytes on the screen, `done`, `refused CODE` and `late` answer
/// the last effect, as does `failed WHY`, `hear` takes a packet as in event files, `wipe` empties the line, `"text"`
/// types; anything else is an action.
fn run(script: &str) -> String {
    let (state, sent) = play(script);
    describe(&state, &sent)
}

/// The state and what was sent at the end of a script.
fn play(script: &str) -> (State, Vec<(EffectId, Effect)>) {
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

fn job(text: &str) -> JobFact {
    let (id, status) = text.split_once(':').expect("id:state");
    JobFact {
        id: id.into(),
        state: JobState::from_name(&status.to_ascii_uppercase()),
        ..JobFact::default()
    }
}

fn pool(name: &str) -> PoolFact {
    PoolFact {
        name: name.into(),
        topics: Vec::new(),
        draining: false,
    }
}

/// What is behind the pointer of a job: `a` is [`PAYLOAD`], `a=xyz` a line of each letter.
fn payload(word: &str, at: Timestamp) -> Event {
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
fn approval(word: &str) -> ApprovalFact {
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

fn describe(state: &State, sent: &[(EffectId, Effect)]) -> String {
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

#[test]
fn what_redis_shows_cannot_be_decided_there_and_the_refusal_says_so() {
    let says = "approvals review=a says: Redis only shows approvals. Deciding one needs a gateway: attach with --gateway.";
    for servers in ["redis", "nats redis"] {
        for key in ["approve", "reject"] {
            check(
                &format!("only {servers} | waits a | approvals | review | read a | {key}"),
                says,
            );
        }
    }
    check(
        "only redis | tell a:running | jobs | cancel",
        "jobs [>a] says: Redis only shows jobs. Cancelling one needs NATS or a gateway: attach with --nats or --gateway.",
    );
    check(
        "only nats redis | tell a:running | jobs | cancel",
        "jobs [>a] cancel?Note::",
    );
}

#[track_caller]
fn check(script: &str, expected: &str) {
    assert_eq!(run(script), expected, "{script}");
}

#[test]
fn the_cursor_stays_on_its_job_while_rows_move() {
    check(
        "tell a:running b:running c:running | jobs | down | tell a:succeeded | tick",
        "jobs [>b c a]",
    );
}

#[test]
fn the_cursor_stays_on_its_pool_between_two_orderings() {
    check(
        "pools a b | tick | down | +300 tick | +300 tick",
        "overview [a >b]",
    );
    check("pools a b | tick | down | pools a | tick", "overview [a]");
}

#[test]
fn a_pool_of_the_overview_opens_its_cause_chain_and_that_its_workers() {
    let open = "pools a b | tick | down | open";
    check(open, "overview [a >b] cause");
    check(&format!("{open} | back"), "overview [a >b]");
    check(
        &format!("hear beat w1 pool=b slots=0/1 | {open} | confirm"),
        "workers [a >b w1]",
    );
}

#[test]
fn a_view_keeps_the_subject() {
    check(
        "waits b | tell a:running c:running | jobs | last | approvals",
        "approvals [>b]",
    );
}

#[test]
fn a_view_is_in_order_when_it_is_entered() {
    check(
        "tell a:running | jobs | overview | tell a:running b:running | +100 jobs",
        "jobs [>a b]",
    );
    check(
        "hear beat w1 pool=p | workers | by-pool | by-pool | hear beat w2 pool=q | +100 by-pool",
        "workers [>p q]",
    );
}

#[test]
fn a_folded_pool_stands_for_its_workers() {
    let by_pool = "hear beat w1 pool=p | hear beat w2 pool=p | workers | by-pool";
    check(by_pool, "workers [>p]");
    check(&format!("{by_pool} | open"), "workers [>p w1 w2]");
    check(
        &format!("{by_pool} | open | down | by-pool | by-pool | tick"),
        "workers [p >w1 w2]",
    );
    check(
        &format!("{by_pool} | open | down | left | tick"),
        "workers [>p]",
    );
}

#[test]
fn escape_clears_one_thing_and_never_quits() {
    check("tell a:running | jobs | detail", "jobs detail=a [>a]");
    check(
        "tell a:running | jobs | mark | detail | back | back",
        "jobs [>a]",
    );
    check("back | back | back", "overview []");
    let copied = "tell a:running | jobs | detail | copy-id";
    check(&format!("{copied} | back"), "jobs detail=a [>a] !copy a");
    check(&format!("{copied} | +7000 back"), "jobs [>a] !copy a");
    check("close", "overview [] quit");
    check("tell a:running | jobs | detail | close", "jobs [>a]");
}

#[test]
fn a_cancel_names_its_job_and_leaves_once_confirmed() {
    check(
        "tell a:running | jobs | cancel | \"why\" | next-field | next-field | confirm",
        "jobs [>a] says: … asked. !cancel a 'why'",
    );
    check(
        "tell a:running | jobs | cancel | next-field | confirm",
        "jobs [>a]",
    );
}

#[test]
fn every_key_is_swallowed_for_350_ms_after_a_dialog_opened_and_each_starts_it_again() {
    check(
        "tell a:running | jobs | cancel | +100 next-field | +300 next-field",
        "jobs [>a] cancel?Note:: ignored: next-field the dialog had just opened",
    );
    check(
        "tell a:running | jobs | cancel | +100 next-field | +360 next-field",
        "jobs [>a] cancel?GoBack::",
    );
}

#[test]
fn an_acting_key_is_ignored_when_the_row_under_the_cursor_has_just_moved() {
    let shifted =
        "tell a:running b:running c:running d:running e:running | jobs | last | tell e:retrying";
    check(
        &format!("{shifted} | +100 cancel"),
        "jobs [>e a b c d] ignored: cancel the list had just moved",
    );
    check(
        &format!("{shifted} | +400 cancel"),
        "jobs [>e a b c d] cancel?Note::",
    );
}

#[test]
fn several_jobs_are_cancelled_by_their_typed_number() {
    check(
        "tell a:running b:running c:running | jobs | mark | down | mark | cancel | next-field | \"cancel 2\" | confirm",
        "jobs [a >b c] says: … asked. !cancel a '' !cancel b ''",
    );
    check(
        "tell a:running b:running c:running | jobs | mark | down | mark | cancel | next-field | \"cancel 2\" | tell a:succeeded | confirm",
        "jobs [>b* c a*] cancel?Typed::",
    );
}

#[test]
fn what_cannot_work_says_why_and_sends_nothing() {
    check(
        "tell a:succeeded | jobs | cancel",
        "jobs [>a] says: It had already ended: succeeded at 00:16:43Z. Nothing to cancel.",
    );
    check(
        "tell a:running | jobs | freeze | cancel",
        "jobs [>a] frozen says: You look at 00:16:49Z, not at now. L goes live; deciding needs live data.",
    );
    check(
        "tell a:running | cut | jobs | cancel",
        "jobs [>a] says: Not sent: the gateway does not answer. Press X again when it is back.",
    );
}

#[test]
fn a_cancel_waits_for_the_gateway_where_one_is_configured_also_while_the_bus_is_up() {
    let away = "tell a:running | only nats gateway | away gateway | jobs";
    check(
        &format!("{away} | cancel"),
        "jobs [>a] says: Not sent: the gateway does not answer. Press X again when it is back.",
    );
    check(
        "tell a:running | only nats | jobs | cancel",
        "jobs [>a] cancel?Note::",
    );
    check(
        "tell a:running | only nats | away nats | jobs | cancel",
        "jobs [>a] says: Not sent: NATS does not answer. Press X again when it is back.",
    );
}

#[test]
fn a_gateway_that_goes_while_the_dialog_is_open_leaves_it_open_with_what_was_typed() {
    let typed = "tell a:running | only nats gateway | jobs | cancel | \"why\" | away gateway | next-field | next-field";
    check(
        &format!("{typed} | confirm"),
        "jobs [>a] cancel?Act:why: says: Not sent: the gateway does not answer. Press X again when it is back.",
    );
    check(
        &format!("{typed} | confirm | only nats gateway | confirm"),
        "jobs [>a] says: … asked. !cancel a 'why'",
    );
}

/// What was asked to be read, in order.
fn reads(sent: &[(EffectId, Effect)]) -> Vec<String> {
    let reads = sent.iter().filter_map(|(_, effect)| match effect {
        Effect::ReadJob(job) => Some(format!("page of {job}")),
        Effect::ReadPayload { job, pointer } => Some(format!("{pointer} of {job}")),
        Effect::ReadLives { jobs } => {
            let jobs: Vec<&str> = jobs.iter().map(JobId::as_str).collect();
            Some(format!("lives of {}", jobs.join(" ")))
        }
        _ => None,
    });
    reads.collect()
}

#[test]
fn the_payload_of_an_open_job_is_read_once_its_page_tells_where_it_is() {
    let open = "only gateway | tell a:succeeded | jobs | open";
    assert_eq!(reads(&play(open).1), ["page of a"]);
    let told = format!("{open} | hear told a SUCCEEDED context=redis://ctx | done");
    let both = ["page of a", "redis://ctx of a"];
    assert_eq!(reads(&play(&told).1), both);
    // Once: neither its answer nor a refusal asks again, and r reads both anew.
    assert_eq!(reads(&play(&format!("{told} | read a")).1), both);
    assert_eq!(reads(&play(&format!("{told} | refused gone")).1), both);
    let again = play(&format!("{told} | read a | reload"));
    assert_eq!(reads(&again.1).len(), 4);
    // Nobody looks at it any more.
    let left = format!("{open} | back | hear told a SUCCEEDED context=redis://ctx | done");
    assert_eq!(reads(&play(&left).1), ["page of a"]);
}

#[test]
fn the_undo_of_an_open_job_is_asked_about() {
    let told = "only gateway | hear told a SUCCEEDED undo=job.u | hear told b SUCCEEDED";
    let open = |row: &str| {
        play(&format!(
            "{told} | jobs | filter | \"id:{row}\" | confirm | detail"
        ))
        .1
    };
    let asked = |sent: &[(EffectId, Effect)]| {
        let judged = |(_, effect): &(EffectId, Effect)| match effect {
            Effect::JudgeCompensation { job } => Some(job.to_string()),
            _ => None,
        };
        sent.iter().filter_map(judged).collect::<Vec<_>>()
    };
    assert_eq!(asked(&open("a")), ["a"]);
    // This one declares none.
    assert_eq!(asked(&open("b")), [""; 0]);
}

#[test]
fn a_pane_that_never_had_the_keyboard_stays_at_its_newest_row() {
    let top = |script: &str| {
        let state = play(script).0;
        let list = &state.ui.list(ListId::DeadLetters).state;
        let rows = list.order()[list.window(2)].iter();
        let rows: Vec<String> = rows.map(ToString::to_string).collect();
        let selected = list.selected().map(ToString::to_string);
        format!("{} at {}", rows.join(" "), selected.unwrap_or_default())
    };
    let more = "letters a b | rollbacks | letters a b c | tick | letters a b c d | tick";
    assert_eq!(top(more), "d c at d");
    // Whoever is in it reads a row, and that stays.
    let read = "letters a b | rollbacks | left | letters a b c | tick";
    assert_eq!(top(read), "b a at b");
    assert_eq!(
        top(&format!("{read} | right | letters a b c d | tick")),
        "b a at b"
    );
}

#[test]
fn the_jobs_of_a_trace_are_asked_what_they_were_once_for_each_state() {
    let told = "only gateway | hear told a SUCCEEDED workflow=w | hear told b PENDING workflow=w";
    let look = format!("{told} | jobs | traces");
    assert_eq!(reads(&play(&look).1), ["lives of a b"]);
    let answered = format!("{look} | done | tick");
    assert_eq!(
        reads(&play(&answered).1).len(),
        1,
        "a plane that keeps no record is not asked twice"
    );
    let moved = format!("{answered} | hear told b RUNNING workflow=w");
    assert_eq!(reads(&play(&moved).1)[1..], ["lives of b"]);
    let failed = format!("{look} | failed away | tick | +7000 tick");
    assert_eq!(reads(&play(&failed).1), ["lives of a b"; 2]);
    // Nobody looks, or nothing is missing.
    assert_eq!(reads(&play(&format!("{told} | jobs")).1), [""; 0]);
    let known = "only gateway | hear told a SUCCEEDED born=0s record=0s:PENDING,0s:RUNNING,0s:SUCCEEDED | jobs | traces";
    assert_eq!(reads(&play(known).1), [""; 0]);
    assert_eq!(
        reads(&play("hear submit a | hear dispatch a w | hear succeed a w | jobs | traces").1),
        [""; 0]
    );
}

#[test]
fn a_filter_that_cannot_be_read_leaves_the_old_one_in_force() {
    let of = |script: &str| {
        let state = play(script).0;
        let list = state.ui.current();
        let rows = list.state.order().iter().map(ToString::to_string);
        let rows: Vec<String> = rows.collect();
        format!("{} [{}]", list.filter_text, rows.join(" "))
    };
    let old = "tell a:denied b:running | jobs | filter | \"state:denied\" | confirm";
    assert_eq!(of(old), "state:denied [a]");
    let typed = format!("{old} | filter | wipe | \"age\"");
    assert_eq!(
        of(&typed),
        "age []",
        "what can be read filters as it is typed"
    );
    let bad = format!("{typed} | \">5x\"");
    assert_eq!(of(&format!("{bad} | confirm")), "state:denied [a]");
    assert_eq!(of(&format!("{bad} | confirm | back")), "state:denied [a]");
}

#[test]
fn nothing_is_approved_from_the_list() {
    check(
        "waits a | approvals | approve",
        "approvals [>a] says: Open the review first: a.",
    );
}

#[test]
fn an_arrow_that_a_slow_line_splits_into_escape_and_letters_decides_nothing() {
    // `ESC [ A` is the arrow up, `ESC O R` is F3; read in parts they are Esc and a letter.
    check(
        &format!("{SEEN} | back | +1 approve"),
        "approvals [>a] says: Open the review first: a.",
    );
    check(
        &format!("{SEEN} | back | +1 reject"),
        "approvals [>a] says: Open the review first: a.",
    );
    // Where Esc only clears the footer the letter opens a dialog, which swallows what follows.
    check(
        &format!("{SEEN} | copy-id | back | +1 approve | +1 confirm"),
        "approvals review=a approve?Note:: ignored: confirm the dialog had just opened !copy a",
    );
}

#[test]
fn approval_waits_until_all_of_the_payload_was_on_the_screen() {
    let read = "waits a | approvals | review | read a";
    check(
        &format!("{read} | drawn 0-5/12 | approve"),
        "approvals review=a says: Not yet: every line of the payload must have been on the screen. j and PgDn scroll.",
    );
    check(
        &format!("{read} | drawn 0-12/12 | approve"),
        "approvals review=a approve?Note::",
    );
    check(
        "waits a | approvals | review | drawn 0-12/12 | approve",
        "approvals review=a says: It is still being read.",
    );
}

const SEEN: &str = "waits a | approvals | review | read a | drawn 0-12/12";

#[test]
fn an_approval_is_bound_to_what_was_read_and_confirmed_by_its_id() {
    check(
        &format!("{SEEN} | approve | \"ok\" | confirm | confirm"),
        "approvals review=a approve?Typed:ok:",
    );
    check(
        &format!("{SEEN} | approve | \"ok\" | confirm | \"a\" | confirm | done"),
        "approvals [>a] says: approved a in 3000ms.  capdeck approve a --note 'ok' !Approve(\"ok\") a Some(\"h1\")",
    );
}

#[test]
fn an_approval_without_a_note_is_not_sent() {
    check(
        &format!("{SEEN} | approve | next-field | \"a\" | confirm"),
        "approvals review=a approve?Note::a",
    );
}

#[test]
fn what_moves_while_the_review_is_open_stops_the_approval_and_not_the_rejection() {
    check(
        &format!("{SEEN} | moved s2 | approve"),
        "approvals review=a says: The policy moved while you read, from s1 to s2. r reads the job again under the new policy.",
    );
    check(
        &format!("{SEEN} | waits a:h2 | approve"),
        "approvals review=a says: The stored request is not the one you read. Somebody changed it. r reads it again, R rejects.",
    );
    check(
        &format!("{SEEN} | moved s2 | reject"),
        "approvals review=a reject?Note::",
    );
    check(
        &format!("{SEEN} | approve | \"ok\" | confirm | \"a\" | moved s2 | confirm"),
        "approvals review=a says: The policy moved while you read, from s1 to s2. r reads the job again under the new policy.",
    );
}

#[test]
fn a_refusal_keeps_the_note_and_says_what_to_press() {
    check(
        &format!(
            "{SEEN} | approve | \"ok\" | confirm | \"a\" | confirm | refused approval_stale_snapshot | approve"
        ),
        "approvals review=a NOT APPROVED 409 approval_stale_snapshot approve?Note:ok: says: Not approved: the policy moved while you read. Nothing was sent to a worker. r reads the job again under the new policy. !Approve(\"ok\") a Some(\"h1\")",
    );
}

#[test]
fn no_answer_is_said_to_be_unknown() {
    check(
        "tell a:running | jobs | cancel | next-field | next-field | confirm | late",
        "jobs [>a] says: No answer came, so it is unknown whether the plane cancelled it. Asking. !cancel a ''",
    );
}

#[test]
fn what_was_not_answered_is_asked_for_and_blocks_until_it_is_known() {
    let sent = format!("{SEEN} | approve | \"ok\" | confirm | \"a\" | confirm | late");
    check(
        &format!("{sent} | approve"),
        "approvals review=a says: A decision about this job is under way. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{sent} | done"),
        "approvals review=a says: It did not approve a; A works again. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{sent} | done | approve"),
        "approvals review=a approve?Note:ok: says: It did not approve a; A works again. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{sent} | tell a:running | done"),
        "approvals [>a] says: It did approve a: running at 00:17:16Z. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{sent} | late"),
        "approvals review=a says: Still unknown whether the plane did approve a. r asks again. !Approve(\"ok\") a Some(\"h1\")",
    );
}

#[test]
fn secrets_are_shown_once_it_is_written_down_and_not_before() {
    const SEEN: &str = "waits a | approvals | review | read a$ | drawn 0-12/12";
    check(
        &format!("{} | reveal", super::tests::SEEN),
        "approvals review=a says: No secret is masked here.",
    );
    check(&format!("{SEEN} | reveal"), "approvals review=a");
    check(
        &format!("{SEEN} | reveal | done"),
        "approvals review=a revealed",
    );
    check(
        &format!("{SEEN} | reveal | done | +10000 tick"),
        "approvals review=a",
    );
    check(
        &format!("{SEEN} | reveal | failed no disk"),
        "approvals review=a says: Not shown: no disk.",
    );
    // Closed in the meantime: another review shows nothing.
    check(
        &format!("{SEEN} | reveal | back | done | review"),
        "approvals review=a",
    );
}

#[test]
fn a_reload_makes_the_payload_unseen() {
    check(
        &format!("{SEEN} | reload | read a | waits a | approve"),
        "approvals review=a says: Not yet: every line of the payload must have been on the screen. j and PgDn scroll.",
    );
}

#[test]
fn a_reload_is_bound_to_what_the_plane_lists_after_it() {
    let reloaded = format!("{SEEN} | reload | read a");
    check(
        &format!("{reloaded} | approve"),
        "approvals review=a says: It is still being read.",
    );
    check(
        &format!(
            "{reloaded} | waits a:h2 | drawn 0-12/12 | approve | \"ok\" | confirm | \"a\" | confirm"
        ),
        "approvals review=a says: … asked to approve. !Approve(\"ok\") a Some(\"h2\")",
    );
}

#[test]
fn quitting_while_an_action_is_under_way_takes_two_presses() {
    let asked = "tell a:running | jobs | cancel | next-field | next-field | confirm | +9000 quit";
    check(
        asked,
        "jobs [>a] says: 1 action is under way. Press again within a second to quit. !cancel a ''",
    );
    assert!(run(&format!("{asked} | +500 quit")).contains(" quit"));
    assert!(run(&format!("{asked} | +1500 quit")).contains("1 action is under way"));
}

#[test]
fn a_frozen_list_stands_still_and_goes_live_again() {
    check(
        "tell a:running | jobs | freeze | tell b:pending | tick",
        "jobs [>a] frozen",
    );
    check(
        "tell a:running | jobs | freeze | tell b:pending | tick | live",
        "jobs [b >a]",
    );
}

#[test]
fn a_job_that_ends_under_the_cursor_stays_until_the_cursor_leaves_it() {
    let ended = "tell a:running b:running c:running | jobs | down | tell b:succeeded | tick";
    check(ended, "jobs [a >b c]");
    check(&format!("{ended} | down | tick"), "jobs [a >c b]");
    check(&format!("{ended} | reverse"), "jobs [>b c a]");
}

#[test]
fn cleared_marks_and_filters_come_back_within_ten_seconds() {
    let marked = "tell a:running b:running | jobs | mark | back";
    check(
        &format!("{marked} | undo"),
        "jobs [>a* b] says: The marks are back.",
    );
    check(
        &format!("{marked} | +10001 undo"),
        "jobs [>a b] says: Nothing can be taken back: no undo window is open.",
    );
    let filtered = "tell a:running b:pending | jobs | filter | \"state:running\" | confirm";
    check(filtered, "jobs [>a]");
    check(
        &format!("{filtered} | undo"),
        "jobs [b >a] says: The filter is as it was.",
    );
    check(
        &format!("{filtered} | back | undo"),
        "jobs [>a] says: The filter is as it was.",
    );
}

#[test]
fn a_list_is_sorted_by_a_column_that_is_named() {
    check(
        "tell c:running a:pending b:running | jobs | palette | \"sort name\" | confirm",
        "jobs [>a b c]",
    );
    check(
        "tell a:running | jobs | palette | \"sort nmae\" | confirm",
        "jobs [>a] says: No column nmae here. Did you mean name?",
    );
    check(
        "palette | \"sort age\" | confirm",
        "overview [] says: What is shown here has one order.",
    );
}

#[test]
fn a_filter_is_kept_under_a_name_and_shown_again_by_it() {
    let kept = "tell a:running b:pending | jobs | filter | \"state:running\" | confirm | save-view | \"mine\" | confirm";
    check(kept, "jobs [>a] !keep mine Some(\"Jobs state:running\")");
    check(
        &format!("{kept} | done"),
        "jobs [>a] says: Kept as mine: :view mine shows it again. !keep mine Some(\"Jobs state:running\")",
    );
    check(
        &format!("{kept} | done | back | back | overview | palette | \"view mine\" | confirm"),
        "jobs [>a] !keep mine Some(\"Jobs state:running\")",
    );
    check(
        &format!("{kept} | undo | done"),
        "jobs [>a] says: mine is kept no longer. !keep mine Some(\"Jobs state:running\") !keep mine None",
    );
    check(
        "jobs | save-view",
        "jobs [] says: There is no filter to keep: / sets one.",
    );
    check(
        "palette | \"view other\" | confirm",
        "overview [] says: No view is kept as other.",
    );
    check(
        "palette | \"save two words\" | confirm",
        "overview [] palette",
    );
}

#[test]
fn a_cancel_is_never_taken_back() {
    check(
        "tell a:running | jobs | cancel | next-field | next-field | confirm | undo",
        "jobs [>a] says: Nothing can be taken back: no undo window is open. !cancel a ''",
    );
}

#[test]
fn what_is_under_the_cursor_is_shown_and_copied_as_json() {
    check("tell a:running | jobs | json", "jobs [>a] json");
    check("tell a:running | jobs | json | back", "jobs [>a]");
    check(
        "tell a:running | jobs | copy-json",
        "jobs [>a] says: Copied a as JSON. !copy-json",
    );
    check("jobs | json", "jobs [] says: No row is under the cursor.");
    check(
        "pools a | tick | json",
        "overview [>a] says: A pool has no JSON of its own: its workers have.",
    );
}

#[test]
fn commands_do_what_their_keys_do() {
    check(
        "tell a:running | palette | \"jobs\" | confirm | palette | \"copy id\" | confirm",
        "jobs [>a] says: Copied a. !copy a",
    );
    check(
        "tell a:running | jobs | palette | \"cancel\" | confirm",
        "jobs [>a] cancel?Note::",
    );
    check("palette | \"aprove\" | confirm", "overview [] palette");
}

#[test]
fn a_dead_letter_is_retried_by_a_dialog_whose_default_is_to_go_back() {
    let open = "letters a b | rollbacks | left | retry";
    check(open, "rollbacks [>b a] retry?GoBack::");
    check(&format!("{open} | confirm"), "rollbacks [>b a]");
    let asked = format!("{open} | next-field | confirm");
    check(&asked, "rollbacks [>b a] says: … asked to retry. !retry b");
    check(
        &format!("{asked} | made b-retry-1 | tick"),
        "rollbacks [>b a] says: retried b in 3000ms as the new job b-retry-1. !retry b",
    );
    check(
        &format!("{asked} | +9 retry"),
        "rollbacks [>b a] says: A retry of it is under way. !retry b",
    );
    check(
        &format!("{asked} | refused no_dead_letter"),
        "rollbacks [>b a] says: Not retried: the gateway has no dead letter of this job, or cannot retry any. \
         No job was made; submit it again by hand. !retry b",
    );
}

#[test]
fn a_letter_that_is_gone_or_a_gateway_that_is_away_is_not_asked() {
    check(
        "tell a:failed | jobs | retry",
        "jobs [>a] says: No dead letter is under the cursor: 6 lists them.",
    );
    check(
        "letters a | rollbacks | left | retry | letters | next-field | confirm",
        "rollbacks [] says: Not retried: it is no longer among the dead letters.",
    );
    check(
        "letters a | rollbacks | left | cut | retry",
        "rollbacks [>a] says: Not sent: only a gateway retries a dead letter, and none answers. \
         Press T again when it is back.",
    );
}

#[test]
fn a_key_that_arrives_with_a_new_retry_dialog_is_swallowed() {
    check(
        "letters a | rollbacks | left | retry | +10 next-field | +10 confirm",
        "rollbacks [>a] retry?GoBack:: ignored: confirm the dialog had just opened",
    );
}

#[test]
fn the_subject_is_kept_from_a_job_to_its_dead_letter() {
    check(
        "tell a:failed b:failed | letters a b | jobs | rollbacks",
        "rollbacks [b >a]",
    );
}

#[test]
fn a_trace_is_folded_and_a_filter_keeps_what_is_above_a_match() {
    let tree = "asks a b<a c<b d<a e<gone | jobs | traces";
    check(tree, "traces [>a b c d  e]");
    check(&format!("{tree} | down | left"), "traces [a >b d  e]");
    check(
        &format!("{tree} | down | left | right"),
        "traces [a >b c d  e]",
    );
    check(
        &format!("{tree} | filter | \"id:c\" | confirm"),
        "traces [>a b c]",
    );
    check(
        &format!("{tree} | filter | \"id:e\" | confirm"),
        "traces [> e]",
    );
    check(
        &format!("{tree} | last | open"),
        "jobs detail=e [a b c d >e]",
    );
}

#[test]
fn a_trace_is_named_and_one_that_is_not_known_says_so() {
    check(
        "tell x:running | asks a b<a | palette | \"trace t\" | confirm",
        "traces [>a b]",
    );
    check(
        "asks a | palette | \"trace nothing\" | confirm",
        "overview [] says: No trace, workflow or job is known as nothing.",
    );
}

#[test]
fn a_job_of_the_tree_keeps_the_tree_and_another_one_changes_it() {
    let tree = "tell x:running | asks a b<a | palette | \"trace t\" | confirm";
    check(&format!("{tree} | last | jobs | traces"), "traces [a >b]");
    check(
        &format!("{tree} | jobs | palette | \"jobs id:x\" | confirm | traces"),
        "traces [>x]",
    );
}

#[test]
fn policy_is_asked_for_while_it_is_looked_at_and_not_more_often_than_every_ten_seconds() {
    check("tell a:running | jobs | tick", "jobs [>a]");
    let asked = "policy [] !policy";
    check("policy", asked);
    check("policy | tick", asked);
    // The answer is 3 s later; then ten seconds pass.
    check("policy | done | tick", asked);
    check(
        "policy | done | tick | tick | tick",
        "policy [] !policy !policy",
    );
    check(
        "policy | done | freeze | tick | tick | tick",
        "policy [] frozen !policy",
    );
}

#[test]
fn a_job_is_explained_in_a_window_and_a_refusal_is_said_there() {
    let asked = "jobs [>a] explain !explain a";
    check("tell a:running | jobs | explain", asked);
    check("tell a:running | jobs | explain | refused busy", asked);
    check(
        "tell a:running | jobs | explain | back",
        "jobs [>a] !explain a",
    );
    check(
        "tell a:running | jobs | cut | explain",
        "jobs [>a] says: Only a gateway explains what policy says, and none answers.",
    );
    check(
        "policy | explain",
        "policy [] says: No job is under the cursor: E explains one, in any list. !policy",
    );
}
