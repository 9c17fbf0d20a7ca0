//! Approvals: marked, reviewed and decided together, moved, late and ended.

use super::*;

/// Three approvals that can be decided together.
const TOGETHER: &str = include_str!("together.events");

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
