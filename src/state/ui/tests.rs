//! The operator's side as text: facts and keys in, the screen's state out.

use super::*;
use crate::state::action::PayloadDrawn;
use crate::state::event::Stamped;

mod compensations;
mod deciding;
mod script;
mod together;
mod trying;

use script::{play, run};

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
fn a_detail_leads_back_to_where_it_was_opened() {
    let open = "letters a b c | rollbacks | left | down | detail";
    check(open, "jobs detail=b []");
    check(&format!("{open} | back"), "rollbacks [c >b a]");
    check(&format!("{open} | close"), "rollbacks [c >b a]");
    let traced = "tell a:running | jobs | detail | back";
    check(traced, "jobs [>a]");
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
        Effect::ReadTrace { names } => Some(format!("trace {}", names.join(" "))),
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
    assert_eq!(
        reads(&play(&look).1),
        ["trace w"],
        "which they are comes first"
    );
    let look = format!("{look} | done");
    assert_eq!(reads(&play(&look).1), ["trace w", "lives of a b"]);
    let answered = format!("{look} | done | tick");
    assert_eq!(
        reads(&play(&answered).1).len(),
        2,
        "a plane that keeps no record is not asked twice"
    );
    let moved = format!("{answered} | hear told b RUNNING workflow=w");
    assert_eq!(reads(&play(&moved).1)[2..], ["lives of b"]);
    let failed = format!("{look} | failed away | tick | +7000 tick | done");
    assert_eq!(
        reads(&play(&failed).1),
        ["trace w", "lives of a b", "trace w", "lives of a b"]
    );
    // Nobody looks, or nothing is missing.
    assert_eq!(reads(&play(&format!("{told} | jobs")).1), [""; 0]);
    let known = "only gateway | hear told a SUCCEEDED born=0s record=0s:PENDING,0s:RUNNING,0s:SUCCEEDED | jobs | traces";
    assert_eq!(
        reads(&play(&format!("{known} | done | tick")).1),
        ["trace a"]
    );
    let heard = "hear submit a | hear dispatch a w | hear succeed a w | jobs | traces";
    assert_eq!(
        reads(&play(&format!("{heard} | done | tick")).1),
        ["trace a"]
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
        "only nats | asks a | palette | \"trace nothing\" | confirm",
        "overview [] says: No trace, workflow or job is known as nothing.",
    );
}

#[test]
fn a_trace_that_no_list_tells_of_is_asked_for_by_its_name() {
    let ask = "only gateway | palette | \"trace old\" | confirm";
    check(ask, "traces []");
    assert_eq!(reads(&play(ask).1), ["trace old"]);
    let told = format!("{ask} | hear told a SUCCEEDED trace=old | done | tick");
    check(&told, "traces [>a]");
    // It was the name of a workflow.
    let workflow = format!("{ask} | hear told a SUCCEEDED trace=t workflow=old | done | tick");
    check(&workflow, "traces [>a]");
    let names = reads(&play(&workflow).1);
    assert_eq!(names[..2], ["trace old", "trace old t"]);
    let unknown = play(&format!("{ask} | done")).0;
    assert!(!unknown.ui.is_asking_for_trace());
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
