//! Deciding about an approval: what it is bound to, and what stops it.

use super::*;

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
        &format!("{} | reveal", super::deciding::SEEN),
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
