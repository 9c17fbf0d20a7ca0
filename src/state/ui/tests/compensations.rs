//! Whether policy would allow an undo is asked while somebody looks at it.

use super::check;

const UNDOABLE: &str = "hear submit a topic=job.x undo=job.u | hear submit b topic=job.y";

#[test]
fn the_undo_of_a_job_that_would_be_cancelled_is_asked_about_once() {
    check(&format!("{UNDOABLE} | jobs | +1 tick"), "jobs [>a b]");
    check(
        &format!("{UNDOABLE} | jobs | cancel | +1 tick"),
        "jobs [>a b] cancel?Note:: !judge a",
    );
    check(
        &format!("{UNDOABLE} | jobs | down | cancel | +1 tick"),
        "jobs [a >b] cancel?Note::",
    );
    // An answer that tells nothing is asked for again, later.
    check(
        &format!("{UNDOABLE} | jobs | cancel | +1 failed gone | +1 tick"),
        "jobs [>a b] cancel?Note:: !judge a",
    );
    check(
        &format!("{UNDOABLE} | jobs | cancel | +1 failed gone | +11000 tick"),
        "jobs [>a b] cancel?Note:: !judge a !judge a",
    );
    check(
        &format!(
            "{UNDOABLE} | jobs | cancel | +1 hear judged a DENY snapshot=s1 | +1 done | +11000 tick"
        ),
        "jobs [>a b] cancel?Note:: !judge a",
    );
}

#[test]
fn another_policy_is_asked_anew_and_none_without_a_gateway() {
    let known = "jobs | cancel | +1 hear judged a DENY snapshot=s1 | +1 done";
    check(
        &format!("{UNDOABLE} | {known} | +1 moved s2"),
        "jobs [>a b] cancel?Note:: !judge a !judge a",
    );
    check(
        &format!("only nats | {UNDOABLE} | jobs | cancel"),
        "jobs [>a b] cancel?Note::",
    );
}

#[test]
fn no_more_than_two_undos_are_asked_about_at_a_time() {
    let three = "hear submit a topic=job.x undo=job.u | hear submit b topic=job.x undo=job.u \
        | hear submit c topic=job.x undo=job.u | jobs | mark | down | mark | down | mark | cancel";
    check(
        &format!("{three} | +1 tick"),
        "jobs [a* b* >c*] cancel?Note:: !judge a !judge b",
    );
    check(
        &format!("{three} | +1 done"),
        "jobs [a* b* >c*] cancel?Note:: !judge a !judge b !judge c",
    );
}
