//! What stands in front of a view: dialogs, help, palette, prompts.
//!
//! A box has the keyboard; the view behind it stands still and is drawn faintly.
//! The edge of an acting dialog has the color of a dangerous context. Start at
//! [`draw`].

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::State;
use crate::state::action::Drawn;
use crate::state::ui::modal::Modal;
use crate::state::ui::prompt::Text;
use crate::text::Shown;
use crate::tui::keymap::Keymap;
use crate::tui::theme::Role;
use crate::tui::widget::words::{Ink, Words};
use crate::tui::widget::{Pen, pane, split_rows};

mod cause;
mod dialog;
mod explain;
mod flip;
mod help;
mod json;
mod palette;

/// The smallest window in which a dialog can be read: columns, rows.
pub use crate::state::ui::modal::NEEDS;

/// What an overlay is drawn from.
#[derive(Clone, Copy)]
pub struct Front<'a> {
    /// What is known and looked at.
    pub state: &'a State,
    /// The keys in force.
    pub keymap: &'a Keymap,
    /// Looks and signs.
    pub pen: Pen<'a>,
    /// The context as the header shows it.
    pub context: &'a str,
    /// The ground of the context; [`Role::Frame`] where it is dangerous.
    pub ground: Role,
    /// What is under the cursor as JSON.
    pub json: fn(&State) -> Option<String>,
}

/// Draws what is in front, if anything is; says what it showed, so that it can be scrolled.
pub fn draw(front: &Front<'_>, area: Rect, buf: &mut Buffer) -> Option<Drawn> {
    let area = area.intersection(buf.area);
    let modal = front.state.ui.modal()?;
    if area.is_empty() {
        return Some(Drawn::default());
    }
    if let Modal::Filter(prompt) = modal {
        palette::filter(front, prompt, area, buf);
        return None;
    }
    front.pen.recolor(buf, area, Role::Mark);
    let drawn = match modal {
        Modal::Help(help) => help::draw(front, help, area, buf),
        Modal::Palette(line) => palette::draw(front, line, area, buf),
        Modal::Filter(_) => return None,
        Modal::Log(scroll) => help::log(front, *scroll, area, buf),
        Modal::Json(scroll) => json::draw(front, *scroll, area, buf),
        Modal::Explain { job, scroll } => explain::draw(front, job, *scroll, area, buf),
        Modal::Cause { pool, scroll } => cause::draw(front, pool, *scroll, area, buf),
        Modal::Flip { key, scroll } => flip::draw(front, key, *scroll, area, buf),
        Modal::Cancel(_) | Modal::Approve(_) | Modal::Reject(_) | Modal::Retry(_) => {
            if area.width < NEEDS.0 || area.height < NEEDS.1 {
                let says = format!(
                    "Make the window larger to decide: {}x{} at least.",
                    NEEDS.0, NEEDS.1
                );
                front.pen.ground(buf, area, Role::Panel);
                let words = Words::new().bold(says, Role::Warn);
                let mut left = area;
                for line in words.wrap(usize::from(area.width)) {
                    front.pen.put(buf, left, &line);
                    left = split_rows(left, 1).1;
                }
            } else {
                dialog::draw(front, modal, area, buf);
            }
            Drawn::default()
        }
    };
    Some(drawn)
}

/// Lines in a box that is as high as they are, or scrolled where they do not fit.
fn scrolled(
    front: &Front<'_>,
    area: Rect,
    buf: &mut Buffer,
    width: u16,
    titles: (&str, &str, &str),
    lines: &[Words],
    scroll: usize,
) -> Drawn {
    let room = area.height.saturating_sub(2);
    let wanted = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(room);
    let inside = boxed(front, area, buf, (width, wanted), titles, Role::Accent);
    let scroll = scroll.min(lines.len().saturating_sub(usize::from(inside.height)));
    pane::rows(front.pen, buf, inside, &lines[scroll..]);
    Drawn {
        height: inside.height,
        rows: u32::try_from(lines.len()).unwrap_or(u32::MAX),
        ..Drawn::default()
    }
}

/// A box in the middle of `area` with room for `rows` rows of `width` cells;
/// returns the inside, two cells away from the edge.
fn boxed(
    front: &Front<'_>,
    area: Rect,
    buf: &mut Buffer,
    size: (u16, u16),
    titles: (&str, &str, &str),
    edge: Role,
) -> Rect {
    let pen = front.pen;
    let width = (size.0 + 6).min(area.width);
    let height = (size.1 + 2).min(area.height);
    let rect = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    pen.ground(buf, rect, Role::Panel);
    let (title, right, below) = titles;
    let [tl, tr, bl, br, rule, side] = if pen.glyphs.is_ascii() {
        ["+", "+", "+", "+", "-", "|"]
    } else {
        ["┌", "┐", "└", "┘", "─", "│"]
    };
    let inner = usize::from(width).saturating_sub(2);
    let line = |left: &str, right: &str| {
        let left = if left.is_empty() {
            Words::new()
        } else {
            Words::new()
                .ink(rule, edge)
                .gap(1)
                .ink(left, Ink::new(edge).bold())
                .gap(1)
        };
        let right = if right.is_empty() {
            Words::new()
        } else {
            Words::new().gap(1).line(right, edge).gap(1).ink(rule, edge)
        };
        let left = left.head(inner);
        let right = if left.width() + right.width() < inner {
            right
        } else {
            Words::new()
        };
        let rest = inner - left.width() - right.width();
        left.ink(rule.repeat(rest), edge).then(right)
    };
    let top = Words::new()
        .ink(tl, edge)
        .then(line(title, right))
        .ink(tr, edge);
    pen.put(buf, rect, &top);
    for y in 1..height.saturating_sub(1) {
        let row = Rect {
            y: rect.y + y,
            height: 1,
            ..rect
        };
        pen.put(buf, row, &Words::new().ink(side, edge));
        pen.put_right(buf, row, &Words::new().ink(side, edge));
    }
    if height > 1 {
        let bottom = Rect {
            y: rect.bottom() - 1,
            height: 1,
            ..rect
        };
        let words = Words::new()
            .ink(bl, edge)
            .then(line(below, ""))
            .ink(br, edge);
        pen.put(buf, bottom, &words);
    }
    Rect {
        x: rect.x + 3.min(width),
        y: rect.y + 1,
        width: width.saturating_sub(6),
        height: height.saturating_sub(2),
    }
}

/// A text with its cursor, the last `width` cells before the cursor kept in sight.
fn typed(pen: Pen<'_>, text: &Text, focused: bool, width: usize) -> Words {
    let (before, after) = text.value().split_at(text.cursor());
    let mut words = Words::new();
    words = words.shown(Shown::line(before), Role::Text);
    if !focused {
        return words.shown(Shown::line(after), Role::Text).head(width);
    }
    let cursor = if pen.glyphs.is_ascii() { "|" } else { "▏" };
    let kept = words
        .tail(width.saturating_sub(1))
        .ink(cursor, Ink::new(Role::Accent).bold());
    let rest = width.saturating_sub(kept.width());
    if rest == 0 || after.is_empty() {
        return kept;
    }
    kept.then(
        Words::new()
            .shown(Shown::line(after), Role::Text)
            .head(rest),
    )
}

/// An area of text with its cursor, wrapped: the last `rows` rows up to the cursor.
fn area_rows(pen: Pen<'_>, text: &Text, focused: bool, width: usize, rows: usize) -> Vec<Words> {
    let cursor = if pen.glyphs.is_ascii() { "|" } else { "▏" };
    let mut all = Vec::new();
    let mut at = 0;
    let mut cursor_row = 0;
    for line in text.value().split('\n') {
        let here = text.cursor() >= at && text.cursor() <= at + line.len();
        let mut words = Words::new();
        if here && focused {
            let (before, after) = line.split_at(text.cursor() - at);
            words = words
                .shown(Shown::line(before), Role::Text)
                .ink(cursor, Ink::new(Role::Accent).bold())
                .shown(Shown::line(after), Role::Text);
        } else {
            words = words.shown(Shown::line(line), Role::Text);
        }
        let wrapped = words.wrap(width);
        if here {
            cursor_row = all.len() + wrapped.len() - 1;
        }
        all.extend(wrapped);
        at += line.len() + 1;
    }
    let first = (cursor_row + 1).saturating_sub(rows);
    all.into_iter().skip(first).take(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::action::{Action, Edit};
    use crate::state::effect::{EffectQueue, Outcome};
    use crate::state::event::{Event, LinkState, Source, Stamped};
    use crate::state::model::jobs::{Decision, JobFact, JobState};
    use crate::state::model::letters::{DeadLetter, LettersFact};
    use crate::state::model::policy::{Explanation, FactTrace, RuleTrace};
    use crate::time::Timestamp;
    use crate::tui::glyph::Glyphs;
    use crate::tui::theme::{Depth, Theme};
    use crate::tui::widget::tests::text_of;

    /// The state after actions on two running jobs, `"text"` typed; a second apart.
    fn state(actions: &str) -> State {
        let mut state = State::default();
        let fact = |id: &str| JobFact {
            id: id.into(),
            state: Some(JobState::Running),
            ..JobFact::default()
        };
        let mut events = vec![
            Event::Link(Source::Gateway, LinkState::Up),
            Event::Jobs(vec![fact("job-aaaa"), fact("job-bbbb")]),
        ];
        if actions.contains("what-if") {
            let told = "0s tried next.yaml stays=3 flips=REQUIRE_APPROVAL:ALLOW:known:job-aaaa+job-cccc:gone:pii";
            let told = crate::state::script::events(told).expect("an event");
            events.extend(told.into_iter().map(|it| it.value));
        }
        if actions.contains("overview") {
            let told = "0s beat w1 pool=gpu slots=4/4 | 1s submit j1 topic=job.gpu.tune";
            let told = crate::state::script::events(told).expect("events");
            events.extend(told.into_iter().map(|it| it.value));
        }
        if actions.contains("explain") {
            let fact = |field: &str, seen: Option<&str>| FactTrace {
                field: field.into(),
                wanted: Some("prod".into()),
                seen: seen.map(Into::into),
                holds: seen == Some("prod"),
            };
            let rule = |id: &str, outcome: &str, facts: Vec<FactTrace>| RuleTrace {
                id: id.into(),
                decision: Some(Decision::RequireApproval),
                outcome: Some(outcome.into()),
                facts,
            };
            events.push(Event::Explained(Box::new(Explanation {
                job: "job-aaaa".into(),
                decision: Some(Decision::RequireApproval),
                rule_id: Some("approval-prod".into()),
                reason: Some("writes wait for a person".into()),
                snapshot: Some("v3:8c1f00112233445566778899aabba2e7".into()),
                rules: vec![
                    rule(
                        "deny-stage",
                        "does not match",
                        vec![
                            fact("topics", Some("prod")),
                            fact("labels.env", Some("stage")),
                        ],
                    ),
                    rule(
                        "approval-prod",
                        "decides",
                        vec![fact("risk_tags", Some("prod"))],
                    ),
                    rule("all", "matches too, and agrees", Vec::new()),
                    rule("pack", "does not match", vec![fact("pack_ids", None)]),
                ],
                stored: true,
            })));
        }
        if actions.contains("retry") {
            let letter = DeadLetter {
                job: "job-bbbb".into(),
                topic: Some("job.code.patch".into()),
                status: None,
                reason_code: Some("tests_failed".into()),
                reason: Some("tests failed: 3 of 412".into()),
                last_state: None,
                attempts: None,
                at: Timestamp::default(),
            };
            events.push(Event::DeadLetters(LettersFact {
                letters: vec![letter],
                retry_copies: Some(!actions.contains("older")),
                more: false,
            }));
        }
        for word in actions
            .split('|')
            .filter(|word| word.trim() != "older")
            .map(str::trim)
            .filter(|it| !it.is_empty())
        {
            match word.strip_prefix('"') {
                Some(text) => {
                    let chars = text.trim_end_matches('"').chars();
                    events.extend(chars.map(|c| Event::User(Action::Edit(Edit::Insert(c)))));
                }
                None => events.push(Event::User(word.parse().expect("an action"))),
            }
        }
        for (seq, value) in events.into_iter().enumerate() {
            let seq = seq as u64;
            let at = Timestamp::from_millis(1_767_225_600_000 + 1_000 * seq as i64);
            let mut effects = EffectQueue::new();
            state.step(&Stamped { seq, at, value }, &mut effects);
        }
        state
    }

    fn drawn(state: &State, width: u16, height: u16, glyphs: Glyphs) -> String {
        let theme = Theme::shipped("dark", Depth::True);
        let keymap = Keymap::default();
        let front = Front {
            state,
            keymap: &keymap,
            pen: Pen::new(&theme, glyphs),
            context: "eu-1",
            ground: Role::Frame,
            json: |_| None,
        };
        let area = Rect::new(0, 0, width, height);
        let mut buf = Buffer::empty(area);
        draw(&front, area, &mut buf);
        text_of(&buf)
    }

    #[test]
    fn a_cancel_dialog_names_its_object_and_its_effect() {
        let one = state("jobs | cancel | \"wrong model\"");
        insta::assert_snapshot!(drawn(&one, 80, 20, Glyphs::UNICODE));
    }

    #[test]
    fn several_jobs_are_listed_and_their_number_is_typed() {
        let two = state("jobs | mark | down | mark | cancel | next-field | \"cancl\"");
        insta::assert_snapshot!(drawn(&two, 80, 24, Glyphs::UNICODE));
    }

    #[test]
    fn a_cancel_dialog_asks_no_worker_for_a_job_that_none_has() {
        for (job, asks) in [
            (
                "0s submit a topic=job.x",
                "asks       the gateway; no worker has it yet",
            ),
            (
                "0s link nats up | 0s submit a topic=job.x | 0s dispatch a w1 topic=job.x",
                "asks       the gateway, then w1; both answers are shown",
            ),
            (
                "0s told a RUNNING topic=job.x worker=w1",
                "asks       the gateway; only the bus tells what w1 answers",
            ),
            (
                "0s link nats up | 0s beat w1 pool=p | 0s submit a topic=job.x \
                 | 0s dispatch a w1 topic=job.x | 20s beat w2 pool=p | 40s beat w2 pool=p | 60s beat w2 pool=p",
                "which was last heard 1m00s ago: nobody knows",
            ),
        ] {
            let script = format!("0s link gateway up | {job} | 60s tick");
            let mut state = crate::state::script::run(&script).expect("a script");
            for (seq, action) in (1_000..).zip([Action::Jobs, Action::Cancel]) {
                let event = Stamped {
                    seq,
                    at: state.now,
                    value: Event::User(action),
                };
                state.step(&event, &mut EffectQueue::new());
            }
            let text = drawn(&state, 80, 24, Glyphs::UNICODE);
            assert!(text.contains(asks), "{script}: {text}");
        }
    }

    #[test]
    fn a_decision_that_would_be_refused_by_now_says_so_in_place_of_its_buttons() {
        let script = "0s link gateway up | 0s approval a topic=job.x rule=ask | 1s tick";
        let mut state = crate::state::script::run(script).expect("a script");
        let mut seq = 1_000;
        let mut step = |state: &mut State, value: Event| {
            seq += 1;
            let at = state.now.plus(crate::time::Elapsed::from_secs(1));
            let mut asked = EffectQueue::new();
            state.step(&Stamped { seq, at, value }, &mut asked);
            // What is read is there at once.
            for (id, _) in asked.drain() {
                seq += 1;
                let value = Event::Outcome(id, Outcome::Done(None));
                state.step(&Stamped { seq, at, value }, &mut EffectQueue::new());
            }
            drawn(state, 80, 30, Glyphs::UNICODE)
        };
        step(&mut state, Event::User(Action::Approvals));
        step(&mut state, Event::User(Action::Review));
        let open = step(&mut state, Event::User(Action::Reject));
        assert!(open.contains("Go back     Reject"), "{open}");
        let away = crate::state::script::events("0s link gateway down").expect("a script");
        let away = away.into_iter().next().expect("an event").value;
        let text = step(&mut state, away);
        assert!(
            text.contains("Not now: Not sent: the gateway does not answer."),
            "{text}"
        );
        assert!(!text.contains("Go back     Reject"), "{text}");
    }

    #[test]
    fn a_cancel_dialog_promises_no_way_round_a_gateway_that_went_away() {
        let script = "0s link nats up | 0s link gateway up | 0s submit a topic=job.x \
            | 0s dispatch a w1 topic=job.x | 1s tick";
        let mut state = crate::state::script::run(script).expect("a script");
        let away = crate::state::script::events("0s link gateway down").expect("a script");
        let away = away.into_iter().map(|event| event.value);
        let keys = [Action::Jobs, Action::Cancel].map(Event::User);
        for (seq, value) in (1_000..).zip(keys.into_iter().chain(away)) {
            let at = state.now;
            state.step(&Stamped { seq, at, value }, &mut EffectQueue::new());
        }
        let text = drawn(&state, 80, 24, Glyphs::UNICODE);
        assert!(
            text.contains("does not answer now; nothing is sent"),
            "{text}"
        );
        assert!(!text.contains("over the bus"), "{text}");
    }

    #[test]
    fn a_dialog_about_several_jobs_tells_what_is_lost_and_whose_they_are() {
        let script = "0s link nats up | 0s submit a1 topic=job.gpu.tune tenant=acme | 0s beat w1 pool=gpu \
            | 0s dispatch a1 w1 topic=job.gpu.tune | 0s submit b1 topic=job.gpu.tune tenant=orbit \
            | 0s progress a1 5% | 120s submit c1 topic=job.gpu.tune tenant=acme | 121s tick";
        let mut state = crate::state::script::run(script).expect("a script");
        let keys = "jobs mark down mark down mark cancel";
        for (seq, action) in (1_000..).zip(keys.split(' ')) {
            let event = Stamped {
                seq,
                at: state.now,
                value: Event::User(action.parse().expect("an action")),
            };
            state.step(&event, &mut EffectQueue::new());
        }
        let text = drawn(&state, 80, 24, Glyphs::UNICODE);
        for says in [
            "1 running job loses 2m01s of work, 2 waiting jobs never start.",
            "Nothing is undone. Tenants: acme 2, orbit 1. All in pool gpu.",
        ] {
            assert!(text.contains(says), "{says}: {text}");
        }
    }

    #[test]
    fn a_retry_dialog_tells_what_is_new_and_what_is_lost() {
        let retry = state("rollbacks | left | retry");
        insta::assert_snapshot!(drawn(&retry, 80, 20, Glyphs::UNICODE));
        let older = state("older | rollbacks | left | retry");
        let text = drawn(&older, 80, 20, Glyphs::UNICODE);
        assert!(
            text.contains("This gateway drops labels and risk tags"),
            "{text}"
        );
    }

    #[test]
    fn an_explanation_tells_of_each_rule_what_it_asks_and_what_it_met() {
        let explained = state("jobs | explain");
        insta::assert_snapshot!(drawn(&explained, 100, 18, Glyphs::UNICODE));
    }

    #[test]
    fn a_flip_lists_its_jobs_and_a_pool_its_causes() {
        let flip = state("policy | what-if | \"next.yaml\" | confirm | open");
        insta::assert_snapshot!(drawn(&flip, 100, 12, Glyphs::UNICODE));
        let pool = state("overview | open");
        insta::assert_snapshot!(drawn(&pool, 100, 12, Glyphs::UNICODE));
    }

    #[test]
    fn help_is_searched_and_says_what_cannot_work() {
        let help = state("jobs | help | \"cop\"");
        insta::assert_snapshot!(drawn(&help, 80, 16, Glyphs::UNICODE));
    }

    #[test]
    fn the_palette_completes_and_previews() {
        let palette = state("palette | \"jobs state:run\"");
        insta::assert_snapshot!(drawn(&palette, 80, 12, Glyphs::UNICODE));
    }

    #[test]
    fn a_command_that_wants_a_name_says_so() {
        for command in ["save", "view", "filter", "trace"] {
            let text = drawn(
                &state(&format!("palette | \"{command} \"")),
                100,
                24,
                Glyphs::UNICODE,
            );
            assert!(!text.contains("No command"), "{text}");
            assert!(
                text.to_lowercase().contains(&format!("{command} ")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_wrong_filter_says_first_where_and_what_is_wrong() {
        let text = drawn(
            &state("jobs | filter | \"age>5x\" | confirm"),
            80,
            12,
            Glyphs::UNICODE,
        );
        assert!(
            text.contains("column 1: age>5x wants a number and s, m"),
            "{text}"
        );
        // It says that the old one stays when that is so, and where there is room.
        let keys = "jobs | filter | \"state:running\" | confirm | filter | \" age>5x\"";
        let says = |keys: &str| drawn(&state(keys), 160, 12, Glyphs::UNICODE);
        let typed = says(keys);
        assert!(typed.contains("age>5x wants a number"), "{typed}");
        assert!(!typed.contains("The old filter stays."), "{typed}");
        let ended = says(&format!("{keys} | confirm"));
        assert!(ended.contains("The old filter stays."), "{ended}");
    }

    #[test]
    fn a_dialog_that_does_not_fit_asks_for_room() {
        let one = state("jobs | cancel");
        assert!(drawn(&one, 50, 20, Glyphs::UNICODE).contains("Make the window larger"));
    }

    #[test]
    fn nothing_in_front_breaks_at_any_size_or_leaves_ascii() {
        for keys in [
            "jobs | cancel",
            "jobs | mark | down | mark | cancel",
            "rollbacks | left | retry",
            "jobs | explain",
            "help",
            "palette",
            "palette | \"aprove\" | confirm",
            "jobs | filter | \"state:\"",
            "log",
            "policy | what-if | \"next.yaml\" | confirm | open",
            "overview | open",
        ] {
            let state = state(keys);
            for width in (0..90).step_by(7) {
                for height in 0..26 {
                    let text = drawn(&state, width, height, Glyphs::ASCII);
                    assert!(text.is_ascii(), "{keys} {width}x{height}: {text}");
                }
            }
        }
    }
}
