//! Every screen in every condition, as text and as roles, each from an event script.

use capdeck::state::State;
use capdeck::state::action::{Action, Edit};
use capdeck::state::effect::{EffectId, EffectQueue, Outcome};
use capdeck::state::event::{Event, Stamped};
use capdeck::state::script;
use capdeck::text;
use capdeck::time::{Elapsed, Timestamp};
use capdeck::tui::glyph::Glyphs;
use capdeck::tui::hints::KeyHint;
use capdeck::tui::keymap::Keymap;
use capdeck::tui::screen::{self, Context, Hints, Scene};
use capdeck::tui::theme::{Depth, Role, Theme};
use capdeck::tui::{Look, paint};
use capdeck::view;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

mod heads;
mod own_states;
mod what_if;

const SIZES: [(u16, u16); 5] = [(40, 12), (80, 24), (120, 36), (120, 40), (200, 60)];

/// A deployment at work: jobs in every state, workers in every standing.
const LIVE: &str = include_str!("screens/live.events");

/// Workflows that are undone, armed and held up by a person, what policy says, and
/// jobs that could not be done.
const SAGAS: &str = include_str!("screens/sagas.events");

/// Some time after all lines were cut.
const DARK: &str = "\n760s link nats down reason=\"connection refused\" attempts=7 \
    \n761s link gateway down reason=\"connection refused\" attempts=3\n790s tick";

/// The same deployment 41 s after its bus was cut.
const CUT: &str = "\n141s link nats down reason=\"connection refused\" attempts=6 again=186s\n181s tick\n182s tick";

fn conditions() -> [(&'static str, String); 5] {
    [
        ("empty", "0s link nats up | 0s link gateway up | 1s nothing-waits | 3s tick".to_owned()),
        ("loading", "0s link nats connecting | 0s link gateway connecting | 1s tick".to_owned()),
        ("live", LIVE.to_owned()),
        ("stale", format!("{LIVE}{CUT}")),
        (
            "error",
            "0s link nats down attempts=3 again=10s | 0s link gateway down attempts=2 again=13s reason=\"connection refused\" | 9s tick"
                .to_owned(),
        ),
    ]
}

/// The conditions of the views that look at workflows.
fn saga_conditions() -> [(&'static str, String); 5] {
    conditions().map(|(condition, script)| match condition {
        "live" => (condition, SAGAS.to_owned()),
        "stale" => (condition, format!("{SAGAS}{DARK}")),
        _ => (condition, script),
    })
}

struct Console {
    state: State,
    seq: u64,
    at: Timestamp,
    /// An effect that has not been answered.
    open: Option<EffectId>,
}

impl Console {
    fn play(script: &str) -> Self {
        let mut console = Self {
            state: State::default(),
            seq: 0,
            at: script::START,
            open: None,
        };
        // A console starts with its own size and view; everything else is heard.
        console.user(Action::Resize {
            columns: 120,
            rows: 36,
        });
        let mut effects = EffectQueue::new();
        for event in merged(script::events(&with_controls(script)).unwrap()) {
            console.at = event.at;
            console.state.step(&event, &mut effects);
            console.seq = event.seq + 1;
        }
        console
    }

    fn user(&mut self, action: Action) {
        let mut effects = EffectQueue::new();
        self.seq += 1;
        let event = Stamped {
            seq: self.seq,
            at: self.at,
            value: Event::User(action),
        };
        self.state.step(&event, &mut effects);
        // What is asked is answered at once: everything has been read already.
        let asked: Vec<_> = effects.drain().collect();
        for (id, _) in asked {
            self.seq += 1;
            let event = Stamped {
                seq: self.seq,
                at: self.at,
                value: Event::Outcome(id, Outcome::Done(None)),
            };
            self.state.step(&event, &mut EffectQueue::new());
        }
    }

    /// An action whose effect is answered later, by [`Console::end`].
    fn leave_open(&mut self, action: Action) {
        self.at = self.at.plus(Elapsed::from_secs(1));
        self.seq += 1;
        let event = Stamped {
            seq: self.seq,
            at: self.at,
            value: Event::User(action),
        };
        let mut effects = EffectQueue::new();
        self.state.step(&event, &mut effects);
        self.open = effects.drain().map(|(id, _)| id).last();
    }

    fn end(&mut self, outcome: Outcome) {
        let id = self.open.take().expect("an effect that was left open");
        self.seq += 1;
        let event = Stamped {
            seq: self.seq,
            at: self.at,
            value: Event::Outcome(id, outcome),
        };
        self.state.step(&event, &mut EffectQueue::new());
    }

    /// Actions by name a second apart, so that no guard holds; `"text"` types, and
    /// anything with a blank is heard as in event files, `;` between events.
    fn press(&mut self, keys: &str) {
        for key in keys.split('|').map(str::trim) {
            self.at = self.at.plus(Elapsed::from_secs(1));
            if let Some(text) = key.strip_prefix('"') {
                for c in text.trim_end_matches('"').chars() {
                    self.user(Action::Edit(Edit::Insert(c)));
                }
            } else if key.contains(' ') {
                let told = key.replace(';', "\n0s ");
                for event in merged(script::events(&format!("0s {told}")).unwrap()) {
                    self.seq += 1;
                    let event = Stamped {
                        seq: self.seq,
                        at: self.at,
                        ..event
                    };
                    self.state.step(&event, &mut EffectQueue::new());
                }
            } else {
                self.user(key.parse().unwrap());
                self.paint(120, 36);
            }
        }
    }

    /// Draws all of the screen with what stands in front, as the loop does.
    fn paint(&mut self, columns: u16, rows: u16) -> Buffer {
        self.user(Action::Resize { columns, rows });
        let look = Look {
            themes: vec![dark()],
            glyphs: Glyphs::UNICODE,
            keymap: Keymap::default(),
            context: Context {
                name: "PROD eu-1".to_owned(),
                ground: Role::Frame,
                ..Context::default()
            },
            json: |_| None,
        };
        let area = Rect::new(0, 0, columns, rows);
        let mut buf = Buffer::empty(area);
        for _ in 0..2 {
            buf = Buffer::empty(area);
            let drawn = paint(&self.state, &look, area, &mut buf);
            self.user(Action::Drawn(drawn));
        }
        buf
    }

    /// Draws until what was drawn no longer changes the state, as the loop does.
    fn draw(&mut self, theme: &Theme, glyphs: Glyphs, columns: u16, rows: u16) -> Buffer {
        self.user(Action::Resize { columns, rows });
        let context = Context {
            name: "PROD eu-1".to_owned(),
            ground: Role::Frame,
            addresses: [
                Some("nats://localhost:4222".to_owned()),
                Some("http://localhost:8081".to_owned()),
                None,
            ],
        };
        let hints = Hints {
            keys: [
                ("Enter", "detail"),
                ("space", "mark"),
                ("/", "filter"),
                ("?", "help"),
            ]
            .map(|(key, says)| KeyHint {
                key: key.to_owned(),
                says: says.to_owned(),
            })
            .to_vec(),
            cannot: "A works in a review".to_owned(),
        };
        let area = Rect::new(0, 0, columns, rows);
        let mut buf = Buffer::empty(area);
        for _ in 0..2 {
            buf = Buffer::empty(area);
            let scene = Scene {
                state: &self.state,
                context: &context,
                hints: &hints,
                theme,
                glyphs,
            };
            let drawn = screen::draw(&scene, area, &mut buf);
            self.user(Action::Drawn(drawn));
        }
        buf
    }
}

/// Control characters are written by name in event files, which people read.
fn with_controls(script: &str) -> String {
    script.replace("{ESC}", "\x1b").replace("{CR}", "\r")
}

/// A gateway answers with all its approvals, or dead letters, at once: those that stand together in
/// a script are one answer.
fn merged(events: Vec<Stamped<Event>>) -> Vec<Stamped<Event>> {
    let mut merged: Vec<Stamped<Event>> = Vec::new();
    for event in events {
        if let (Event::Approvals(more), Some(last)) = (&event.value, merged.last_mut())
            && let Event::Approvals(facts) = &mut last.value
        {
            facts.extend(more.iter().cloned());
            continue;
        }
        if let (Event::DeadLetters(more), Some(last)) = (&event.value, merged.last_mut())
            && let Event::DeadLetters(fact) = &mut last.value
        {
            fact.letters.extend(more.letters.iter().cloned());
            continue;
        }
        merged.push(event);
    }
    merged
}

fn dark() -> Theme {
    Theme::shipped("dark", Depth::True)
}

fn text_of(buf: &Buffer) -> String {
    let mut out = String::new();
    for row in buf.area.rows() {
        let mut line = String::new();
        let mut hidden = 0;
        for cell in row.columns() {
            if hidden > 0 {
                hidden -= 1;
                continue;
            }
            let symbol = buf[(cell.x, cell.y)].symbol();
            hidden = text::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// One letter a cell: the role of its words, in upper case where they are bold;
/// `#` where they stand on a block of color, `_` on the cursor row's blanks.
fn roles_of(buf: &Buffer, theme: &Theme) -> String {
    let mut out = String::new();
    for row in buf.area.rows() {
        let mut line = String::new();
        for cell in row.columns() {
            let cell = &buf[(cell.x, cell.y)];
            line.push(role_letter(theme, cell.style(), cell.symbol()));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn role_letter(theme: &Theme, style: Style, symbol: &str) -> char {
    let ground = theme.ground_of(style);
    if symbol == " " {
        return match ground {
            None => ' ',
            Some(Role::Sel | Role::Panel) => '_',
            Some(_) => '#',
        };
    }
    match ground {
        Some(Role::Sel | Role::Panel) | None => {}
        Some(_) => return '#',
    }
    let letter = theme.role_of(style).map_or('?', Role::letter);
    if style.add_modifier.contains(Modifier::BOLD) {
        letter.to_ascii_uppercase()
    } else {
        letter
    }
}

fn snapshot(name: &str, buf: &Buffer, theme: &Theme) {
    let both = format!("{}\n{}", text_of(buf), roles_of(buf, theme));
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name.to_owned(), both);
    });
}

fn check_view(view: &str, actions: &[Action]) {
    check_view_in(conditions(), view, actions);
}

fn check_view_in(conditions: [(&'static str, String); 5], view: &str, actions: &[Action]) {
    let theme = dark();
    for (condition, script) in conditions {
        for (columns, rows) in SIZES {
            let mut console = Console::play(&script);
            for action in actions {
                console.user(action.clone());
            }
            let buf = console.draw(&theme, Glyphs::UNICODE, columns, rows);
            snapshot(
                &format!("{view}-{condition}-{columns}x{rows}"),
                &buf,
                &theme,
            );
        }
    }
}

#[test]
fn the_overview_is_drawn_in_every_condition() {
    check_view("overview", &[Action::Overview]);
}

#[test]
fn the_approvals_are_drawn_in_every_condition() {
    check_view("approvals", &[Action::Approvals]);
}

#[test]
fn the_review_is_drawn_in_every_condition() {
    check_view("review", &[Action::Approvals, Action::Review]);
}

#[test]
fn the_jobs_are_drawn_in_every_condition() {
    check_view("jobs", &[Action::Jobs]);
}

#[test]
fn the_detail_of_a_job_is_drawn_in_every_condition() {
    check_view("job", &[Action::Jobs, Action::Open]);
}

#[test]
fn the_workers_are_drawn_in_every_condition() {
    check_view("workers", &[Action::Workers]);
}

#[test]
fn the_workers_by_pool_are_drawn_in_every_condition() {
    check_view("pools", &[Action::Workers, Action::ByPool]);
}

#[test]
fn the_heat_map_is_drawn_in_every_condition() {
    check_view("heat", &[Action::Workers, Action::HeatMap]);
}

/// Three approvals that can be decided together.
const TOGETHER: &str = include_str!("screens/together.events");

const MARKED: &str = "approvals | mark | down | mark | down | mark";

fn check_together(name: &str, keys: &str) {
    for (columns, rows) in [(60, 16), (80, 24), (120, 36)] {
        let mut console = Console::play(TOGETHER);
        console.press(keys);
        let buf = console.paint(columns, rows);
        snapshot(&format!("together-{name}-{columns}x{rows}"), &buf, &dark());
    }
}

#[test]
fn marked_approvals_and_their_review_are_drawn() {
    check_together("marked", MARKED);
    check_together("review", &format!("{MARKED} | review"));
    check_together("next", &format!("{MARKED} | review | next-match"));
}

#[test]
fn dialogs_about_one_and_several_approvals_are_drawn() {
    let review = format!("{MARKED} | review | next-match | next-match");
    check_together(
        "approve",
        &format!("{review} | approve | \"monthly close\""),
    );
    let listed = TOGETHER
        .lines()
        .filter(|line| line.contains("APPROVAL rule=") || line.contains("risk=pii"));
    let one_decided: Vec<String> = listed
        .map(|line| {
            let told = line.split_once(' ').unwrap().1;
            match told.contains("93c8a11f") {
                true => format!("{told} status=approved who=oncall-2"),
                false => told.to_owned(),
            }
        })
        .collect();
    check_together(
        "approve-left-out",
        &format!(
            "{review} | approve | next-field | \"approve 3\" | {}",
            one_decided.join(";")
        ),
    );
    check_together(
        "reject",
        &format!("{review} | reject | \"wrong month\" | confirm"),
    );
    check_together(
        "approve-one",
        "approvals | down | down | review | approve | \"asked\" | confirm | \"a2\"",
    );
    check_together(
        "approve-wrong",
        "approvals | down | down | review | approve | next-field | \"ae\"",
    );
    check_together(
        "reject-one",
        "approvals | review | reject | \"wrong month\"",
    );
}

/// Approvals in every standing, deadline band and kind of end.
const STANDINGS: &str = "0s link nats up | 0s link gateway up | 0s policy s2 \
     | 11s approval job-breached told=1s topic=job.a rule=r actor=x snapshot=s2 hash=h deadline=4s undo=job.u \
     | 11s approval job-soon told=1s topic=job.a rule=r actor=x snapshot=s2 hash=h deadline=250s undo=job.u \
     | 11s approval job-quarter told=1s topic=job.a rule=r actor=x snapshot=s2 hash=h deadline=850s undo=job.u \
     | 11s approval job-later told=1s topic=job.a rule=r actor=x snapshot=s2 hash=h deadline=7000s undo=job.u \
     | 11s approval job-untold told=1s topic=job.a rule=r snapshot=s2 partial=1 \
     | 11s approval job-moved told=1s topic=job.a rule=r actor=x snapshot=s1 hash=h undo=job.u \
     | 11s approval job-changed told=1s topic=job.a rule=r actor=x snapshot=s2 hash=h own=i undo=job.u \
     | 11s approval job-gone told=1s topic=job.a rule=r actor=x snapshot=s2 hash=h context=redis://ctx undo=job.u \
     | 11s approval job-yours told=1s topic=job.a rule=r actor=ann submitted=principal:ann snapshot=s2 hash=h \
     | 11s approval job-expired told=1s topic=job.a rule=r snapshot=s1 status=expired \
     | 11s approval job-invalid told=1s topic=job.a rule=r snapshot=s1 status=invalidated who=system/reconciler \
     | 11s approval job-no told=1s topic=job.a rule=r snapshot=s1 status=rejected who=bob note=no \
     | 11s payload job-gone pointer=redis://ctx is=missing | 12s tick";

#[test]
fn every_standing_deadline_and_end_of_an_approval_is_drawn() {
    let mut console = Console::play(STANDINGS);
    console.state.ui.manners.operator = "ann".into();
    console
        .press("approvals | down | review | approve | \"ok\" | next-field | next-field | confirm");
    for (columns, rows) in [(80, 24), (120, 36), (200, 60)] {
        let buf = console.paint(columns, rows);
        snapshot(&format!("standings-{columns}x{rows}"), &buf, &dark());
    }
}

#[test]
fn what_moved_and_what_changed_is_drawn() {
    check_together(
        "moved",
        "approvals | review | policy v4:d20b112233445566778899aabbcc19f4",
    );
    let waiting: Vec<&str> = TOGETHER
        .lines()
        .filter(|line| line.contains("risk=pii"))
        .filter_map(|line| Some(line.split_once(' ')?.1))
        .collect();
    let changed = "approvals | review | payload 2c33d4e5-8a57-4e0b-b3a9-000093c8a004 pointer=redis://ctx:a004 sha256=99c0000111122223333444455556666777788889999aaaabbbbccccddddee21b text=\"{\\n  'format': 'csv',\\n  'to': 's3://elsewhere/',\\n  'rows': 'all'\\n}\" | reload";
    // A reload is bound to the list that comes after it.
    check_together("changed", &format!("{changed} | {}", waiting.join(";")));
}

#[test]
fn the_rollbacks_are_drawn_in_every_condition() {
    check_view_in(saga_conditions(), "rollbacks", &[Action::Rollbacks]);
}

#[test]
fn policy_is_drawn_in_every_condition() {
    check_view_in(saga_conditions(), "policy", &[Action::Policy]);
}

#[test]
fn the_cause_chain_of_a_pool_is_one_sentence_a_link() {
    let mut console = Console::play(LIVE);
    console.press("overview | down | open");
    let text = text_of(&console.paint(120, 36));
    let chain: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split('│').nth(1))
        .map(str::trim)
        .collect();
    assert_eq!(
        chain,
        [
            "2 jobs wait, 71ee02bd for 1m48s.",
            "Pool gpu is full for 33s.",
            "4 of 4 workers are over 90%: w-gpu-01, w-gpu-04, w-gpu-06, w-gpu-07.",
        ]
    );
}

#[test]
fn a_step_that_has_not_run_says_what_policy_would_decide() {
    let mut console = Console::play(SAGAS);
    for (keys, expected) in [
        (
            "rollbacks | down | down",
            "1  code.bisect        code.unbisect      ○ armed       would allow",
        ),
        (
            "down",
            "1  index.build        index.drop         ○ armed       would deny",
        ),
    ] {
        console.press(keys);
        let text = text_of(&console.paint(120, 36));
        assert!(text.contains(expected), "{text}");
    }
    // Another policy has not been asked yet.
    console.press("policy v4:d20b112233445566778899aabbcc19f4");
    let text = text_of(&console.paint(120, 36));
    assert!(text.contains("not asked"), "{text}");
}

/// The lines of the view of policy that hold one of `words`, after a gateway told
/// `rules`.
fn policy_lines(rules: &str, words: &[&str]) -> Vec<String> {
    let script = format!(
        "0s link nats up | 0s link gateway up | 1s policy v1:ab \
         | 2s told a PENDING decision=ALLOW rule=allow-known | 3s told b PENDING decision=UNAVAILABLE \
         | 4s rules {rules} | 5s tick"
    );
    let found = lines_with(&script, &[Action::Policy], words);
    found.iter().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn an_open_breaker_tells_when_it_is_tried_and_how_many_jobs_wait() {
    let found = policy_lines(
        "allow-known:ALLOW answers=yes breaker=open failures=3 tries=26s fails=open",
        &["Kernel", "breaker", "again", "if down", "waiting"],
    );
    assert!(found[0].ends_with("✗ open, tries in 21s"), "{found:#?}");
    let says = found.join(" ");
    for part in [
        "open, 3 of 3 failures",
        "FAIL OPEN: jobs run",
        "1 job waits for it",
    ] {
        assert!(says.contains(part), "{part}: {found:#?}");
    }
}

#[test]
fn what_a_gateway_does_not_tell_of_policy_is_said_to_be_unknown() {
    let found = policy_lines("", &["Kernel", "answers", "allow-known", "does not list"]);
    assert!(found[0].contains("· unknown"), "{found:#?}");
    assert!(found[1].contains("unknown: not told"), "{found:#?}");
    assert!(found[2].contains("— allow-known"), "{found:#?}");
    assert!(
        found[3].starts_with("This gateway does not list its rules"),
        "{found:#?}"
    );
}

#[test]
fn a_kernel_elsewhere_is_named_and_the_one_of_the_plane_is_not() {
    let found = policy_lines(
        "allow-known:ALLOW answers=yes address=http://127.0.0.1:50051",
        &["by gRPC"],
    );
    assert!(
        found[0].ends_with("by gRPC    http://127.0.0.1:50051"),
        "{found:#?}"
    );
    let found = policy_lines("allow-known:ALLOW answers=yes", &["by gRPC"]);
    assert_eq!(found, [""; 0]);
}

#[test]
fn hits_are_of_the_time_that_is_on_record() {
    let says = |since: &str, now: &str| {
        let script = format!(
            "0s link gateway up | 0s policy v1:ab \
             | {now} rules allow:ALLOW,rare:DENY,odd:DENY log=allow:ALLOW:5 {since} | {now} tick"
        );
        let found = lines_with(&script, &[Action::Policy], &["hits in", "matched nothing"]);
        let found: Vec<&str> = found.iter().map(|line| line.trim()).collect();
        let title = found[0].split_once("hits in ").unwrap().1;
        let title = title.split_once("  ").unwrap().0;
        let below = found[1]
            .split_once("  ")
            .map_or(found[1], |(below, _)| below);
        format!("{title} | {below}")
    };
    assert_eq!(
        says("since=0s", "150s"),
        "2m | 2 rules have matched nothing in the 2m on record."
    );
    assert_eq!(
        says("since=0s", "4s"),
        "4s | 2 rules have matched nothing in the 4s on record."
    );
    assert_eq!(
        says("since=0s", "7300s"),
        "2h | 2 rules have matched nothing in the 2h on record."
    );
    // A day is what is asked about, and what is meant where nobody tells.
    let day = "24h | 2 rules have matched nothing for 24h.";
    assert_eq!(says("since=0s", "90000s"), day);
    assert_eq!(says("", "4s"), day);
}

#[test]
fn a_broken_file_and_a_slow_kernel_are_said() {
    let found = policy_lines(
        "allow-known:ALLOW answers=yes p50=90 p99=900 broken=\"line 3: no rule\"",
        &["Kernel", "p99", "broken"],
    );
    assert!(found[0].ends_with("◐ slow"), "{found:#?}");
    assert!(found[1].contains("p50 90ms, p99 900ms"), "{found:#?}");
    assert!(found[2].contains("the last one is broken"), "{found:#?}");
}

#[test]
fn what_a_stopped_rollback_did_not_come_to_is_not_called_to_come() {
    let steps = |steps: &str| {
        let script = format!(
            "0s link gateway up | 1s submit a topic=job.a workflow=wf undo=job.undo_a | 2s succeed a w              | 3s submit b topic=job.b workflow=wf undo=job.undo_b | 4s fatal b w              | 5s submit x topic=job.undo_b parent=b labels=saga_compensation:true,saga_workflow_id:wf              | 6s denied x | 7s {steps} | 8s tick"
        );
        let found = lines_with(&script, &[Action::Rollbacks], &["undo_a", "stopped"]);
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        found.iter().map(words).collect::<Vec<_>>().join(" / ")
    };
    let told = steps("rollback wf failed=b started=4s steps=b:x:DENIED,a::NOT_RUN");
    for says in [
        "2 a undo_a — not run not asked",
        "the rollback stopped before it",
        "Step 2 was not run: the rollback stopped before.",
    ] {
        assert!(told.contains(says), "{told}");
    }
    // Of a plane that does not say whether it goes on.
    let heard = steps("tick");
    assert!(heard.contains("2 a undo_a △ unknown"), "{heard}");
}

#[test]
fn the_traces_are_drawn_in_every_condition() {
    check_view_in(
        saga_conditions(),
        "traces",
        &[Action::Jobs, Action::First, Action::Traces],
    );
}

#[test]
fn a_trace_with_a_rollback_shows_what_undoes_what() {
    let found = lines_with(
        SAGAS,
        &[Action::Rollbacks, Action::Traces],
        &["undoes", "critical path", "worked  "],
    );
    let says: Vec<String> = found
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for (line, begins) in says.iter().zip([
        "├ undoes migrate_schema 5e92cc01 ● running ━",
        "├ undoes deploy_app d0000002 ■ denied ·■",
        "├ undoes switch_traff… b7714e0c ✓ succeeded ━",
    ]) {
        assert!(line.starts_with(begins), "{line} does not begin {begins}");
    }
    let path =
        "The critical path is 7 jobs, 2m34s of 2m40s: 3 earlier ones, then ops.verify_deploy, then";
    assert!(says.iter().any(|line| line.starts_with(path)), "{says:#?}");
}

#[test]
fn a_trace_that_only_a_gateway_tells_of_marks_what_nobody_told() {
    let told = "0s link gateway up \
        | 2s told j1-aaaaaaaa SUCCEEDED topic=job.a workflow=wf \
        | 2s told j2-bbbbbbbb PENDING born=1s topic=job.b workflow=wf parent=j1-aaaaaaaa \
        | 61s told j2-bbbbbbbb SUCCEEDED topic=job.b workflow=wf worker=w1 attempts=1 \
        | 61s told j3-cccccccc RUNNING topic=job.c workflow=wf parent=j2-bbbbbbbb | 91s tick";
    let parts = ["not told", "time went", "unknown  ", " a  ", " b  ", " c  "];
    let found = lines_with(told, &[Action::Jobs, Action::Traces], &parts);
    let found: Vec<String> = found
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|line| line.replace('─', "").replace("??", "").replace("━━", ""))
        .collect();
    assert_eq!(
        found,
        [
            "a aaaaaaaa ✓ succeeded ? │ ?",
            "└ b bbbbbbbb ✓ succeeded  │ 1m00s",
            "▌ └ c cccccccc ● running ━│ >30s",
            "━ worked ╍ waits for a person · waits for another job or a worker ? not told │ now",
            "Where the time went  1m30s from what was told first, the beginning is unknown",
            "worked 30s 33% queued 0s 0% unknown 1m00s 67%",
        ]
    );
    let all = "0s link gateway up | 2s told j1 SUCCEEDED born=1s topic=job.a workflow=wf \
        record=1s:PENDING,1s:RUNNING,2s:SUCCEEDED | 91s tick";
    let found = lines_with(
        all,
        &[Action::Jobs, Action::Traces],
        &["time went", "not told"],
    );
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].ends_with(" 1s from the first submission"),
        "{found:#?}"
    );
}

/// All views with what can be open in them.
fn everything() -> Vec<(&'static str, Vec<Action>)> {
    vec![
        ("overview", vec![Action::Overview]),
        ("approvals", vec![Action::Approvals]),
        ("review", vec![Action::Approvals, Action::Review]),
        ("jobs", vec![Action::Jobs]),
        ("job", vec![Action::Jobs, Action::Open]),
        ("workers", vec![Action::Workers]),
        ("pools", vec![Action::Workers, Action::ByPool]),
        ("heat", vec![Action::Workers, Action::HeatMap]),
        ("policy", vec![Action::Policy]),
        ("rollbacks", vec![Action::Rollbacks]),
        ("traces", vec![Action::Jobs, Action::Traces]),
        ("steps", vec![Action::Rollbacks, Action::Right]),
        ("letters", vec![Action::Rollbacks, Action::Left]),
    ]
}

/// Text that a terminal would obey, hide or reorder, in every field that is shown.
fn hostile() -> String {
    let bad = "a\u{1b}[2J\u{7}\u{9b}31m\u{202e}x\u{200b}\u{feff}\u{e0041}e\u{301}\u{301}\u{301}\u{301}b\r\t\u{7f}日本";
    let q = format!("\"{bad}\"");
    format!(
        "0s link nats up | 0s link gateway up | 0s policy {q} \
         | 1s submit {q} topic={q} tenant={q} actor={q} workflow={q} labels=\"{bad}:{bad}\" risk={q} context={q} undo={q} \
         | 2s dispatch {q} {q} | 3s progress {q} 140% message={q} by={q} \
         | 3s submit \"j2{bad}\" topic={q} | 4s fail \"j2{bad}\" {q} message={q} code={q} \
         | 4s beat {q} pool={q} region={q} slots=9/4 cpu=1e30 mem=-4 memo={q} labels=\"{bad}:{bad}\" \
         | 5s alert {q} level=critical component={q} message={q} \
         | 5s approval \"w{bad}\" topic={q} actor={q} rule={q} reason={q} snapshot={q} hash={q} risk={q} context={q} undo={q} labels=\"mcp.tool:{bad},mcp.server:{bad}\" \
         | 5s approval \"d{bad}\" status=approved who={q} note={q} rule={q} topic={q} \
         | 5s submit \"c{bad}\" topic={q} parent={q} labels=\"saga_compensation:true,saga_workflow_id:{bad}\" | 5s denied \"c{bad}\" {q} code={q} message={q} \
         | 5s told {q} DENIED decision=DENY rule={q} reason={q} \
         | 5s letter {q} FAILED topic={q} code={q} reason={q} \
         | 5s payload \"w{bad}\" pointer={q} text=\"{bad}\\n{bad}\" \
         | 6s link gateway down reason={q} | 7s tick"
    )
}

#[test]
fn hostile_text_brings_nothing_onto_the_screen_that_a_terminal_would_obey() {
    let theme = dark();
    for glyphs in [Glyphs::UNICODE, Glyphs::ASCII] {
        for (view, actions) in everything() {
            for (columns, rows) in SIZES {
                let mut console = Console::play(&hostile());
                for action in &actions {
                    console.user(action.clone());
                }
                let buf = console.draw(&theme, glyphs, columns, rows);
                for cell in buf.content() {
                    for c in cell.symbol().chars() {
                        let harmless = !c.is_control()
                            && !matches!(u32::from(c), 0xAD | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xE0000..=0xE0FFF);
                        assert!(harmless, "{c:?} in {view} at {columns}x{rows}");
                    }
                    assert!(
                        cell.symbol().chars().count() <= 3,
                        "{:?} in {view}",
                        cell.symbol()
                    );
                    if glyphs.is_ascii() {
                        assert!(cell.symbol().is_ascii(), "{:?} in {view}", cell.symbol());
                    }
                }
            }
        }
    }
}

/// The lines of a screen at 120x36 that hold one of `words`.
fn lines_with(script: &str, actions: &[Action], words: &[&str]) -> Vec<String> {
    let mut console = Console::play(script);
    for action in actions {
        console.user(action.clone());
    }
    let buf = console.draw(&dark(), Glyphs::UNICODE, 120, 36);
    let text = text_of(&buf);
    let lines = text
        .lines()
        .filter(|line| words.iter().any(|it| line.contains(it)));
    lines.map(str::to_owned).collect()
}

#[test]
fn what_came_and_what_changed_lately_is_marked() {
    // The list is shown first when the view is, so the view comes before what is new.
    let mut console = Console::play("0s link nats up | 0s submit old topic=job.a | 1s tick");
    console.user(Action::Jobs);
    let mut effects = EffectQueue::new();
    let more = script::events(
        "9s submit new topic=job.b | 9s dispatch old w1 topic=job.a | 9s progress old 10% | 10s tick",
    );
    for mut event in more.unwrap() {
        event.seq += 100;
        console.state.step(&event, &mut effects);
        console.at = event.at;
    }
    let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, 120, 36));
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("job") || line.contains("w1"))
        .collect();
    assert!(
        text.lines()
            .any(|line| line.starts_with("  +○ pending     new")),
        "{rows:#?}"
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("▌ ~● running     old")),
        "{rows:#?}"
    );
}

#[test]
fn the_overview_tells_how_counts_changed_in_five_minutes() {
    let script = "0s link nats up | 0s submit a topic=job.a | 1s submit b topic=job.a \
                  | 200s dispatch a w1 topic=job.a | 201s succeed a w1 | 305s submit c topic=job.a | 312s tick";
    let found = lines_with(script, &[Action::Overview], &["+1"]);
    // One more has succeeded, and as many wait as did.
    assert_eq!(found[0].trim(), "+1", "{found:#?}");
}

#[test]
fn the_detail_of_a_job_shows_its_own_packets_the_newest_first() {
    let script = "0s link nats up | 0s submit a topic=job.x | 1s submit b topic=job.x | 2s dispatch a w1 topic=job.x \
                  | 3s progress a 40% message=\"chunk 4\" | 4s tick";
    let found = lines_with(
        script,
        &[Action::Jobs, Action::Last, Action::Detail],
        &["job_request", "40%  chunk 4", "kept"],
    );
    let says: Vec<&str> = found.iter().map(|line| line.trim()).collect();
    assert_eq!(says.len(), 4, "{says:#?}");
    assert!(says[0].ends_with("3 kept, 0 with findings"), "{says:#?}");
    for (line, what) in says[1..].iter().zip([
        ["00:00:03.000  sys.job.progress", "40%  chunk 4"],
        ["00:00:02.000  worker.w1.jobs", "job_request, dispatch"],
        ["00:00:00.000  sys.job.submit", "job_request"],
    ]) {
        assert!(
            what.iter().all(|part| line.contains(part)),
            "{line} has not {what:?}"
        );
    }
}

#[test]
fn a_job_that_waits_for_its_pool_names_it_and_tells_what_is_ahead() {
    let script = "0s link nats up | 0s beat w1 pool=gpu slots=4/4 | 0s beat w2 pool=gpu slots=1/4 cpu=95 \
                  | 1s submit done topic=job.gpu.a | 2s dispatch done w1 topic=job.gpu.a | 3s succeed done w1 \
                  | 4s told j1 PENDING topic=job.gpu.a waiting=pool_overloaded | 5s told j2 PENDING topic=job.gpu.a waiting=pool_overloaded \
                  | 6s told j3 PENDING topic=job.crawl.a waiting=no_workers | 20s beat w1 pool=gpu slots=4/4 | 20s beat w2 pool=gpu slots=1/4 cpu=95 | 21s tick";
    let found = lines_with(script, &[Action::Jobs, Action::Down], &["gpu", "crawl"]);
    let says = found.join("\n");
    assert!(
        says.contains("j1       gpu.a             pool gpu overloaded: 2 of 2 over 90%"),
        "{says}"
    );
    assert!(says.contains("no live worker"), "{says}");
    assert!(
        says.contains("Pool gpu: 2 of 2 workers over 90%, 1 job ends a minute, 1 job is ahead: about 2m00s if nothing"),
        "{says}"
    );
}

#[test]
fn a_cancelled_job_tells_when_its_worker_stopped() {
    let script = "0s link nats up | 0s submit a topic=job.x | 1s dispatch a w1 topic=job.x | 2s progress a 10% \
                  | 3s cancel a for=ann reason=\"too late\" | 3s cancelled a api-gateway | 4s cancelled a w1 | 5s tick";
    let found = lines_with(script, &[Action::Jobs], &["⊘ cancelled"]);
    assert!(
        found[0].contains("worker stopped after 1s; asked by ann: t"),
        "{found:#?}"
    );
}

#[test]
fn the_overview_tells_what_was_undone_and_what_was_not() {
    let undo = "labels=saga_compensation:true,saga_workflow_id:wf-9";
    let script = format!(
        "0s link nats up | 0s submit a topic=job.a workflow=wf-9 undo=job.undo_a | 1s succeed a w1 \
         | 2s submit b topic=job.b workflow=wf-9 undo=job.undo_b | 3s fatal b w1 \
         | 4s submit c1 topic=job.undo_b {undo} | 5s succeed c1 w1 \
         | 6s submit c2 topic=job.undo_a {undo} | 7s told c2 DENIED decision=DENY rule=deny-window \
         | 20s submit d topic=job.d labels=saga_compensation:true parent=j7 | 21s succeed d w1 | 22s tick"
    );
    let found = lines_with(&script, &[Action::Overview], &["to undo"]);
    let says: Vec<&str> = found.iter().map(|line| line.trim()).collect();
    assert_eq!(
        says,
        [
            "00:00:20Z  j7                 1 to undo   ✓ 1 undone, finished in 1s",
            "00:00:04Z  wf-9               2 to undo   ✓ 1 undone  ■ 1 denied by policy   rule deny-window",
        ]
    );
}

#[test]
fn the_cursor_of_the_oldest_approvals_moves_in_the_order_that_is_drawn() {
    let script = "0s link gateway up | 0s policy s1 | 30s approval youngest topic=job.a deadline=60s \
                  | 30s approval the-old topic=job.b told=2s | 31s tick";
    let rows = |moves: usize| {
        let mut actions = vec![Action::Overview, Action::Right];
        actions.extend(std::iter::repeat_n(Action::Down, moves));
        let rows = lines_with(script, &actions, &["the-old", "youngest"]);
        // The pressure above them names approvals too.
        let rows = &rows[rows.len() - 2..];
        let rows: Vec<char> = rows.iter().filter_map(|row| row.chars().next()).collect();
        String::from_iter(rows)
    };
    assert_eq!((rows(0).as_str(), rows(1).as_str()), ("▌ ", " ▌"));
}

#[test]
fn a_word_that_a_field_never_holds_is_followed_by_what_was_meant() {
    let mut console = Console::play("0s link nats up | 0s submit a topic=job.x | 1s tick");
    console.user(Action::Jobs);
    console.user(Action::Filter);
    for c in "state:pendng".chars() {
        console.user(Action::Edit(Edit::Insert(c)));
    }
    console.user(Action::Confirm);
    let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, 120, 36));
    let says = "No job matches state:pendng. Did you mean state:pending? Esc shows all 1.";
    assert!(text.contains(says), "{text}");
}

#[test]
fn rows_that_keys_keep_in_place_for_long_are_said_to_be_held() {
    let mut console = Console::play("0s link nats up | 0s submit a topic=job.x | 1s tick");
    console.user(Action::Jobs);
    let title = |console: &mut Console| {
        let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, 120, 36));
        let title = text.lines().find(|line| line.starts_with(" Jobs "));
        title.expect("the title of the jobs").to_owned()
    };
    for _ in 0..6 {
        assert!(
            !title(&mut console).contains("held"),
            "{}",
            title(&mut console)
        );
        console.at = console.at.plus(Elapsed::from_secs(1));
        console.user(Action::Down);
    }
    assert!(
        title(&mut console).contains("6s held"),
        "{}",
        title(&mut console)
    );
    console.at = console.at.plus(Elapsed::from_secs(3));
    assert!(
        !title(&mut console).contains("held"),
        "{}",
        title(&mut console)
    );
}

#[test]
fn a_payload_that_cannot_be_read_is_shown_as_what_it_is_and_cannot_be_approved() {
    for (is, says, shown) in [
        (
            "missing",
            "The payload is gone (contexts live 24 h).",
            "The payload is gone (contexts live 24 h). What cannot be read cannot be approved; R works.",
        ),
        ("binary", "Binary, 3 bytes.", "61 62 63"),
        (
            "long",
            "Only 2 of 3 bytes can be read.",
            "Only 2 of 3 bytes can be read. What cannot be read cannot be approved; R works.",
        ),
        (
            "\"s3:// is not read\"",
            "The payload cannot be read: s3:// is not read.",
            "It could not be read: s3:// is not read.",
        ),
    ] {
        let script = format!(
            "0s link nats up | 0s link gateway up | 0s policy s1 \
             | 1s approval a topic=job.x context=redis://ctx snapshot=s1 hash=h1 \
             | 2s payload a pointer=redis://ctx is={is} text=abc | 3s tick"
        );
        let mut console = Console::play(&script);
        console.press("approvals | review | approve");
        let text = text_of(&console.paint(120, 36));
        assert!(text.contains(shown), "{is}: {text}");
        assert!(!text.contains("Approve this job"), "{is}: {text}");
        let foot = text.lines().last().unwrap_or_default();
        assert!(foot.contains(says), "{is}: {text}");
        // A no is possible all the same.
        console.press("reject");
        let text = text_of(&console.paint(120, 36));
        assert!(text.contains("Reject this job"), "{is}: {text}");
    }
}

#[test]
fn packets_that_were_dropped_are_counted_and_said() {
    let script = "0s link nats up | 1s link nats lagging dropped=1234 | 2s tick";
    let found = lines_with(script, &[], &["drop"]);
    assert!(found[0].contains("drop 1,234"), "{found:#?}");
    let notice = "1,234 packets were dropped: they came faster than we read.";
    assert!(found.iter().any(|line| line.contains(notice)), "{found:#?}");
}

#[test]
fn the_detail_of_a_job_names_its_undo_and_the_key_under_which_it_runs_once() {
    let script = "0s link nats up | 0s submit a topic=job.x undo=job.x_undo | 1s tick";
    let found = lines_with(
        script,
        &[Action::Jobs, Action::Detail],
        &["rollback", "its key"],
    );
    assert!(found[0].contains("job.x_undo"), "{found:#?}");
    assert!(found[1].contains("a/undo"), "{found:#?}");
}

#[test]
fn a_frozen_screen_says_so_and_does_not_move() {
    let mut console = Console::play("0s link nats up | 0s submit a topic=job.x | 1s tick");
    console.press("jobs | freeze | submit b topic=job.y");
    let frozen = text_of(&console.paint(120, 36));
    assert!(frozen.contains("FROZEN"), "{frozen}");
    assert!(frozen.contains("frozen at"), "{frozen}");
    assert!(
        !frozen.contains("job.y") && !frozen.contains(" y "),
        "{frozen}"
    );
    assert!(frozen.contains("1-1 of 1"), "{frozen}");
    let small = text_of(&console.draw(&dark(), Glyphs::UNICODE, 40, 12));
    assert!(small.contains("FROZEN"), "{small}");
    console.press("freeze | first");
    let live = text_of(&console.paint(120, 36));
    assert!(live.contains("LIVE") && !live.contains("FROZEN"), "{live}");
    assert!(live.contains("1-2 of 2"), "{live}");
}

#[test]
fn no_view_builds_more_rows_than_there_is_room_for() {
    let mut script = "0s link nats up | 0s link gateway up | 0s policy s1".to_owned();
    for n in 0..60 {
        script += &format!(" | 1s submit j{n} topic=job.x | 1s beat w{n} pool=p");
    }
    let approvals: Vec<String> = (0..60)
        .map(|n| format!("1s approval h{n} topic=job.x"))
        .collect();
    script += &format!(" | {} | 4s tick", approvals.join(" | "));
    let mut console = Console::play(&script);
    console.press("jobs | workers | approvals");
    for height in [0, 1, 7, 40] {
        let state = &console.state;
        assert_eq!(view::jobs::jobs(state, height).rows.len(), height);
        assert_eq!(view::workers::workers(state, height).rows.len(), height);
        assert_eq!(view::approvals::approvals(state, height).rows.len(), height);
    }
}

#[test]
fn a_screen_that_is_too_small_says_both_sizes_and_what_must_not_be_missed() {
    let mut console = Console::play("0s link nats up | 1s tick");
    for (columns, rows, sizes) in [
        (30, 9, "capdeck needs 40x12\nthis is 30x9"),
        (39, 11, "capdeck needs 40x12, this is 39x11"),
        (60, 11, "capdeck needs 40x12, this is 60x11"),
    ] {
        let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, columns, rows));
        assert!(text.contains(sizes), "{columns}x{rows}: {text}");
        assert!(text.contains("◆ 0"), "{columns}x{rows}: {text}");
    }
}

#[test]
fn the_header_tells_how_often_the_gateway_is_asked() {
    let script =
        "0s link nats up | 0s link gateway up | 1s requests 4 | 20s requests 60 | 30s tick";
    let found = lines_with(script, &[], &["LIVE"]);
    assert!(found[0].contains("64/min"), "{found:#?}");
}

#[test]
fn one_state_is_always_one_picture() {
    let theme = dark();
    let picture = || {
        let mut console = Console::play(LIVE);
        console.user(Action::Jobs);
        console.draw(&theme, Glyphs::UNICODE, 120, 36)
    };
    assert_eq!(picture(), picture());
}

#[test]
fn every_screen_is_drawn_at_every_small_height() {
    let theme = dark();
    for (_, actions) in everything() {
        let mut console = Console::play(&hostile());
        for action in actions {
            console.user(action);
        }
        for columns in [1, 39, 40, 59, 60, 80, 120, 160] {
            for rows in 0..26 {
                let buf = console.draw(&theme, Glyphs::UNICODE, columns, rows);
                assert_eq!(buf.area, Rect::new(0, 0, columns, rows));
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_screen_is_drawn_at_every_size(columns in 0u16..=200, rows in 0u16..=60, live in proptest::bool::ANY) {
        let theme = dark();
        let script = if live { LIVE.to_owned() } else { hostile() };
        let mut console = Console::play(&script);
        for (_, actions) in everything() {
            for action in actions {
                console.user(action);
            }
            let buf = console.draw(&theme, Glyphs::UNICODE, columns, rows);
            proptest::prop_assert_eq!(buf.area, Rect::new(0, 0, columns, rows));
            console.user(Action::Back);
        }
    }
}
