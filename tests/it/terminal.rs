//! The console and its terminal from end to end: what it writes there, what it leaves
//! behind, and what it does when the terminal shrinks or goes.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::acting::Plane;
use crate::keys::{NOWHERE, Screen, demo, end_of, vanish};
use crate::standin::{
    Answer, JOB, LAST_FOUR, StandIn, TAIL, console, open_dialog, open_review, says,
};
use crate::support::{Capdeck, NatsProcess, run_peer, wait_until};

/// The text behind base64 with padding, as OSC 52 carries it.
fn from_base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = DIGITS.iter().position(|it| *it == digit).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What was put on the clipboard, in order.
fn clipboard(screen: &Screen) -> Vec<String> {
    let raw = screen.raw();
    let copies = raw.split("\x1b]52;c;").skip(1);
    copies
        .filter_map(|rest| rest.split_once(['\x1b', '\x07']))
        .map(|(copied, _)| from_base64(copied))
        .collect()
}

/// Whether the row under the cursor holds `word`.
fn under_the_cursor(text: &str, word: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with('▌') && line.contains(word))
}

/// The line of the screen with the cursor, counted from its top.
fn cursor_line(text: &str) -> Option<usize> {
    text.lines().position(|line| line.starts_with('▌'))
}

#[test]
fn c_and_shift_c_put_the_id_and_its_json_on_the_clipboard_of_the_terminal() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    screen.shows("LIVE");
    screen.press("3");
    screen.until("the job under the cursor", |text| {
        under_the_cursor(text, TAIL)
    });
    assert_eq!(clipboard(&screen), [""; 0], "nothing is copied unasked");
    screen.press("c");
    screen.until("the id on the clipboard", |_| clipboard(&screen) == [JOB]);
    screen.press("C");
    screen.until("a second copy", |_| clipboard(&screen).len() == 2);
    let copied: Value = serde_json::from_str(&clipboard(&screen)[1]).unwrap();
    assert_eq!(copied["job_id"], JOB, "{copied}");
    assert_eq!(
        copied["topic"], "job.mcp-bridge.write.update_ticket",
        "{copied}"
    );
}

#[test]
fn a_console_that_only_reads_refuses_to_cancel_approve_and_reject_and_sends_nothing() {
    const WHY: &str = "This console only reads (--read-only). A R X T are off.";
    let gateway = StandIn::start(true);
    let screen = Screen::capdeck(&["attach", "--gateway", &gateway.url, "--read-only"]);
    screen.shows("LIVE");
    screen.press("3");
    screen.until("the job under the cursor", |text| {
        under_the_cursor(text, TAIL)
    });
    screen.press("X");
    screen.shows(WHY);
    assert!(!screen.text().contains("Cancel this job"));
    for (key, dialog) in [("A", "Approve this job"), ("R", "Reject this job")] {
        // Another view, so that the words of the refusal before are gone.
        screen.press("4");
        screen.until("the workers", |text| {
            text.contains("worst first") && !text.contains(WHY)
        });
        open_review(&screen);
        screen.press(key);
        screen.shows(WHY);
        assert!(!screen.text().contains(dialog), "{}", screen.text());
        screen.press("q");
    }
    let sent = gateway.posts();
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn with_ascii_every_view_is_drawn_in_ascii_alone() {
    let gateway = StandIn::start(true);
    let screen = Screen::capdeck(&["attach", "--gateway", &gateway.url, "--ascii"]);
    screen.shows("LIVE");
    for (key, shows) in [
        ("3", TAIL),
        ("4", "worst first"),
        ("5", "Rules"),
        ("6", "Workflows"),
        ("2", TAIL),
        ("a", "payload seen"),
        ("?", "Keys in"),
    ] {
        screen.press(key);
        screen.shows(shows);
    }
    let raw = screen.raw();
    let others: BTreeSet<char> = raw.chars().filter(|it| !it.is_ascii()).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// A shell that tells the settings of the terminal before and after `capdeck`, with
/// `first` before and `then` after all that.
fn in_a_shell(first: &str, then: &str) -> Screen {
    let script = format!(r#"{first}; stty -g; "$0" "$@"; stty -g; {then} echo "shell goes on""#);
    let mut arguments = vec!["-c", &script, env!("CARGO_BIN_EXE_capdeck")];
    arguments.extend(NOWHERE);
    Screen::of("/bin/sh", &arguments)
}

/// What `stty -g` said, each time.
fn settings(screen: &Screen) -> Vec<String> {
    let raw = screen.raw();
    // A sequence of ours may stand before it on its line.
    let words = raw.split(|it: char| !it.is_ascii_hexdigit() && it != ':');
    words
        .filter(|word| word.matches(':').count() > 20)
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn the_settings_of_the_terminal_are_as_before_after_q_and_after_sigterm() {
    for by_signal in [false, true] {
        // The signal that ends the console is for it alone.
        let mut screen = in_a_shell("trap : TERM", "");
        screen.shows("Nothing is reachable yet");
        if by_signal {
            screen.signal_group(Signal::TERM);
        } else {
            screen.press("q");
        }
        screen.shows("shell goes on");
        screen.ends();
        let settings = settings(&screen);
        assert_eq!(settings.len(), 2, "{}", screen.raw());
        assert_eq!(settings[0], settings[1], "by a signal: {by_signal}");
    }
}

#[test]
fn a_suspended_console_leaves_the_settings_of_the_terminal_as_before() {
    let mut screen = in_a_shell("set -m", "fg; stty -g;");
    screen.shows("Nothing is reachable yet");
    screen.press("\x1a");
    // The shell goes on at once and brings it back.
    screen.until("its second frame", |text| {
        settings(&screen).len() == 2 && text.contains("Nothing is reachable yet")
    });
    screen.press("q");
    screen.shows("shell goes on");
    screen.ends();
    let settings = settings(&screen);
    assert_eq!(settings.len(), 3, "{}", screen.raw());
    assert_eq!(settings[0], settings[1], "while it is stopped");
    assert_eq!(settings[0], settings[2], "after it ended");
}

/// The shell leads the session, so it alone is told that the line was hung up, and it
/// does not pass it on: the console hears of it by its own reads and writes.
#[test]
fn a_terminal_that_vanishes_without_a_signal_ends_it_without_a_crash() {
    let home = Capdeck::new();
    let file = home.home().join("status");
    let script =
        r#"trap '' HUP; file=$1; shift; "$0" "$@" 2>"$file.err"; echo "ended $?" >"$file""#;
    let mut arguments = vec![
        "-c",
        script,
        env!("CARGO_BIN_EXE_capdeck"),
        file.to_str().unwrap(),
    ];
    arguments.extend(NOWHERE);
    let mut shell = vanish(&home, "/bin/sh", &arguments);
    let status = wait_until("its end", || {
        let status = std::fs::read_to_string(&file).ok()?;
        status.ends_with('\n').then_some(status)
    });
    assert_eq!(status, "ended 129\n");
    let said = std::fs::read_to_string(home.home().join("status.err")).unwrap();
    assert_eq!(said, "");
    end_of(&mut shell);
}

#[test]
fn one_cell_is_drawn_and_the_whole_screen_is_back_when_the_window_is() {
    let screen = Screen::capdeck(&NOWHERE);
    screen.shows("Nothing is reachable yet");
    let before = screen.raw().len();
    screen.resize(1, 1);
    screen.until("a frame of one cell", |_| {
        let raw = screen.raw();
        raw[before..].split("\x1b[?2026h").skip(1).any(|frame| {
            // It writes into the one cell there is and goes nowhere else.
            frame.split_once("\x1b[?2026l").is_some_and(|(frame, _)| {
                let mut places = frame.split("\x1b[").skip(1).filter_map(|it| {
                    let end = it.find(|it: char| it.is_ascii_alphabetic())?;
                    it[end..].starts_with('H').then_some(&it[..end])
                });
                places.next() == Some("1;1") && places.next().is_none()
            })
        })
    });
    screen.resize(40, 120);
    screen.until("the whole screen", |text| {
        text.contains("Nothing is reachable yet")
            && text.contains("3 Jobs   4 Workers")
            && text.lines().count() == 40
    });
    screen.press("?");
    screen.shows("Keys in Overview");
}

/// A job that works for five minutes.
fn long(id: &str) -> Value {
    json!({
        "job_id": id, "topic": "job.demo.echo",
        "labels": {"mcp.action": "read", "demo.seconds": "300"},
    })
}

#[track_caller]
fn submit(plane: &Plane, job: &Value) {
    let ran = plane.submit(job, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn the_cursor_stays_on_its_job_while_rows_move_and_two_marked_jobs_are_cancelled() {
    let plane = Plane::start();
    for id in ["j-aaaaaaaa", "j-bbbbbbbb"] {
        submit(&plane, &long(id));
    }
    let mut screen = Screen::capdeck(&["attach", "--gateway", &plane.url, "--as", "ann"]);
    screen.shows("LIVE");
    screen.press("3");
    screen.until("both jobs at work", |text| {
        let at_work = |id| {
            text.lines()
                .any(|line| line.contains("running") && line.contains(id))
        };
        at_work("aaaaaaaa") && at_work("bbbbbbbb")
    });
    screen.until("a job under the cursor", |text| cursor_line(text).is_some());
    screen.press("j");
    screen.until("the cursor on the second", |text| {
        text.lines()
            .skip_while(|line| !line.contains("running"))
            .nth(1)
            .is_some_and(|line| line.starts_with('▌'))
    });
    let text = screen.text();
    let before = cursor_line(&text).unwrap();
    let id = ["aaaaaaaa", "bbbbbbbb"]
        .into_iter()
        .find(|id| under_the_cursor(&text, id))
        .unwrap();

    // What waits for a person comes before what runs.
    submit(&plane, &crate::acting::write());
    submit(&plane, &crate::acting::write());
    screen.until("rows above it", |text| {
        cursor_line(text).is_some_and(|now| now > before)
    });
    let text = screen.text();
    assert!(under_the_cursor(&text, id), "{text}");

    screen.press(" k ");
    // The rows have just moved under the hand, so the first may be swallowed, with words.
    let swallowed = "the list had just moved";
    for _ in 0..10 {
        screen.until("that no key was swallowed", |text| {
            !text.contains(swallowed)
        });
        screen.press("X");
        screen.until("the dialog, or why there is none", |text| {
            text.contains("Cancel 2 jobs") || text.contains(swallowed)
        });
        if screen.text().contains("Cancel 2 jobs") {
            break;
        }
    }
    screen.shows("Cancel 2 jobs");
    screen.type_after_guard("both hang");
    screen.press("\rcancel 2\r");
    screen.until("both cancelled", |text| {
        ["aaaaaaaa", "bbbbbbbb"].iter().all(|id| {
            text.lines()
                .any(|line| line.contains("cancelled") && line.contains(id))
        })
    });
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
    let log = screen.audit_log();
    for id in ["j-aaaaaaaa", "j-bbbbbbbb"] {
        assert!(
            log.lines()
                .any(|line| line.contains(r#""action":"cancel""#) && line.contains(id)),
            "{log}"
        );
    }
}

#[test]
fn a_decision_refused_while_the_gateway_is_away_is_not_delivered_when_it_is_back() {
    let gateway = StandIn::start(true);
    let screen = console(&gateway, Capdeck::new());
    open_review(&screen);
    gateway.instead(|_, _| Some(Answer::HangsUp));
    screen.shows("The gateway is gone for ");
    for (key, dialog) in [("A", "Approve this job"), ("R", "Reject this job")] {
        screen.press(key);
        screen.shows("Not sent: the gateway does not answer. Press again when it is back.");
        assert!(!screen.text().contains(dialog), "{}", screen.text());
    }
    gateway.instead(|_, _| None);
    screen.shows("The gateway is back after ");
    // The first decision that arrives is the one that is asked for now.
    open_dialog(&screen, "A", "Approve this job", "asked for afterwards");
    screen.press("\r");
    screen.press(&format!("{LAST_FOUR}\r"));
    says(&screen, &format!("approved {TAIL} in"));
    let posts = gateway.posts();
    assert_eq!(posts.len(), 1, "{posts:?}");
    assert!(posts[0].path.ends_with("/approve"), "{posts:?}");
    assert!(posts[0].body.contains("asked for afterwards"), "{posts:?}");
}

/// The colors that letters on the screen have.
fn colors(screen: &Screen) -> BTreeSet<String> {
    screen.look(|it| {
        let (rows, columns) = it.size();
        let places = (0..rows.get())
            .flat_map(move |row| (0..columns.get()).map(move |column| (row, column)));
        places
            .filter_map(|(row, column)| it.cell(row, column))
            .map(|cell| format!("{:?} on {:?}", cell.fgcolor(), cell.bgcolor()))
            .collect()
    })
}

#[test]
fn t_changes_the_colors_and_says_nothing_else() {
    let rich = [("COLORTERM", "truecolor")];
    let screen = Screen::at_home(Capdeck::new(), &NOWHERE, &rich);
    screen.shows("Nothing is reachable yet");
    let before = colors(&screen);
    screen.press("t");
    screen.until("other colors", |_| {
        colors(&screen).intersection(&before).count() == 0
    });
    screen.shows("Nothing is reachable yet");
}

#[test]
fn f_freezes_what_is_shown_and_either_key_goes_live_again() {
    let screen = demo();
    screen.shows("LIVE");
    screen.press("3");
    screen.shows("attention first");
    for back in ["f", "L"] {
        screen.press("f");
        screen.until("that it stands still, and since when", |text| {
            text.contains(" FROZEN ") && text.contains("frozen at ") && !text.contains("LIVE")
        });
        screen.press(back);
        screen.until("that it goes on", |text| {
            text.contains(" LIVE ") && !text.contains("FROZEN") && !text.contains("frozen at ")
        });
    }
}

#[test]
fn a_hostile_peer_is_counted_and_its_text_reaches_the_terminal_as_text_alone() {
    let nats = NatsProcess::start();
    let mut screen = Screen::capdeck(&["attach", "--nats", &nats.url()]);
    screen.shows("LIVE");
    let sent: Value =
        serde_json::from_str(&run_peer("hostile.py", &["--nats", &nats.url()])).unwrap();
    let bad = format!("bad {}", sent["not_packets"]);
    screen.until(&bad, |text| {
        text.lines().next().is_some_and(|head| head.contains(&bad))
    });
    for (key, shows) in [
        ("1", "Alerts"),
        ("4", "⟨U+009B⟩1m"),
        ("6", "Dead letters"),
        ("3", "evil"),
    ] {
        screen.press(key);
        screen.shows(shows);
    }
    screen.press("/id:evil-job*\r");
    screen.until("the job with the odd name", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains("evil.odd"))
    });
    screen.press("y");
    screen.until("it as JSON", |text| {
        text.contains("As JSON") && text.contains("gnp.exe")
    });
    // An escape in the same write as a key would be alt and that key.
    screen.press("\x1b");
    screen.until("the window closed", |text| !text.contains("As JSON"));
    screen.press("\r");
    screen.shows("Timeline");
    let raw = screen.raw();
    // None of them is ever ours: a title, the clipboard, a bell, what turns the
    // direction of text, what has no width, and a control of eight bits.
    for theirs in [
        "\x1b]",
        "\x07",
        "\x1b[31mred",
        "\u{202e}",
        "\u{200b}",
        "\u{e0041}",
        "\u{9b}",
    ] {
        assert!(!raw.contains(theirs), "{theirs:?} reached the terminal");
    }
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
    screen.is_restored();
}
