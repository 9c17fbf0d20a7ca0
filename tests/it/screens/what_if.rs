//! What a candidate policy would change, in every condition.

use capdeck::state::action::Action;
use capdeck::state::effect::{Outcome, Refusal, Refuser};
use capdeck::tui::glyph::Glyphs;

use super::{Console, SAGAS, SIZES, dark, snapshot, text_of};

/// What a candidate would change, in the story of the screens.
const TRIED: &str = "tried policy-next.yaml stays=460 unknown=31 \
    flips=ALLOW:REQUIRE_APPROVAL:approval-mail-bulk:c7f3d86a+b1d4983f+a4+a5:\"more than 20 recipients\":external,\
    REQUIRE_APPROVAL:ALLOW:allow-known:93c8a004+93c8a11f+93c8a2d7:\"approval-export is removed\":pii,\
    ALLOW:DENY:deny-unknown-host:5b20ee91:\"host not in allowed_repo_hosts\":prod,\
    ALLOW_WITH_CONSTRAINTS:ALLOW:allow-known:e6a2317c:\"gpu-limits no longer matches\":";

/// A candidate that is asked about in the view of policy, and what came of it.
fn tried(script: &str, told: &str, refused: Option<Outcome>, columns: u16, rows: u16) -> Console {
    let mut console = Console::play(script);
    console.paint(columns, rows);
    console.user(Action::Policy);
    // As if it had been typed; who answers is the test.
    console.press("what-if | \"policies/policy-next.yaml\"");
    console.leave_open(Action::Confirm);
    if !told.is_empty() {
        console.press(told);
    }
    if let Some(outcome) = refused {
        console.end(outcome);
    }
    console
}

#[test]
fn a_what_if_is_drawn_in_every_condition() {
    let theme = dark();
    let none = "tried policy-next.yaml stays=0";
    let bad = Outcome::Refused(Refusal {
        by: Refuser::Plane,
        status: 400,
        code: "invalid_policy".into(),
        text: "line 14, column 15: rule `r3`: decision `permits` is not one of allow, deny, require_approval".into(),
    });
    let failed = Outcome::Failed {
        reason: "cannot read policies/policy-next.yaml: No such file or directory".into(),
    };
    for (condition, told, outcome) in [
        ("empty", none, Some(Outcome::Done(None))),
        ("loading", "", None),
        ("live", TRIED, Some(Outcome::Done(None))),
        ("stale", TRIED, Some(bad)),
        ("error", "", Some(failed)),
    ] {
        for (columns, rows) in SIZES {
            let mut console = tried(SAGAS, told, outcome.clone(), columns, rows);
            let buf = console.draw(&theme, Glyphs::UNICODE, columns, rows);
            snapshot(
                &format!("whatif-{condition}-{columns}x{rows}"),
                &buf,
                &theme,
            );
        }
    }
}

#[test]
fn the_pane_of_a_what_if_stands_as_it_was_drawn_up() {
    let mut console = tried(SAGAS, TRIED, Some(Outcome::Done(None)), 120, 36);
    let text = text_of(&console.paint(120, 36));
    let pane: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with(" What if"))
        .take(10)
        .collect();
    assert_eq!(
        pane,
        [
            " What if ───────────────────────────────────── policy-next.yaml on the last 500 decisions  9 flip, 460 stay, 31 unknown",
            "   WAS                 WOULD BE              JOBS  BY RULE              FIRST REASON                          …JOB",
            "▌  ✓ allow             ◆ require_approval       4  approval-mail-bulk   more than 20 recipients               c7f3d86a",
            "   ◆ require_approval  ✓ allow                  3  allow-known          approval-export is removed            93c8a004",
            "   ✓ allow             ■ deny                   1  deny-unknown-host    host not in allowed_repo_hosts        5b20ee91",
            "   ◧ constrained       ✓ allow                  1  allow-known          gpu-limits no longer matches          e6a2317c",
            "",
            "   ▌ 3 of the 9 lose a human decision. All 3 carry the tag pii. Velocity rules are not counted in a simulation.",
            "",
            "   Nothing was published. 31 decisions are unknown: their request is no longer stored.",
        ]
    );
    console.press("down | open");
    let text = text_of(&console.paint(120, 36));
    for line in [
        "was ◆ require_approval, would be ✓ allow by rule allow-known: approval-export is removed",
        "93c8a11f",
    ] {
        assert!(text.contains(line), "{text}");
    }
}
