use crate::ids::JobId;
use crate::state::effect::EffectQueue;
use crate::state::model::jobs::{Job, JobState};
use crate::state::script;
use crate::state::step::State;
use proptest::prelude::*;

#[track_caller]
fn check(script: &str, expected: &str) {
    let state = script::run(script).expect("a script");
    let lines: Vec<String> = state.model.jobs.by_birth().map(|job| line(job)).collect();
    assert_eq!(lines.join(" | "), expected, "{script}");
    consistent(&state);
}

fn line(job: &Job) -> String {
    let mut words = vec![job.id.to_string()];
    words.push(
        job.state
            .map_or("?".into(), |state| state.name().to_owned()),
    );
    if let Some(worker) = job.worker() {
        words.push(worker.to_string());
    }
    if let Some(percent) = job.percent() {
        words.push(format!("{percent}%"));
    }
    if let Some(code) = job.error_code() {
        words.push(code.to_owned());
    }
    if job.attempts() > 1 {
        words.push(format!("try {}", job.attempts()));
    }
    if job.stalled {
        words.push("stalled".to_owned());
    }
    words.join(" ")
}

/// Every index holds every job once, where it belongs.
fn consistent(state: &State) {
    let jobs = &state.model.jobs;
    assert_eq!(jobs.by_attention().count(), jobs.len());
    assert!(
        jobs.ids_by_attention()
            .eq(jobs.by_attention().map(|job| &job.id))
    );
    assert_eq!(jobs.by_birth().count(), jobs.len());
    for (place, job) in jobs.by_attention().enumerate() {
        assert_eq!(jobs.attention_rank(&job.id), Some(place));
    }
    let counted: u32 = super::JobState::ALL.iter().map(|it| jobs.count(*it)).sum();
    let known = jobs.by_birth().filter(|job| job.state.is_some()).count();
    assert_eq!(counted as usize, known);
}

/// The timeline of the one job of a script, seconds and what happened.
#[track_caller]
fn check_timeline(script: &str, expected: &str) {
    let state = script::run(script).expect("a script");
    let job = state.model.jobs.by_birth().next().expect("a job");
    let moments: Vec<String> = job
        .history
        .iter()
        .map(|moment| {
            let ms = moment.at.since(script::START).as_millis();
            let what = match &moment.what {
                super::Happened::Became(state) => state.name().to_owned(),
                super::Happened::Decided(decision) => decision.name().to_owned(),
                super::Happened::Submitted(_) => "submitted".to_owned(),
                super::Happened::Dispatched(_) => "dispatched".to_owned(),
                super::Happened::FirstWord(_) => "first word".to_owned(),
                other @ (super::Happened::CancelAsked(_) | super::Happened::DeadLetter(_)) => {
                    format!("{other:?}")
                }
            };
            format!("{}.{} {what}", ms / 1_000, ms % 1_000 / 100)
        })
        .collect();
    assert_eq!(moments.join(" | "), expected, "{script}");
}

const RECORD: &str = "record=0.1s:PENDING,0.2s:ALLOW,1s:SCHEDULED,1.1s:DISPATCHED,1.2s:RUNNING";

#[test]
fn what_is_on_record_from_before_we_came_is_in_the_timeline() {
    check_timeline(
        &format!("60s told j1 RUNNING told=1.2s decision=ALLOW decided=0.2s {RECORD}"),
        "0.1 PENDING | 0.2 ALLOW | 1.0 SCHEDULED | 1.1 DISPATCHED | 1.2 RUNNING",
    );
    check_timeline(
        &format!("60s told j1 RUNNING told=1.2s {RECORD} | 61s told j1 RUNNING told=1.2s {RECORD}"),
        "0.1 PENDING | 0.2 ALLOW | 1.0 SCHEDULED | 1.1 DISPATCHED | 1.2 RUNNING",
    );
}

#[test]
fn what_was_heard_is_not_in_the_timeline_a_second_time() {
    check_timeline(
        &format!(
            "0s submit j1 | 1s dispatch j1 w1 | 2s progress j1 5% | 9s told j1 RUNNING told=1.2s {RECORD}"
        ),
        "0.0 submitted | 0.2 ALLOW | 1.0 SCHEDULED | 1.0 dispatched | 1.2 RUNNING | 2.0 first word",
    );
    check_timeline(
        "0s told j1 APPROVAL_REQUIRED told=0s decision=REQUIRE_APPROVAL decided=0s \
         | 9s told j1 RUNNING told=8s decision=ALLOW decided=7s \
           record=0s:REQUIRE_APPROVAL,0s:APPROVAL_REQUIRED,7s:PENDING,7s:ALLOW,8s:RUNNING",
        "0.0 REQUIRE_APPROVAL | 0.0 APPROVAL_REQUIRED | 7.0 PENDING | 7.0 ALLOW | 8.0 RUNNING",
    );
    // What a list told first was not the first of its instant.
    check_timeline(
        "0s told j1 APPROVAL_REQUIRED told=0s decision=REQUIRE_APPROVAL decided=0s \
         | 1s told j1 APPROVAL_REQUIRED told=0s record=0s:PENDING,0s:REQUIRE_APPROVAL,0s:APPROVAL_REQUIRED",
        "0.0 PENDING | 0.0 REQUIRE_APPROVAL | 0.0 APPROVAL_REQUIRED",
    );
}

#[test]
fn a_decision_is_of_when_it_was_made_as_soon_as_the_record_says_so() {
    check_timeline(
        "60s told j1 PENDING told=0s decision=THROTTLE",
        "0.0 PENDING | 60.0 THROTTLE",
    );
    let told =
        "told j1 PENDING told=0s decision=THROTTLE record=0s:PENDING,0.5s:THROTTLE,5.5s:THROTTLE";
    check_timeline(
        &format!("60s told j1 PENDING told=0s decision=THROTTLE | 61s {told} | 62s {told}"),
        "0.0 PENDING | 0.5 THROTTLE | 5.5 THROTTLE",
    );
}

#[test]
fn a_report_that_is_heard_counts_more_than_one_that_is_told() {
    let told = "told j1 RUNNING told=0s percent=40";
    check(&format!("1s {told}"), "j1 RUNNING 40%");
    check(
        &format!("1s {told} | 2s progress j1 30% | 3s {told}"),
        "j1 RUNNING w1 30%",
    );
    check(
        &format!("1s {told} | 2s told j1 RUNNING told=0s percent=60"),
        "j1 RUNNING 60%",
    );
}

#[test]
fn quick_repeats_on_record_are_each_a_moment_of_their_own() {
    let first = "record=0s:SCHEDULED,1s:DISPATCHED,2s:SCHEDULED,3s:DISPATCHED";
    let later = format!("{first},4s:SCHEDULED,4.5s:DISPATCHED");
    check_timeline(
        &format!("9s told j1 {first} | 10s told j1 {later} | 11s told j1 {later}"),
        "0.0 SCHEDULED | 1.0 DISPATCHED | 2.0 SCHEDULED | 3.0 DISPATCHED | 4.0 SCHEDULED | 4.5 DISPATCHED",
    );
}

#[test]
fn a_record_longer_than_the_timeline_keeps_its_end_however_often_it_is_told() {
    let record: Vec<String> = (0..60).map(|n| format!("{}s:RETRYING", n * 10)).collect();
    let told = format!("told j1 record={}", record.join(","));
    let once = script::run(&format!("700s {told}")).expect("a script");
    let twice = script::run(&format!("700s {told} | 700s {told}")).expect("a script");
    let job = once.model.jobs.by_birth().next().expect("a job");
    assert_eq!(job.history.len(), crate::state::limits::MOMENTS);
    assert_eq!(
        job.history
            .last()
            .map(|it| it.at.since(script::START).as_secs()),
        Some(590)
    );
    assert_eq!(
        twice.model.jobs.by_birth().next().map(|it| &it.history),
        Some(&job.history)
    );
}

#[test]
fn a_job_goes_from_submit_to_its_end() {
    check("0s submit j1", "j1 PENDING");
    check("0s submit j1 | 1s dispatch j1 w1", "j1 DISPATCHED w1");
    check(
        "0s submit j1 | 1s dispatch j1 w1 | 2s progress j1 40% | 3s succeed j1 w1",
        "j1 SUCCEEDED w1 40%",
    );
}

#[test]
fn each_result_ends_a_job_as_the_scheduler_would() {
    for (verb, state) in [
        ("succeed", "SUCCEEDED"),
        ("fail", "FAILED"),
        ("fatal", "FAILED"),
        ("denied", "DENIED"),
        ("timeout", "TIMEOUT"),
        ("cancelled", "CANCELLED"),
        ("retryable", "RETRYING"),
        ("odd", "FAILED"),
    ] {
        check(
            &format!("0s submit j1 | 1s dispatch j1 w1 | 2s {verb} j1 w1"),
            &format!("j1 {state} w1"),
        );
    }
}

#[test]
fn a_job_under_way_that_the_plane_tells_of_as_ended_has_ended() {
    for state in ["SUCCEEDED", "FAILED", "CANCELLED", "TIMEOUT", "DENIED"] {
        for under_way in ["dispatch j1 w1", "dispatch j1 w1 | 1.5s progress j1 40%"] {
            let story = format!("0s submit j1 | 1s {under_way} | 3s told j1 {state} told=2s");
            let run = script::run(&story).expect("a script");
            let job = run.model.jobs.by_birth().next().expect("a job");
            assert_eq!(job.state.map(JobState::name), Some(state), "{story}");
        }
    }
}

#[test]
fn a_result_that_is_still_in_flight_ends_nothing() {
    check(
        "0s submit j1 | 1s dispatch j1 w1 | 2s inflight j1 w1",
        "j1 DISPATCHED w1",
    );
    check(
        "0s dispatch j1 w1 | 2s progress j1 9% | 3s inflight j1 w1",
        "j1 RUNNING w1 9%",
    );
    let state =
        script::run("0s submit j1 | 1s succeed j1 w1 | 2s inflight j1 w1").expect("a script");
    let job = state.model.jobs.get(&JobId::from("j1")).expect("the job");
    let status = job.result.as_ref().and_then(|result| result.status);
    assert_eq!(status, Some(crate::wire::packet::JobStatus::Succeeded));
}

#[test]
fn what_is_late_moves_nothing() {
    check(
        "0s submit j1 | 1s dispatch j1 w1 | 2s succeed j1 w1 | 3s progress j1 40% | 4s submit j1 sent=0s | 5s dispatch j1 w1 sent=1s",
        "j1 SUCCEEDED w1",
    );
    check(
        "0s dispatch j1 w1 | 3s progress j1 40% | 4s progress j1 30% sent=2s",
        "j1 RUNNING w1 40%",
    );
    check(
        "3s succeed j1 w1 | 4s cancelled j1 api-gateway",
        "j1 SUCCEEDED w1",
    );
}

#[test]
fn a_report_that_its_result_overtook_still_tells_the_last_percent() {
    check(
        "0s dispatch j1 w1 | 3s succeed j1 w1 | 4s progress j1 100% sent=2.9s",
        "j1 SUCCEEDED w1 100%",
    );
    check(
        "0s dispatch j1 w1 | 1s progress j1 90% | 3s succeed j1 w1 | 4s progress j1 100% sent=3s",
        "j1 SUCCEEDED w1 100%",
    );
}

#[test]
fn a_report_of_the_instant_in_which_its_job_ended_takes_nothing_back() {
    check(
        "0s dispatch j1 w1 | 1s progress j1 90% | 3s succeed j1 w1 | 4s progress j1 10% sent=3s",
        "j1 SUCCEEDED w1 90%",
    );
}

#[test]
fn percent_is_shown_as_reported_even_when_it_falls() {
    check(
        "0s dispatch j1 w1 | 1s progress j1 80% | 2s progress j1 20%",
        "j1 RUNNING w1 20%",
    );
    check(
        "0s dispatch j1 w1 | 1s progress j1 250%",
        "j1 RUNNING w1 250%",
    );
}

#[test]
fn the_same_payload_on_an_audit_subject_is_not_progress() {
    check(
        "0s submit j1 | 1s progress j1 100% subject=sys.audit.output_policy",
        "j1 PENDING",
    );
}

#[test]
fn a_wish_to_cancel_tells_nothing_about_the_state() {
    check(
        "0s submit j1 | 1s cancel j1 reason=duplicate for=oncall-1",
        "j1 PENDING",
    );
    check("0s cancel j1", "j1 ?");
    let state =
        script::run("0s submit j1 | 1s cancel j1 reason=dup for=oncall-1").expect("a script");
    let job = state.model.jobs.get(&JobId::from("j1")).expect("the job");
    let cancel = job.cancel.as_ref().expect("it was asked");
    assert_eq!(
        (cancel.by.as_deref(), cancel.reason.as_deref()),
        (Some("oncall-1"), Some("dup"))
    );
}

#[test]
fn a_dispatch_after_a_retryable_result_opens_the_next_attempt() {
    let first = "0s submit j1 | 1s dispatch j1 w1 | 2s progress j1 40% | 3s retryable j1 w1";
    check(first, "j1 RETRYING w1 40%");
    check(
        &format!("{first} | 4s dispatch j1 w2"),
        "j1 DISPATCHED w2 40% try 2",
    );
    check(
        &format!("{first} | 4s dispatch j1 w2 | 5s progress j1 10% by=w2 | 6s succeed j1 w2"),
        "j1 SUCCEEDED w2 10% try 2",
    );
}

#[test]
fn packets_of_an_earlier_attempt_come_too_late() {
    let second = "0s submit j1 | 1s dispatch j1 w1 | 2s progress j1 40% | 3s retryable j1 w1 | 5s dispatch j1 w2";
    for late in [
        "6s progress j1 99% by=w1 sent=2.5s",
        "6s retryable j1 w1 sent=3s",
        "6s fail j1 w1 sent=2.9s",
        "6s dispatch j1 w1 sent=1s",
        "6s submit j1 sent=0s",
    ] {
        check(&format!("{second} | {late}"), "j1 DISPATCHED w2 40% try 2");
    }
}

#[test]
fn a_worker_whose_clock_is_behind_is_not_late() {
    check(
        "9s submit j1 | 10s dispatch j1 w1 | 11s progress j1 40% sent=1s | 12s retryable j1 w1 sent=2s \
         | 13s dispatch j1 w1 | 14s progress j1 10% sent=4s",
        "j1 RUNNING w1 10% try 2",
    );
}

#[test]
fn a_dispatch_that_overtakes_the_result_before_it_opens_the_attempt_then() {
    check(
        "0s submit j1 | 1s dispatch j1 w1 | 2s progress j1 40% | 5s dispatch j1 w2 | 6s retryable j1 w1 sent=4s",
        "j1 DISPATCHED w2 40% try 2",
    );
}

#[test]
fn a_dispatch_heard_twice_is_one_dispatch() {
    check(
        "0s submit j1 | 1s dispatch j1 w1 | 2s retryable j1 w1 | 3s dispatch j1 w1 sent=1s",
        "j1 RETRYING w1",
    );
}

#[test]
fn a_submit_after_an_approval_opens_the_next_attempt() {
    let waits = "0s submit j1 | 1s told j1 APPROVAL_REQUIRED decision=REQUIRE_APPROVAL";
    check(waits, "j1 APPROVAL_REQUIRED");
    check(
        &format!("{waits} | 2s submit j1 sent=0s"),
        "j1 APPROVAL_REQUIRED",
    );
    check(
        &format!("{waits} | 9s submit j1 labels=approval_granted:true"),
        "j1 PENDING",
    );
    check(
        &format!(
            "{waits} | 9s submit j1 | 10s told j1 APPROVAL_REQUIRED told=1s | 11s dispatch j1 w1"
        ),
        "j1 DISPATCHED w1",
    );
}

#[test]
fn an_empty_field_never_overwrites_a_known_one() {
    let script = "0s submit j1 topic=job.a tenant=acme trace=t1 undo=job.undo | 1s dispatch j1 \
                  | 2s succeed j1 w1 trace=t9 result=redis://res:j1 | 3s dlq j1 SUCCEEDED trace=j1";
    let state = script::run(script).expect("a script");
    let job = state.model.jobs.get(&JobId::from("j1")).expect("the job");
    assert_eq!((job.topic(), job.tenant()), (Some("job.a"), Some("acme")));
    assert_eq!(job.trace.as_ref().map(|it| it.as_str()), Some("t1"));
    let result = job.result.as_ref().expect("a result");
    assert_eq!(result.result_ptr.as_deref(), Some("redis://res:j1"));
    let undo = job
        .request
        .as_ref()
        .and_then(|it| it.undo.as_ref())
        .expect("an undo");
    assert_eq!(
        (&*undo.topic, undo.idempotency_key.as_deref()),
        ("job.undo", Some("j1/undo"))
    );
}

#[test]
fn the_trace_is_the_requests_else_the_results() {
    let trace = |script: &str| {
        let state = script::run(script).expect("a script");
        let job = state.model.jobs.by_birth().next().expect("a job");
        job.trace.as_ref().map(|it| it.to_string())
    };
    assert_eq!(trace("0s progress j1 1% trace=t0").as_deref(), None);
    assert_eq!(
        trace("0s cancel j1 trace=t0 | 1s dlq j1 FAILED trace=j1").as_deref(),
        None
    );
    assert_eq!(
        trace("0s progress j1 1% trace=t0 | 1s succeed j1 w1 trace=t2").as_deref(),
        Some("t2")
    );
    assert_eq!(
        trace("1s succeed j1 w1 trace=t2 | 2s submit j1 sent=0s trace=t1").as_deref(),
        Some("t1")
    );
}

#[test]
fn the_worker_is_the_results_unless_it_is_the_plane_itself() {
    check(
        "0s dispatch j1 w1 | 1s cancelled j1 api-gateway",
        "j1 CANCELLED w1",
    );
    check("0s submit j1 | 1s progress j1 5% by=w7", "j1 RUNNING w7 5%");
    check(
        "0s dispatch j1 w1 | 1s progress j1 5% by=w7 | 2s succeed j1 w8",
        "j1 SUCCEEDED w8 5%",
    );
}

#[test]
fn a_dead_letter_never_speaks_over_a_result() {
    check(
        "0s dispatch j1 w1 | 1s fatal j1 w1 code=boom | 2s dlq j1 FAILED code=dispatch_failed",
        "j1 FAILED w1 boom",
    );
    check(
        "0s submit j1 | 1s dlq j1 DENIED code=safety_denied",
        "j1 DENIED safety_denied",
    );
}

#[test]
fn a_stall_begins_at_three_usual_steps_and_ends_with_a_move() {
    let steps = "0s dispatch j1 w1 | 1s progress j1 1% | 21s progress j1 2% | 41s progress j1 3%";
    check(&format!("{steps} | 100s tick"), "j1 RUNNING w1 3%");
    check(&format!("{steps} | 101s tick"), "j1 RUNNING w1 3% stalled");
    check(
        &format!("{steps} | 101s tick | 102s progress j1 4%"),
        "j1 RUNNING w1 4%",
    );
    check(
        &format!("{steps} | 101s tick | 102s progress j1 3%"),
        "j1 RUNNING w1 3% stalled",
    );
    check("0s dispatch j1 w1 | 600s tick", "j1 DISPATCHED w1");
}

#[test]
fn how_often_the_timer_ticks_changes_nothing() {
    let steps = "0s dispatch j1 w1 | 1s progress j1 1% | 2s progress j1 2%";
    let ticks: String = (3..=40).map(|s| format!(" | {s}s tick")).collect();
    let often = script::run(&format!("{steps}{ticks}")).expect("a script");
    let seldom = script::run(&format!("{steps} | 40s tick")).expect("a script");
    assert_eq!(often, seldom);
}

#[test]
fn jobs_that_need_attention_come_first() {
    check_order(
        "0s submit p | 1s dispatch d w1 | 2s progress r 1% | 3s succeed e1 w1 | 4s succeed e2 w1 \
         | 5s told a APPROVAL_REQUIRED | 6s retryable t w1 | 7s cancel c",
        "a p t r d c e2 e1",
    );
}

#[track_caller]
fn check_order(script: &str, expected: &str) {
    let state = script::run(script).expect("a script");
    let ids: Vec<String> = state
        .model
        .jobs
        .by_attention()
        .map(|job| job.id.to_string())
        .collect();
    assert_eq!(ids.join(" "), expected);
    consistent(&state);
}

/// The steps of one job's life, as their sender sent them.
const LIFE: [&str; 9] = [
    "submit j1 sent=0s topic=job.a trace=t1",
    "dispatch j1 w1 sent=1s",
    "progress j1 10% by=w1 sent=2s message=one",
    "progress j1 40% by=w1 sent=3s message=two",
    "retryable j1 w1 sent=4s code=busy",
    "dispatch j1 w2 sent=6s",
    "progress j1 20% by=w2 sent=7s message=three",
    "progress j1 90% by=w2 sent=8s message=four",
    "succeed j1 w2 sent=9s result=redis://res:j1",
];

fn play(order: &[usize]) -> State {
    let mut state = State::default();
    let mut effects = EffectQueue::new();
    let script: Vec<String> = order
        .iter()
        .enumerate()
        .map(|(n, step)| format!("{}s {}", 20 + n, LIFE[*step]))
        .collect();
    for event in script::events(&script.join("|")).expect("a script") {
        state.step(&event, &mut effects);
    }
    state
}

proptest! {
    #[test]
    fn packets_in_any_order_end_in_the_end_and_never_go_back(order in Just((0..LIFE.len()).collect::<Vec<_>>()).prop_shuffle()) {
        let mut ended = false;
        for upto in 1..=order.len() {
            let state = play(&order[..upto]);
            let job = state.model.jobs.by_birth().next().expect("a job");
            prop_assert!(!ended || job.is_ended(), "an ended job came back after {:?}", &order[..upto]);
            ended = job.is_ended();
        }
        let state = play(&order);
        let job = state.model.jobs.by_birth().next().expect("a job");
        prop_assert_eq!(job.state, Some(super::JobState::Succeeded));
        prop_assert_eq!(job.topic(), Some("job.a"));
        prop_assert_eq!(job.worker().map(|it| it.as_str()), Some("w2"));
        consistent(&state);
    }

    #[test]
    fn a_packet_applied_twice_equals_once(upto in 1..=LIFE.len(), again in prop::collection::vec(0..LIFE.len(), 0..6)) {
        let once: Vec<usize> = (0..upto).collect();
        let mut twice = once.clone();
        twice.extend(again.into_iter().filter(|step| *step < upto));
        let (once, twice) = (play(&once), play(&twice));
        let (a, b) = (once.model.jobs.by_birth().next(), twice.model.jobs.by_birth().next());
        prop_assert_eq!(a, b);
    }

    #[test]
    fn what_was_heard_never_moves_a_job_back_within_its_attempt(order in prop::collection::vec(0..LIFE.len(), 1..20)) {
        let mut last = (0, 0);
        for upto in 1..=order.len() {
            let state = play(&order[..upto]);
            let job = state.model.jobs.by_birth().next().expect("a job");
            let place = (job.attempt, job.state.map_or(0, super::JobState::rank));
            prop_assert!(place >= last, "{:?}", &order[..upto]);
            last = place;
        }
    }
}

#[test]
fn jobs_with_the_same_labels_share_them() {
    let script = "0s submit a topic=job.x labels=app:shop,zone:b | 1s submit b topic=job.x labels=zone:b,app:shop \
                  | 2s submit c topic=job.x labels=app:shop,zone:c";
    let state = script::run(script).expect("a script");
    let labels = |id: &str| {
        let job = state.model.jobs.get(&JobId::from(id)).expect("a job");
        let request = job.request.as_ref().expect("a request");
        std::sync::Arc::clone(&request.labels)
    };
    assert!(std::sync::Arc::ptr_eq(&labels("a"), &labels("b")));
    assert_ne!(labels("a"), labels("c"));
}

#[test]
fn a_sender_whose_clock_is_ahead_does_not_hide_what_the_plane_says() {
    for ahead in ["0s", "20s", "120s"] {
        let told = "told=2s decision=REQUIRE_APPROVAL";
        check(
            &format!("1s submit a topic=job.x sent={ahead} | 3s told a APPROVAL_REQUIRED {told}"),
            "a APPROVAL_REQUIRED",
        );
    }
}

#[test]
fn the_name_of_a_job_is_no_trace_that_its_end_teaches() {
    for (ends, trace) in [
        ("1s cancelled j1 api-gateway trace=j1", None),
        ("1s cancelled j1 api-gateway trace=t9", Some("t9")),
        (
            "0s submit j1 trace=j1 | 1s cancelled j1 api-gateway trace=j1",
            Some("j1"),
        ),
    ] {
        let state = script::run(ends).expect("a script");
        let job = state.model.jobs.get(&JobId::from("j1")).expect("the job");
        assert_eq!(job.trace.as_ref().map(|it| it.as_str()), trace, "{ends}");
    }
}
