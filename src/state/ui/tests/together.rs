//! Approvals that are marked, reviewed and decided together, and what a reload changes.

use super::*;

const THREE: &str = "waits a b c | approvals | tick";
const MARKED: &str = "waits a b c | approvals | tick | mark | down | mark | down | mark";
const TOGETHER: &str = "waits a b c | approvals | tick | mark | down | mark | down | mark | review | read a b c | drawn 0-12/12";

#[test]
fn marks_that_do_not_fit_are_refused_and_say_what_differs() {
    check(
        "waits a b@s2 | approvals | tick | mark | down | mark",
        "approvals [a* >b] says: Not marked: its snapshot is s2, the others have s1. Jobs decided together must share rule, tenant, action and snapshot.",
    );
    check(
        "waits a b%t2 | approvals | tick | mark | down | mark",
        "approvals [a* >b] says: Not marked: its tenant is t2, the others have t1. Jobs decided together must share rule, tenant, action and snapshot.",
    );
    check(
        "waits a b%t2 | approvals | tick | mark | mark | down | mark",
        "approvals [a >b*]",
    );
}

#[test]
fn the_eleventh_mark_is_refused() {
    let marks = ["mark"; 11].join(" | down | ");
    check(
        &format!("waits a b c d e f g h i j k | approvals | tick | {marks}"),
        "approvals [a* b* c* d* e* f* g* h* i* j* >k] says: Not marked: 10 are marked, and at most 10 jobs are decided together.",
    );
}

#[test]
fn marks_of_what_was_decided_elsewhere_go() {
    check(
        &format!("{MARKED} | waits a! b c | tick"),
        "approvals [b* >c*]",
    );
}

#[test]
fn marked_approvals_are_reviewed_together() {
    check(&format!("{MARKED} | review"), "approvals review=a 1/3");
    check(&format!("{MARKED} | open"), "approvals review=a 1/3");
    check(
        &format!("{MARKED} | review | next-match | next-match"),
        "approvals review=c 3/3",
    );
    check(
        &format!("{MARKED} | review | previous-match | back"),
        "approvals [a* b* >c*]",
    );
    check(
        &format!("{THREE} | review | next-match"),
        "approvals review=a says: One job is reviewed; marked ones are reviewed together.",
    );
}

#[test]
fn each_payload_is_seen_or_equal_to_one_that_was() {
    check(
        &format!("{TOGETHER} | approve"),
        "approvals review=a 1/3 approve?Note::",
    );
    let others = "waits a b c | approvals | tick | mark | down | mark | down | mark | review | read a b=xyz c=uvw | drawn 0-12/12";
    check(
        &format!("{others} | approve"),
        "approvals review=a 1/3 says: Not yet: the payloads of 2, 3 must have been on the screen to their end. n and N go there.",
    );
    check(
        &format!("{others} | next-match | drawn 0-6/6 | approve"),
        "approvals review=b 2/3 says: Not yet: the payload of 3 must have been on the screen to its end. n and N go there.",
    );
    check(
        &format!("{others} | next-match | drawn 0-6/6 | next-match | drawn 0-6/6 | approve"),
        "approvals review=c 3/3 approve?Note::",
    );
}

#[test]
fn what_moved_at_one_of_them_stops_the_yes_for_all() {
    check(
        &format!("{TOGETHER} | waits a b:h2 c | approve"),
        "approvals review=a 1/3 says: 2: The stored request is not the one you read. Somebody changed it. r reads it again, R rejects.",
    );
}

#[test]
fn a_job_that_is_no_longer_like_the_others_stops_the_yes_for_all() {
    check(
        &format!("{TOGETHER} | waits a b%t2 c | approve"),
        "approvals review=a 1/3 says: 2: its tenant is t2, the others have t1. Jobs decided together must share rule, tenant, action and snapshot. Esc returns to the queue.",
    );
}

#[test]
fn what_ended_elsewhere_is_left_out_of_the_yes() {
    check(
        &format!(
            "{TOGETHER} | waits a! b c | approve | \"ok\" | confirm | \"approve 2\" | confirm"
        ),
        "approvals review=a 1/3 says: … asked to approve, 1 of 2. !Approve(\"ok\") b Some(\"h1\")",
    );
}

const ASKED: &str = " | approve | \"ok\" | confirm | \"approve 3\" | confirm";

#[test]
fn each_job_is_sent_only_after_the_plane_agreed_about_the_one_before() {
    check(
        &format!("{TOGETHER}{ASKED}"),
        "approvals review=a 1/3 says: … asked to approve, 1 of 3. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{TOGETHER}{ASKED} | done"),
        "approvals review=b 1/2 says: … asked to approve, 2 of 3. !Approve(\"ok\") a Some(\"h1\") !Approve(\"ok\") b Some(\"h1\")",
    );
    check(
        &format!("{TOGETHER}{ASKED} | done | done | done"),
        "approvals [a b >c] says: approved 3 of 3 jobs; :log lists them. !Approve(\"ok\") a Some(\"h1\") !Approve(\"ok\") b Some(\"h1\") !Approve(\"ok\") c Some(\"h1\")",
    );
}

#[test]
fn the_first_refusal_stops_and_says_which_are_done_refused_and_not_sent() {
    check(
        &format!("{TOGETHER}{ASKED} | done | refused approval_already_resolved"),
        "approvals review=b 1/2 NOT APPROVED 409 approval_already_resolved says: Stopped: 1 of 3 approved, b refused (409 approval_already_resolved), 1 not sent. :log tells all. !Approve(\"ok\") a Some(\"h1\") !Approve(\"ok\") b Some(\"h1\")",
    );
    let (state, _) = play(&format!(
        "{TOGETHER}{ASKED} | done | refused approval_already_resolved"
    ));
    let log: Vec<&str> = state.ui.log().map(|line| &*line.text).collect();
    assert_eq!(
        log,
        [
            "asked to approve a",
            "approved a in 3000ms.  capdeck approve a --note 'ok'",
            "asked to approve b",
            "b: Not approved: somebody decided this already. Yours changed nothing. Esc returns to the queue.",
            "not sent: approve of c",
        ]
    );
    check(
        &format!("{TOGETHER}{ASKED} | late"),
        "approvals review=a 1/3 says: Stopped: 0 of 3 approved, a unknown, 2 not sent. :log tells all. !Approve(\"ok\") a Some(\"h1\")",
    );
}

#[test]
fn a_number_that_falls_while_the_dialog_is_open_is_typed_again() {
    let typed = format!("{TOGETHER} | approve | \"ok\" | confirm | \"approve 3\"");
    check(
        &format!("{typed} | waits a b! c | confirm"),
        "approvals review=a 1/3 approve?Typed:ok:",
    );
    check(
        &format!("{typed} | waits a b:h2 c | \"approve 2\" | confirm"),
        "approvals review=a 1/3 says: … asked to approve, 1 of 2. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{typed} | hear dispatch b w1 topic=job.export | confirm"),
        "approvals review=a 1/3 approve?Typed:ok:",
    );
    check(
        &format!("{typed} | hear beat w1 | confirm"),
        "approvals review=a 1/3 says: … asked to approve, 1 of 3. !Approve(\"ok\") a Some(\"h1\")",
    );
    check(
        &format!("{typed} | moved s2 | \"approve 0\" | confirm"),
        "approvals review=a 1/3 says: Nothing is left to decide.",
    );
}

#[test]
fn several_are_rejected_by_their_number_or_the_shown_one_alone() {
    let reject = format!("{TOGETHER} | next-match | reject | \"no\" | confirm");
    check(
        &format!("{reject} | \"reject 3\" | confirm | done"),
        "approvals review=b 1/2 says: … asked to reject, 2 of 3. !Reject(\"no\") a Some(\"h1\") !Reject(\"no\") b Some(\"h1\")",
    );
    check(
        &format!("{reject} | \"reject 1\" | confirm | done"),
        "approvals review=c 2/2 says: rejected b in 3000ms.  capdeck reject b --reason 'no' !Reject(\"no\") b Some(\"h1\")",
    );
    check(
        &format!("{reject} | waits a b:h2 c | \"reject 3\" | confirm"),
        "approvals review=b 2/3 says: … asked to reject, 1 of 3. !Reject(\"no\") a Some(\"h1\")",
    );
}

#[test]
fn quitting_counts_the_decisions_that_are_not_sent_yet() {
    check(
        &format!("{TOGETHER}{ASKED} | quit"),
        "approvals review=a 1/3 says: 3 actions are under way. Press again within a second to quit. !Approve(\"ok\") a Some(\"h1\")",
    );
}

#[test]
fn bytes_that_an_earlier_reading_or_another_job_showed_count_for_nothing() {
    // The frame of the first job, told after the second came on the screen.
    let (mut state, _) = play(&format!("{MARKED} | review | read a b=xyz c=uvw"));
    let reading = state.ui.review().expect("a review").reading;
    let mut effects = EffectQueue::new();
    let mut user = |action| {
        let event = Stamped {
            seq: 99,
            at: state.now,
            value: Event::User(action),
        };
        state.step(&event, &mut effects);
    };
    user(Action::NextMatch);
    user(Action::Drawn(Drawn {
        payload: Some(PayloadDrawn {
            reading,
            from: 0,
            to: 6,
            of: 6,
        }),
        ..Drawn::default()
    }));
    assert_eq!(state.ui.review().map(|it| it.seen.bytes()), Some(0));
}

#[test]
fn changed_lines_are_marked_after_a_reload_until_they_were_passed() {
    let reloaded = "waits a | approvals | review | read a=vwxyz | reload | read a=vWxyZ | waits a";
    check(reloaded, "approvals review=a~2~5");
    check(
        &format!("{reloaded} | drawn 0-6/10"),
        "approvals review=a~2~5",
    );
    check(
        &format!("{reloaded} | drawn 0-6/10 | drawn 4-10/10"),
        "approvals review=a~5",
    );
    check(
        &format!("{reloaded} | reload | read a=vWxyZ | waits a"),
        "approvals review=a",
    );
    check(
        "waits a | approvals | review | read a=vw | reload | reload | read a=vW | waits a",
        "approvals review=a~2",
    );
}
