//! Records, second tries, what policy and failures end, and the breaker.

use super::*;

#[test]
fn every_evaluation_is_in_the_log_newest_first_also_those_without_an_answer() {
    let mut play = run(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.throttle | 2s kernel down | 2s submit j2 job.a.allow tenant=t2 \
         | 6.5s kernel up | 12s tick",
    );
    let turned_away = play.verdict("job.a.throttle").expect("it answers");
    let request = Arc::new(request("j3", "job.a.throttle", |_| None));
    let now = play.now;
    play.ledger.turned_away(request, turned_away, now);
    let list = |query: DecisionsQuery<'_>| -> Vec<String> {
        let found = play.ledger.decisions(query);
        found
            .map(|it| {
                let at = it.record.checked_at.as_millis() / 1_000;
                format!("{at}s {} {}", it.request.job_id, it.record.verdict())
            })
            .collect()
    };
    assert_eq!(
        list(DecisionsQuery::default()),
        [
            "12s j3 throttle",
            "11s j1 throttle",
            "7s j2 allow",
            "6s j1 unavailable",
            "2s j2 unavailable",
            "1s j1 throttle",
        ]
    );
    let narrow = DecisionsQuery {
        since: Some(Timestamp::from_millis(2_000)),
        until: Some(Timestamp::from_millis(11_000)),
        verdict: Some("throttle"),
        topic: Some("job.a.throttle"),
        rule_id: Some("throttle"),
        agent_id: None,
        tenant: Some(DEFAULT_TENANT),
        before: None,
    };
    assert_eq!(list(narrow), ["11s j1 throttle"]);
    let older = DecisionsQuery {
        before: Some(3),
        ..DecisionsQuery::default()
    };
    assert_eq!(list(older), ["2s j2 unavailable", "1s j1 throttle"]);
}

#[test]
fn the_log_of_decisions_is_bounded() {
    let mut ledger = Ledger::new(10, 1);
    let play = run("0s tick");
    let request = Arc::new(request("j", "job.a.throttle", |_| None));
    let begin = Timestamp::from_millis(-5);
    assert_eq!(ledger.decided_since(begin), begin);
    for ms in 0..=decisions::MAX_LOGGED {
        let verdict = play.verdict("job.a.throttle").expect("it answers");
        let at = Timestamp::from_millis(ms as i64);
        ledger.turned_away(Arc::clone(&request), verdict, at);
    }
    let kept: Vec<_> = ledger.decisions(DecisionsQuery::default()).collect();
    assert_eq!(kept.len(), decisions::MAX_LOGGED);
    assert_eq!(kept.last().map(|it| it.number), Some(2));
    // The one of the first millisecond is gone, and with it all that was before.
    assert_eq!(ledger.decided_since(begin), Timestamp::from_millis(1));
}

#[test]
fn a_dead_letter_is_tried_again_with_its_labels_and_without_what_was_granted() {
    let mut play = run(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.hold label=team key=k | 2s approve j1 | 3s fail j1 | 4s again j1 \
         | 5s again j1",
    );
    let retried = play.id("j1again");
    assert_eq!(retried.as_str().len(), "j1-retry-".len() + 8);
    let job = play.ledger.job(&retried).expect("it is a job").clone();
    assert_eq!(
        format!("{:?}", job.request.labels),
        r#"{"dlq_entry": "j1", "retry": "true", "retry_of_job": "j1", "team": "true"}"#
    );
    let meta = job.request.meta.as_ref().expect("kept");
    assert_eq!(meta.idempotency_key, "k");
    // The key now names the retry, so whoever submits again gets that one.
    let again = request("j2", "job.a.hold", |name| (name == "key").then_some("k"));
    assert_eq!(
        play.ledger.repeats(&again).map(|job| &job.id),
        Some(&retried)
    );
    assert!(play.ledger.dead_letter(&JobId::from("j1")).is_none());
    play.now = Timestamp::from_millis(8_000);
    play.settle();
    assert!(play.log.contains("5s dlq_entry_not_found"), "{}", play.log);
    // A person is asked again: the yes was for the old job alone.
    let job = play.ledger.job(&retried).expect("known");
    assert_eq!(job.state, JobState::ApprovalRequired);
}

#[test]
fn a_remediation_makes_another_job_and_leaves_the_old_one() {
    let play = run(
        "0s beat w1@a 0/4 | 1s submit j1 job.a.hold label=force key=k | 2s remedy j1 no | 3s remedy j9 ro \
         | 4s remedy j1 ro | 9s tick",
    );
    let story = play.log.clone();
    assert!(story.contains("2s remediation_not_found"), "{story}");
    assert!(story.contains("3s job_not_found"), "{story}");
    let new = play
        .ledger
        .in_state(JobState::Running)
        .next()
        .expect("it runs");
    assert_eq!(new.request.topic, "job.a.allow");
    assert_eq!(new.request.parent_job_id.as_str(), "j1");
    assert_eq!(
        format!("{:?}", new.request.labels),
        r#"{"mode": "read", "remediation_id": "ro", "remediation_of": "j1"}"#
    );
    let old = play.ledger.job(&JobId::from("j1")).expect("known");
    assert_eq!(old.state, JobState::ApprovalRequired);
    let mut silent = run("0s kernel down | 1s submit j1 job.a.hold");
    assert_eq!(
        silent.ledger.remedied(&JobId::from("j1"), "ro"),
        Err(LedgerError::NoRemediations)
    );
}

#[test]
fn approvals_of_an_earlier_policy_are_ended_at_the_next_look_and_told() {
    check(
        "0s policy v1 | 1s submit j1 job.a.hold | 2s submit j2 job.a.hold | 3s policy v2 | 32s approve j1 \
         | 34s approve j1 | 35s submit j3 job.a.hold | 99s tick",
        &[
            "32s approval_stale_snapshot",
            "33s dlq j1 DENIED approval_invalidated",
            "33s dlq j2 DENIED approval_invalidated",
            "33s alert approval_invalidated",
            "34s approval_not_actionable",
            "j1 DENIED approval_invalidated",
            "j2 DENIED approval_invalidated",
            "j3 APPROVAL_REQUIRED waits for approval",
        ],
    );
    let play = run("0s policy v1 | 1s submit j1 job.a.hold | 3s policy v2 | 40s tick");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    let approval = job.approval.as_ref().expect("held");
    assert_eq!(approval.status, ApprovalStatus::Invalidated);
    assert_eq!(approval.resolved_by, approval::RECONCILER);
    assert_eq!(approval.resolved_at, Some(Timestamp::from_millis(33_000)));
    assert_eq!(approval.reason, "policy v2 is in force now");
    assert_eq!(approval.revision, 2);
}

#[test]
fn a_policy_that_moved_while_no_plane_ran_ends_what_waited_under_the_old_one() {
    let script = "0s policy v1 | 1s submit j1 job.a.hold | 5s restart | 6s policy v2";
    let play = run(script);
    let job = play.ledger.waiting_approvals().next().expect("it waits");
    let approval = job.approval.as_ref().expect("held");
    assert_eq!(play.ledger.snapshot_is_current(approval), Some(false));
    check_in_one_life(
        &format!("{script} | 35s approve j1 | 37s tick"),
        &[
            "35s approval_stale_snapshot",
            "36s dlq j1 DENIED approval_invalidated",
            "36s alert approval_invalidated",
            "j1 DENIED approval_invalidated",
        ],
    );
    check_in_one_life(
        "0s policy v1 | 1s submit j1 job.a.hold | 5s restart | 6s policy v1 | 60s approve j1 announce=no",
        &["60s approved j1", "j1 PENDING"],
    );
}

#[test]
fn a_policy_that_comes_back_before_the_look_ends_no_approval() {
    check(
        "0s policy v1 | 1s submit j1 job.a.hold | 3s policy v2 | 20s policy v1 | 60s approve j1 announce=no",
        &["60s approved j1", "j1 PENDING"],
    );
}

#[test]
fn a_step_of_a_workflow_that_failed_since_is_not_approved() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow wf=w undo=job.a.u1 | 2s submit j2 job.a.hold wf=w \
         | 3s fatal j1 | 4s approve j2 | 5s submit j3 job.a.hold wf=w | 6s approve j3 announce=no",
        &[
            "1s dispatch j1#1 w1",
            "3s dlq j1 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "3s submit undo1 job.a.u1 undoes j1",
            "3s dispatch undo1#1 w1",
            "4s approval_terminal_run",
            "6s approved j3",
            "j1 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "j2 APPROVAL_REQUIRED waits for approval",
            "j3 PENDING",
            "undo1 RUNNING w1",
        ],
    );
}

#[test]
fn a_cancel_reaches_the_children_of_a_job_and_theirs() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.hold | 2s submit j2 job.a.allow parent=j1 \
         | 3s submit j3 job.a.hold parent=j2 | 4s submit j4 job.a.allow parent=j9 \
         | 5s submit j5 job.a.allow parent=j1 label=is_compensation | 6s cancel j1 | 7s succeed j2",
        &[
            "2s dispatch j2#1 w1",
            "4s dispatch j4#1 w1",
            "5s dispatch j5#1 w1",
            "6s result j2 CANCELLED",
            "6s cancel j2",
            "6s result j3 CANCELLED",
            "6s result j1 CANCELLED",
            "7s late",
            "7s alert cancel_not_honoured",
            "j1 CANCELLED",
            "j2 CANCELLED w1",
            "j3 CANCELLED",
            "j4 RUNNING w1",
            "j5 RUNNING w1",
        ],
    );
}

#[test]
fn a_second_body_under_one_idempotency_key_is_a_conflict() {
    let mut ledger = Ledger::new(10, 1);
    let mut submit = |id: &str, digest: &str| {
        let submission = Submission {
            request: request(id, "job.a.allow", |name| (name == "key").then_some("k")),
            body_digest: digest.to_owned(),
            ..Submission::default()
        };
        let submitted = ledger.submit(submission, Timestamp::from_millis(1));
        submitted.map(|it| it.job_id.to_string())
    };
    assert_eq!(submit("j1", "aa").as_deref(), Ok("j1"));
    assert_eq!(submit("j2", "aa").as_deref(), Ok("j1"));
    // The bus does not say what body a job came in.
    assert_eq!(submit("j3", "").as_deref(), Ok("j1"));
    let existing = JobId::from("j1");
    let conflict = Err(LedgerError::IdempotencyConflict { existing });
    assert_eq!(submit("j4", "bb"), conflict);
}

#[test]
fn a_rollback_stops_at_a_step_that_fails_and_goes_on_when_that_is_retried() {
    let script = "0s beat w1@a 0/9 | 1s submit j1 job.a.allow wf=w undo=job.a.u1 | 2s succeed j1 \
         | 3s submit j2 job.a.allow wf=w undo=job.a.u2 | 4s fatal j2 | 5s fail undo1 | 9s tick";
    check(
        script,
        &[
            "1s dispatch j1#1 w1",
            "3s dispatch j2#1 w1",
            "4s dlq j2 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "4s submit undo1 job.a.u2 undoes j2",
            "4s dispatch undo1#1 w1",
            "5s alert rollback_stopped",
            "5s dlq undo1 FAILED ERROR_CODE_JOB_INVALID_INPUT",
            "j1 SUCCEEDED w1",
            "j2 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 FAILED w1 ERROR_CODE_JOB_INVALID_INPUT",
        ],
    );
    let steps = |play: &Play| {
        let rollback = play.ledger.rollback("w").expect("it is known");
        let states: Vec<_> = rollback.steps.iter().map(|it| it.state).collect();
        (rollback.state, states)
    };
    let stopped = (
        RollbackState::Stopped,
        vec![UndoState::Submitted, UndoState::Waiting],
    );
    assert_eq!(steps(&run(script)), stopped);
    let resumed = format!("{script} | 10s again undo1 | 13s succeed undo1again");
    let play = run(&resumed);
    assert_eq!(
        steps(&play),
        (
            RollbackState::Running,
            vec![UndoState::Submitted, UndoState::Submitted]
        )
    );
    assert!(play.log.contains("13s dispatch undo3#1 w1"), "{}", play.log);
    let play = run(&format!("{resumed} | 14s succeed undo3"));
    assert_eq!(steps(&play).0, RollbackState::Done);
}

#[test]
fn an_undo_whose_key_failed_before_stops_the_rollback() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.allow undo=job.a.u undokey=k | 2s fatal j1 | 3s fail undo1 \
         | 4s submit j2 job.a.allow undo=job.a.u undokey=k | 5s fatal j2",
        &[
            "1s dispatch j1#1 w1",
            "2s dlq j1 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "2s submit undo1 job.a.u undoes j1",
            "2s dispatch undo1#1 w1",
            "3s alert rollback_stopped",
            "3s dlq undo1 FAILED ERROR_CODE_JOB_INVALID_INPUT",
            "4s dispatch j2#1 w1",
            "5s dlq j2 FAILED_FATAL ERROR_CODE_JOB_TIMEOUT",
            "5s alert rollback_stopped",
            "j1 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "j2 FAILED w1 ERROR_CODE_JOB_TIMEOUT",
            "undo1 FAILED w1 ERROR_CODE_JOB_INVALID_INPUT",
        ],
    );
}

#[test]
fn a_kernel_that_fails_three_times_is_left_alone_and_then_tried() {
    check_in_one_life(
        "0s beat w1@a 0/9 | 0s kernel down | 1s submit j1 job.a.allow | 13s kernel up | 40s beat w1@a 0/9 | 45s tick",
        // It failed at 1, 6 and 11 s, so it is not asked again before 41 s.
        &["41s dispatch j1#1 w1", "j1 RUNNING w1"],
    );
    let play = run("0s kernel down | 1s submit j1 job.a.allow | 20s tick");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    let last = job.decision().expect("asked");
    assert_eq!(
        last.reason,
        "the safety kernel does not answer: it failed 3 times in a row and is not asked for 25 s"
    );
    let now = Timestamp::from_millis(20_000);
    assert_eq!(play.ledger.breaker().state(now), BreakerState::Open);
}

#[test]
fn a_plane_that_fails_open_lets_jobs_go_unjudged_and_tells_of_each() {
    let mut play = run("0s kernel down | 0s beat w1@a 0/9");
    play.ledger = play.ledger.failing_open();
    play.event("submit j1 job.a.deny");
    play.settle();
    assert_eq!(play.log, "0s alert safety_bypassed\n0s dispatch j1#1 w1\n");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    let sent = job.dispatched_request.as_ref().expect("sent");
    assert_eq!(sent.labels["safety_bypassed"], "true");
    assert_eq!(
        sent.labels["safety_bypass_reason"],
        "the safety kernel did not answer in time"
    );
    assert!(job.request.labels.is_empty());
    assert_eq!(play.ledger.counters().bypassed_jobs, 1);
}

#[test]
fn a_job_that_was_judged_does_not_say_that_it_was_not() {
    let mut play = run("0s beat w1@a 0/9");
    let mut request = request("j1", "job.a.allow", |_| None);
    for name in ["safety_bypassed", "safety_bypass_reason", "team"] {
        request.labels.insert(name.to_owned(), "true".to_owned());
    }
    let submission = Submission {
        request,
        ..Submission::default()
    };
    let now = Timestamp::from_millis(0);
    play.ledger.submit(submission, now).expect("new");
    play.settle();
    assert_eq!(play.log, "0s dispatch j1#1 w1\n");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    let sent = job.dispatched_request.as_ref().expect("sent");
    assert_eq!(sent.labels.keys().collect::<Vec<_>>(), ["team"]);
}

#[test]
fn an_answer_that_is_not_understood_is_no_outage_and_lets_nothing_pass() {
    let mut play = run("0s beat w1@a 0/9");
    play.ledger = play.ledger.failing_open();
    play.event("submit j1 job.a.odd");
    for seconds in [0, 6, 12, 18, 24] {
        play.now = Timestamp::from_millis(seconds * 1_000);
        play.settle();
    }
    assert_eq!(play.log, "");
    let job = play.ledger.job(&JobId::from("j1")).expect("known");
    assert_eq!(job.waiting_on, Some(WaitingOn::KernelUnavailable));
    // More often than opens the breaker before a kernel that does not answer.
    assert_eq!(job.decisions.len(), 1);
    assert_eq!(job.decision().map(|last| last.times), Some(5));
    let last = job.decision().expect("asked");
    assert_eq!(
        last.reason,
        "the safety kernel's answer is not understood: an odd answer"
    );
    assert_eq!(play.ledger.breaker().state(play.now), BreakerState::Closed);
}

#[test]
fn a_pending_job_always_says_why_once_it_was_looked_at() {
    for (name, script) in [
        ("no_workers", "1s submit j1 job.a.allow"),
        (
            "no_pool_mapping",
            "0s beat w1@b 0/4 | 1s submit j1 job.a.allow",
        ),
        (
            "pool_overloaded",
            "0s beat w1@a 4/4 | 1s submit j1 job.a.allow",
        ),
        ("throttled", "1s submit j1 job.a.throttle"),
        (
            "kernel_unavailable",
            "0s kernel down | 1s submit j1 job.a.allow",
        ),
        (
            "bus_unavailable",
            "0s beat w1@a 0/9 | 0s bus down | 1s submit j1 job.a.allow",
        ),
        (
            "tenant_limit",
            "0s beat w1@a 0/9 | 1s submit j0 job.a.limit | 1s submit j1 job.a.limit",
        ),
        (
            "retry_backoff",
            "0s beat w1@a 0/9 | 1s submit j1 job.a.allow | 2s retryable j1",
        ),
        ("approval", "1s submit j1 job.a.hold"),
    ] {
        let play = run(&format!("{script} | 2.5s tick"));
        let job = play.ledger.job(&JobId::from("j1")).expect("known");
        assert!(
            !job.state.is_active() || job.state == JobState::Scheduled,
            "{script}"
        );
        assert_eq!(job.waiting_on.map(WaitingOn::name), Some(name), "{script}");
    }
}

#[test]
fn the_limit_of_a_tenant_counts_its_jobs_in_whatever_case_they_write_its_name() {
    check(
        "0s beat w1@a 0/9 | 1s submit j1 job.a.limit tenant=acme | 1s submit j2 job.a.limit tenant=ACME \
         | 1s submit j3 job.a.limit tenant=other | 2s succeed j1 | 4s tick",
        &[
            "1s dispatch j1#1 w1",
            "1s dispatch j3#1 w1",
            "3s dispatch j2#1 w1",
            "j1 SUCCEEDED w1",
            "j2 RUNNING w1",
            "j3 RUNNING w1",
        ],
    );
}

#[test]
fn a_request_that_names_no_tenant_is_of_the_one_that_policy_names() {
    let mut ledger = Ledger::new(10, 1);
    let now = Timestamp::from_millis(1);
    let submit = |ledger: &mut Ledger, id: &str, tenant: &str| {
        let mut request = request(id, "job.a.allow", |_| None);
        request.tenant_id = tenant.to_owned();
        let submission = Submission {
            request,
            ..Submission::default()
        };
        ledger.submit(submission, now).expect("it is new");
        let job = ledger.job(&JobId::from(id)).expect("the job");
        format!("{} {:?}", job.tenant(), job.request.tenant_id)
    };
    assert_eq!(submit(&mut ledger, "j1", ""), "default \"\"");
    ledger.belongs_to("acme");
    assert_eq!(submit(&mut ledger, "j2", ""), "acme \"acme\"");
    assert_eq!(submit(&mut ledger, "j3", "other"), "other \"other\"");
}
