//! `P`: a candidate policy.

use super::check;

/// A view of policy that has been read.
const POLICY: &str = "policy | +1 done";
const ASKED: &str = "policy | +1 done | +1 what-if | +1 \"a/next.yaml\" | +1 confirm";
/// Two flips, of which one loses a person.
const TOLD: &str = "policy | +1 done | +1 what-if | +1 \"a/next.yaml\" | +1 confirm | +1 hear tried next.yaml stays=3 \
    flips=REQUIRE_APPROVAL:ALLOW:known:a+b:gone:pii,ALLOW:DENY:stop:c:closed: | +1 done";

fn after(before: &str, keys: &str, expected: &str) {
    check(&format!("{before} | {keys}"), expected);
}

#[test]
fn a_candidate_is_asked_for_by_key_and_tried_by_the_gateway() {
    after(POLICY, "what-if", "policy [] palette !policy");
    after(
        POLICY,
        "+1 what-if | +1 \"a/next.yaml\" | +1 confirm",
        "policy [] tries next.yaml !policy !try a/next.yaml",
    );
    check(
        TOLD,
        "policy [>REQUIRE_APPROVAL>ALLOW>known ALLOW>DENY>stop] tries next.yaml !policy !try a/next.yaml",
    );
    // Nothing is tried while the first is, and without a file there is nothing to try.
    after(
        ASKED,
        "+1 what-if | +1 \"2\" | +1 confirm",
        "policy [] tries next.yaml says: A candidate is being tried. !policy !try a/next.yaml",
    );
    after(
        POLICY,
        "+1 what-if | +1 confirm",
        "policy [] palette !policy",
    );
}

#[test]
fn keys_go_between_rules_and_flips_and_a_flip_opens_its_jobs() {
    let sent = "!policy !try a/next.yaml";
    after(
        TOLD,
        "+1 down | +1 open",
        &format!(
            "policy [REQUIRE_APPROVAL>ALLOW>known >ALLOW>DENY>stop] tries next.yaml flip {sent}"
        ),
    );
    after(
        TOLD,
        "+1 left",
        &format!("policy [] tries next.yaml {sent}"),
    );
    after(TOLD, "+1 back", &format!("policy [] {sent}"));
    after(
        TOLD,
        "+1 filter",
        &format!(
            "policy [>REQUIRE_APPROVAL>ALLOW>known ALLOW>DENY>stop] tries next.yaml says: Flips are few; h goes back to the rules. {sent}"
        ),
    );
    after(
        TOLD,
        "+1 reload",
        &format!(
            "policy [>REQUIRE_APPROVAL>ALLOW>known ALLOW>DENY>stop] tries next.yaml says: Reading policy again. {sent} !policy !try a/next.yaml"
        ),
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_in_the_pane_and_the_old_answer_stays() {
    let flips = "[>REQUIRE_APPROVAL>ALLOW>known ALLOW>DENY>stop]";
    let twice = "!policy !try a/next.yaml !try a/next.yaml2";
    let again = "+1 what-if | +1 \"2\" | +1 confirm";
    after(
        TOLD,
        &format!("{again} | +1 failed cannot read it"),
        &format!(
            "policy {flips} tries next.yaml2 (next.yaml2 was not tried: cannot read it) {twice}"
        ),
    );
    after(
        TOLD,
        &format!("{again} | +1 refused invalid_policy"),
        &format!("policy {flips} tries next.yaml2 (next.yaml2 ) {twice}"),
    );
    after(
        TOLD,
        &format!("{again} | +1 late"),
        &format!(
            "policy {flips} tries next.yaml2 (next.yaml2 was not tried: no answer in time) {twice}"
        ),
    );
}

#[test]
fn a_candidate_is_tried_only_where_it_is_shown_and_answered() {
    check(
        "jobs | what-if",
        "jobs [] says: A candidate policy is tried in Policy: 5 shows it.",
    );
    after(
        POLICY,
        "+1 freeze | +1 what-if",
        "policy [] frozen says: You look at 00:16:43Z, not at now. L goes live. !policy",
    );
    after(
        POLICY,
        "+1 cut | +1 what-if",
        "policy [] says: Only a gateway replays decisions, and none answers. !policy",
    );
    // By its command from anywhere.
    check(
        "jobs | palette | \"what-if next.yaml\" | confirm | done",
        "policy [] tries next.yaml !try next.yaml !policy",
    );
}
