//! Every screen in every condition, as text and as roles, each from an event script.

use capdeck::state::action::{Action, Edit};
use capdeck::state::effect::{EffectQueue, Outcome};
use capdeck::state::event::{Event, Stamped};
use capdeck::state::script;
use capdeck::time::Elapsed;
use capdeck::tui::glyph::Glyphs;
use capdeck::tui::theme::Theme;
use capdeck::view;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

mod approvals;
mod console;
mod heads;
mod jobs;
mod own_states;
mod what_if;

use console::{Console, LIVE, SAGAS, conditions, dark, roles_of, saga_conditions, text_of};

const SIZES: [(u16, u16); 5] = [(40, 12), (80, 24), (120, 36), (120, 40), (200, 60)];

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
fn what_ended_a_step_that_did_not_run_is_told_as_it_was() {
    let undo = "told x PENDING born=5s topic=job.undo_b parent=b rule=r \
                labels=saga_compensation:true,saga_workflow_id:wf";
    let screen = |ends: &str| {
        let script = format!(
            "0s link gateway up | 1s submit b topic=job.b workflow=wf undo=job.undo_b | 2s dispatch b w \
             | 4s fatal b w | 5s {undo} | 6s {ends} | 6s rollback wf failed=b started=4s steps=b:x:DENIED \
             | 8s tick"
        );
        let found = lines_with(&script, &[Action::Rollbacks], &["undo_b", "nothing ran"]);
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        found.iter().map(words).collect::<Vec<_>>().join(" / ")
    };
    // Lists of jobs do not tell who said no; dead letters do.
    let rejected = screen(
        "told x DENIED topic=job.undo_b | 6s letter x DENIED topic=job.undo_b code=approval_rejected reason=no",
    );
    for says in [
        "nothing ran; a person said no",
        "A person rejected job.undo_b",
    ] {
        assert!(rejected.contains(says), "{rejected}");
    }
    let denied = screen("told x DENIED topic=job.undo_b");
    assert!(denied.contains("Policy forbids job.undo_b"), "{denied}");
    let unhanded = screen("told x CANCELLED topic=job.undo_b");
    let says = "job.undo_b was cancelled before it ran";
    assert!(unhanded.contains(says), "{unhanded}");
    let handed = screen("told x CANCELLED topic=job.undo_b attempts=1");
    let says = "job.undo_b was cancelled, so it may have half";
    assert!(handed.contains(says), "{handed}");
}

#[test]
fn an_approval_of_an_undo_says_what_of_its_rollback_stands_behind_it() {
    let saga = "labels=saga_compensation:true,saga_workflow_id:wf";
    let script = format!(
        "0s link gateway up | 1s submit a topic=job.a workflow=wf undo=job.undo_a | 2s succeed a w \
         | 3s submit b topic=job.b workflow=wf undo=job.undo_b | 4s fatal b w \
         | 5s submit x topic=job.undo_b parent=b {saga} | 6s told x APPROVAL_REQUIRED \
         | 6s approval x topic=job.undo_b parent=b {saga} rule=ask \
         | 6s rollback wf failed=b started=4s steps=b:x:APPROVAL_REQUIRED,a::WAITING | 8s tick"
    );
    let mut console = Console::play(&script);
    console.press("approvals");
    let text = text_of(&console.paint(120, 36));
    assert!(
        text.contains("1 more step of its rollback behind it"),
        "{text}"
    );
    console.press("review");
    let text = text_of(&console.paint(120, 40));
    assert!(text.contains("1 more step of its rollback"), "{text}");
    console.press("reject");
    let text = text_of(&console.paint(120, 40));
    let says = "ends DENIED and the rollback stops here: 1 more step of its";
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_retry_says_whether_what_was_done_before_was_undone() {
    let script = "0s link gateway up | 1s submit b topic=job.b workflow=wf undo=job.undo_b | 2s dispatch b w \
         | 4s fatal b w | 4s letter b FAILED topic=job.b | 5s submit x topic=job.undo_b parent=b \
         labels=saga_compensation:true,saga_workflow_id:wf | 6s dispatch x w";
    for (ends, says) in [
        ("8s tick", "stays done"),
        ("7s succeed x w | 8s tick", "was undone since"),
    ] {
        let mut console = Console::play(&format!("{script} | {ends}"));
        console.press("rollbacks | left | retry");
        let text = text_of(&console.paint(120, 36));
        assert!(text.contains(says), "{says}: {text}");
    }
    let denied = "0s link gateway up | 1s told b DENIED topic=job.b | 4s letter b DENIED topic=job.b | 8s tick";
    let mut console = Console::play(denied);
    console.press("rollbacks | left | retry");
    let text = text_of(&console.paint(120, 36));
    assert!(
        text.contains("It never ran, so it has done nothing."),
        "{text}"
    );
}

#[test]
fn steps_that_nobody_told_the_order_of_are_not_said_to_have_one() {
    let screen = |births: [&str; 2]| {
        let saga = "labels=saga_compensation:true,saga_workflow_id:wf";
        let [one, other] = births;
        let script = format!(
            "0s link redis up | 9s told u1 DENIED topic=job.undo_1 told=4s {one} {saga} \
             | 9s told u2 SUCCEEDED topic=job.undo_2 told=7s {other} {saga} | 10s tick"
        );
        let found = lines_with(
            &script,
            &[Action::Rollbacks],
            &[
                "ran first",
                "last success first",
                "how long",
                "u2",
                "went on",
            ],
        );
        let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
        found.iter().map(words).collect::<Vec<_>>().join(" / ")
    };
    let unknown = screen(["", ""]);
    for says in [
        "as they were heard of: which ran first is unknown",
        "u2, it is unknown how long it took",
    ] {
        assert!(unknown.contains(says), "{unknown}");
    }
    for invented in ["last success first", "went on"] {
        assert!(!unknown.contains(invented), "{unknown}");
    }
    let known = screen(["born=3s", "born=5s"]);
    for says in ["last success first", "u2, 2s", "Step 2 went on without it."] {
        assert!(known.contains(says), "{known}");
    }
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
    // The plane decides in the millisecond in which a job comes in, and says so too.
    for first in ["1s:PENDING", "1s:ALLOW,1s:PENDING"] {
        let all = format!(
            "0s link gateway up | 2s told j1 SUCCEEDED born=1s topic=job.a workflow=wf \
             record={first},1s:RUNNING,2s:SUCCEEDED | 91s tick"
        );
        let keys = [Action::Jobs, Action::Traces];
        let found = lines_with(&all, &keys, &["time went", "not told"]);
        assert_eq!(found.len(), 1, "{found:#?}");
        let says = " 1s from the first submission";
        assert!(found[0].ends_with(says), "{found:#?}");
    }
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
fn alerts_are_unknown_where_no_bus_is_attached_and_none_where_one_is() {
    let says = |servers: &str| {
        let words = ["Alerts ", "No alert", "is attached", " alerts"];
        let script = format!("{servers} | 1s nothing-waits | 3s tick");
        lines_with(&script, &[Action::Overview], &words).join("\n")
    };
    let gateway = says("0s link gateway up");
    for word in [
        "unknown",
        "Alerts are heard on the bus alone, and",
        "none is attached.",
        "— alerts",
    ] {
        assert!(gateway.contains(word), "{gateway}");
    }
    let zero = ["0 firing", "No alert fires.", "0 alerts"];
    assert!(zero.iter().all(|it| !gateway.contains(it)), "{gateway}");
    let bus = says("0s link nats up | 0s link gateway up");
    assert!(zero.iter().all(|it| bus.contains(it)), "{bus}");
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
fn packets_that_were_dropped_are_counted_and_said() {
    let script = "0s link nats up | 1s link nats lagging dropped=1234 | 2s tick";
    let found = lines_with(script, &[], &["drop"]);
    assert!(found[0].contains("drop 1,234"), "{found:#?}");
    let notice = "1,234 packets were dropped: they came faster than we read.";
    assert!(found.iter().any(|line| line.contains(notice)), "{found:#?}");
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
