use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::*;
use crate::control_plane::kernel::Decision;
use crate::control_plane::ledger::{ApprovalStatus, Job, JobState, JobsQuery, UndoState};
use crate::wire::decode;
use crate::wire::packet::{Heartbeat, JobRequest, JobResult, JobStatus};

/// Five minutes of the demo, played once for all who only look.
struct Story {
    end: Simulation,
    packets: Vec<(f64, Subject, Packet)>,
}

static STORY: LazyLock<Story> = LazyLock::new(|| {
    let mut end = played(1, 300);
    Story {
        packets: packets(&mut end),
        end,
    }
});

fn played(seed: u64, seconds: u64) -> Simulation {
    let mut simulation = Simulation::demo(seed);
    simulation.run_until(Elapsed::from_secs(seconds));
    assert_eq!(simulation.refused(), [""; 0]);
    simulation
}

/// Seconds since the start, the subject and the packet.
fn packets(simulation: &mut Simulation) -> Vec<(f64, Subject, Packet)> {
    let heard = simulation.take_heard();
    let read = heard.iter().map(|heard| {
        let seconds = heard.at.since(START).as_millis() as f64 / 1_000.0;
        let packet = decode::decode(&heard.delivery).expect("it is a packet");
        // A dead letter names no worker, as in every CAP deployment.
        if heard.delivery.subject.as_str() != wire::DLQ {
            assert_eq!(packet.warnings, [], "{packet:?}");
        }
        (seconds, heard.delivery.subject.clone(), packet)
    });
    read.collect()
}

fn jobs<'a>(simulation: &'a Simulation, topic: &str) -> Vec<&'a Job> {
    let all = simulation.ledger().jobs(JobsQuery::default());
    let mut jobs: Vec<&Job> = all.filter(|job| job.request.topic == topic).collect();
    jobs.sort_by_key(|job| job.submitted_at);
    jobs
}

fn heartbeats(packets: &[(f64, Subject, Packet)], worker: &str) -> Vec<(f64, Heartbeat)> {
    let beats = packets.iter().filter_map(|(at, _, packet)| {
        let Body::Heartbeat(beat) = &packet.body else {
            return None;
        };
        (beat.worker_id.as_str() == worker).then(|| (*at, (**beat).clone()))
    });
    beats.collect()
}

fn results(packets: &[(f64, Subject, Packet)]) -> Vec<(f64, JobResult)> {
    let results = packets.iter().filter_map(|(at, subject, packet)| {
        let Body::JobResult(result) = &packet.body else {
            return None;
        };
        (subject.as_str() == wire::RESULT).then(|| (*at, (**result).clone()))
    });
    results.collect()
}

fn text_of(simulation: &Simulation, request: &JobRequest) -> String {
    let key = request.context_ptr.trim_start_matches("redis://");
    let payload = simulation.payload(key).expect("it is stored");
    String::from_utf8(payload.to_vec()).expect("it is text")
}

#[test]
fn one_seed_is_heard_byte_for_byte_the_same_however_it_is_stepped_and_another_differs() {
    let at_once = played(7, 60).take_heard();
    let mut stepped = Simulation::demo(7);
    let mut heard = Vec::new();
    for tick in 0..=600 {
        stepped.run_until(Elapsed::from_millis(tick * 100));
        heard.extend(stepped.take_heard());
    }
    assert!(at_once.len() > 1_500, "{}", at_once.len());
    assert!(at_once == heard);
    assert!(at_once != played(8, 60).take_heard());
}

#[test]
fn within_twenty_seconds_there_is_something_of_every_kind() {
    for seed in 1..=3 {
        let mut simulation = played(seed, 20);
        let decisions: BTreeSet<Decision> = simulation
            .ledger()
            .jobs(JobsQuery::default())
            .filter_map(|job| job.decision()?.decision)
            .collect();
        assert_eq!(decisions.len(), 5, "{decisions:?}");
        let packets = packets(&mut simulation);
        let statuses: BTreeSet<JobStatus> = results(&packets)
            .iter()
            .map(|(_, result)| result.status)
            .collect();
        for status in [
            JobStatus::Succeeded,
            JobStatus::FailedRetryable,
            JobStatus::FailedFatal,
            JobStatus::Cancelled,
        ] {
            assert!(statuses.contains(&status), "{status:?} of {statuses:?}");
        }
        let subjects: BTreeSet<&str> = packets
            .iter()
            .map(|(_, subject, _)| subject.as_str())
            .collect();
        for subject in [
            wire::ALERT,
            wire::WORKFLOW_EVENT,
            wire::CONFIG_CHANGED,
            wire::DLQ,
            wire::CANCEL,
            wire::HANDSHAKE,
        ] {
            assert!(subjects.contains(subject), "{subject}");
        }
        assert!(simulation.ledger().waiting_approvals().count() >= 2);
    }
}

#[test]
fn in_five_minutes_jobs_end_in_every_way_and_most_end_well() {
    let ledger = STORY.end.ledger();
    let counts = ledger.counts();
    let of = |state| counts.get(&state).copied().unwrap_or(0);
    assert!(of(JobState::Succeeded) > 500, "{counts:?}");
    for state in [
        JobState::Failed,
        JobState::Cancelled,
        JobState::Timeout,
        JobState::Denied,
    ] {
        assert!(of(state) >= 5, "{counts:?}");
    }
    let bad = of(JobState::Failed) + of(JobState::Timeout) + of(JobState::Denied);
    assert!(bad * 6 < of(JobState::Succeeded), "{counts:?}");
    assert!(of(JobState::Running) > 3, "{counts:?}");
    let retried = ledger
        .jobs(JobsQuery::default())
        .filter(|job| job.attempts > 1 && job.state == JobState::Succeeded)
        .count();
    assert!(retried >= 3, "{retried}");
}

/// The seconds that each waiting approval has left at `second`, least first.
fn seconds_left(second: u64) -> Vec<u64> {
    let simulation = played(1, second);
    let now = START.plus(Elapsed::from_secs(second));
    let left = simulation.ledger().waiting_approvals().map(|job| {
        let budget = job.request.budget.as_ref().expect("it has a deadline");
        let limit = u64::try_from(budget.deadline_ms).expect("it is positive") / 1_000;
        limit.saturating_sub(now.since(job.submitted_at).as_secs())
    });
    let mut left: Vec<u64> = left.collect();
    left.sort_unstable();
    left
}

#[test]
fn most_approvals_of_the_demo_have_time_and_few_are_near_their_deadline() {
    // Nothing to hurry for until a message comes that cannot wait.
    for second in [20, 60] {
        let left = seconds_left(second);
        assert!(left.iter().all(|left| *left >= 300), "{second}: {left:?}");
    }
    // Every band of the queue: under 5 minutes, under 15 and beyond.
    for second in [90, 120, 150, 200] {
        let left = seconds_left(second);
        let near = left.iter().filter(|left| **left < 300).count();
        let soon = left
            .iter()
            .filter(|left| (300..900).contains(*left))
            .count();
        assert!((1..=2).contains(&near), "{second}: {left:?}");
        assert!(soon >= 1 && near + soon < left.len(), "{second}: {left:?}");
    }
}

#[test]
fn approvals_come_slowly_and_never_are_there_more_than_a_person_can_look_at() {
    let mut simulation = Simulation::demo(1);
    let mut most = 0;
    for second in (0..1_800).step_by(5) {
        simulation.run_until(Elapsed::from_secs(second));
        simulation.take_heard();
        most = most.max(simulation.ledger().waiting_approvals().count());
    }
    assert!((8..=11).contains(&most), "{most}");
    let mut asked: Vec<u64> = simulation
        .ledger()
        .jobs(JobsQuery::default())
        .filter_map(|job| Some(job.approval.as_ref()?.requested_at.since(START).as_secs()))
        .filter(|at| *at < 300)
        .collect();
    asked.sort_unstable();
    assert!((9..=14).contains(&asked.len()), "{asked:?}");
    assert!(asked[0] <= 1, "{asked:?}");
    assert!(
        asked.windows(2).all(|pair| pair[1] - pair[0] <= 40),
        "{asked:?}"
    );
}

#[test]
fn approvals_differ_in_risk_and_undo() {
    let all = STORY.end.ledger().jobs(JobsQuery::default());
    let held: Vec<&Job> = all.filter(|job| job.approval.is_some()).collect();
    let undoable = held.iter().filter(|job| job.request.compensation.is_some());
    let undoable = undoable.count();
    assert!(undoable >= 2 && undoable < held.len(), "{undoable}");
    let risks: BTreeSet<String> = held
        .iter()
        .flat_map(|job| job.request.meta.clone().unwrap_or_default().risk_tags)
        .collect();
    for risk in ["prod", "finance", "code", "secrets", "irreversible"] {
        assert!(risks.contains(risk), "{risk} of {risks:?}");
    }
}

#[test]
fn payloads_are_long_hostile_and_secret_once_each() {
    let payload = |topic| text_of(&STORY.end, &jobs(&STORY.end, topic)[0].request);
    let manifest = payload("job.ops.apply_manifest");
    assert!(
        manifest.lines().count() > 200,
        "{}",
        manifest.lines().count()
    );
    let message = payload("job.mcp-bridge.write.post_message");
    for hidden in ['\u{1b}', '\u{202e}', '\u{200b}', '\u{9b}', '\u{e0041}'] {
        assert!(message.contains(hidden), "{hidden:?}");
    }
    assert!(payload("job.ops.call_webhook").contains("Bearer "));
}

#[test]
fn the_policy_moves_while_the_first_approval_waits_and_only_its_yes_is_refused() {
    let mut simulation = played(1, 5);
    assert_eq!(simulation.snapshots().len(), 1);
    let first = jobs(&simulation, "job.ops.restart")[0].id.clone();
    simulation.run_until(Elapsed::from_secs(20));
    assert_eq!(simulation.snapshots().len(), 2);
    let second = jobs(&simulation, "job.mcp-bridge.write.update_ticket")[0]
        .id
        .clone();
    let refused = simulation.approve(&first, "op", "").expect_err("it moved");
    assert_eq!(refused.code(), "approval_stale_snapshot");
    simulation
        .approve(&second, "op", "fine")
        .expect("it stands");
    simulation.run_until(Elapsed::from_secs(30));
    let job = simulation.ledger().job(&second).expect("it is known");
    assert_eq!(job.state, JobState::Succeeded);
    simulation.reject(&first, "op", "too late").expect("a no");
    let job = simulation.ledger().job(&first).expect("it is known");
    assert_eq!(job.state, JobState::Denied);
    let approval = job.approval.as_ref().expect("it was asked");
    assert_eq!(approval.status, ApprovalStatus::Rejected);
}

#[test]
fn the_long_batch_job_shows_real_progress_for_four_minutes() {
    let reindex = jobs(&STORY.end, "job.batch.reindex")[0];
    assert_eq!(reindex.state, JobState::Succeeded);
    let percents: Vec<(f64, i32)> = STORY
        .packets
        .iter()
        .filter_map(|(at, _, packet)| {
            let Body::JobProgress(progress) = &packet.body else {
                return None;
            };
            (progress.job_id == reindex.id).then_some((*at, progress.percent))
        })
        .collect();
    assert!(percents.len() > 40, "{percents:?}");
    assert!(percents.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    let lasted = percents[percents.len() - 1].0 - percents[0].0;
    assert!((230.0..250.0).contains(&lasted), "{lasted}");
}

#[test]
fn a_worker_dies_with_its_job_and_comes_back() {
    let lost = jobs(&STORY.end, "job.crawl.sitemap")[0];
    assert_eq!(lost.state, JobState::Timeout);
    let beats = heartbeats(&STORY.packets, "w-crawl-02");
    let gap = beats
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .fold(0.0, f64::max);
    assert!((54.0..58.0).contains(&gap), "{gap}");
    assert!(beats.last().is_some_and(|(at, _)| *at > 297.0));
}

#[test]
fn a_pool_fills_up_and_drains_again() {
    let mut simulation = Simulation::demo(1);
    let mut queued = Vec::new();
    for second in (0..=240).step_by(5) {
        simulation.run_until(Elapsed::from_secs(second));
        let pools = simulation.ledger().pools();
        let gpu = pools.iter().find(|pool| pool.name.as_str() == "gpu");
        queued.push((second, gpu.map_or(0, |pool| pool.queued)));
    }
    let most = queued.iter().map(|(_, jobs)| *jobs).max();
    assert!(most >= Some(8), "{queued:?}");
    let quiet = |from: u64, to: u64| {
        let within = queued.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, jobs)| *jobs).max()
    };
    assert_eq!(quiet(0, 50), Some(0), "{queued:?}");
    assert_eq!(quiet(200, 241), Some(0), "{queued:?}");
}

#[test]
fn a_fatal_failure_is_rolled_back_its_own_undo_first_then_the_last_success_first() {
    let ledger = STORY.end.ledger();
    let undone: Vec<String> = ledger
        .rollbacks()
        .filter(|undo| undo.workflow_id.ends_with("-001"))
        .map(|undo| {
            assert_eq!(undo.state, UndoState::Submitted);
            assert_eq!(undo.idempotency_key, format!("{}/undo", undo.undoes));
            let job = undo.job_id.as_ref().and_then(|id| ledger.job(id));
            assert_eq!(job.map(|job| job.state), Some(JobState::Succeeded));
            undo.topic.clone()
        })
        .collect();
    assert_eq!(
        undone,
        [
            "job.ops.undo_dns",
            "job.ops.undo_certificate",
            "job.ops.undo_database",
            "job.ops.undo_namespace"
        ]
    );
    let fatal = results(&STORY.packets);
    let fatal = fatal
        .iter()
        .find(|(_, result)| result.status == JobStatus::FailedFatal);
    let code = fatal.map(|(_, result)| result.error_code.as_str());
    assert_eq!(code, Some("ERROR_CODE_JOB_TIMEOUT"));
}

#[test]
fn one_cancel_is_honoured_and_one_is_ignored_until_a_late_success() {
    let ignored = jobs(&STORY.end, "job.legacy.export")[0];
    assert_eq!(ignored.state, JobState::Cancelled);
    let results = results(&STORY.packets);
    let by_worker = |id: &JobId| -> Vec<(u64, JobStatus)> {
        results
            .iter()
            .filter(|(_, result)| result.job_id == *id)
            .filter(|(_, result)| result.worker_id.as_str().starts_with("w-"))
            .map(|(at, result)| (at.round() as u64, result.status))
            .collect()
    };
    assert_eq!(by_worker(&ignored.id), [(52, JobStatus::Succeeded)]);
    let honoured = jobs(&STORY.end, "job.batch.embed")
        .into_iter()
        .find(|job| job.state == JobState::Cancelled)
        .map(|job| job.id.clone());
    let honoured = honoured.expect("one is taken back");
    assert_eq!(by_worker(&honoured), [(15, JobStatus::Cancelled)]);
}

#[test]
fn workers_stall_fall_silent_drain_and_lie() {
    let packets = &STORY.packets;
    let silent = heartbeats(packets, "w-crawl-04");
    assert!(silent.windows(2).any(|pair| pair[1].0 - pair[0].0 > 12.0));
    let draining = heartbeats(packets, "w-ops-03");
    assert!(draining.iter().any(|(at, beat)| {
        *at > 60.0 && beat.labels.contains_key("draining") && beat.active_jobs == 0
    }));
    let lying = heartbeats(packets, "w-mcp-02");
    assert!(
        lying
            .iter()
            .any(|(_, beat)| beat.active_jobs > beat.max_parallel_jobs)
    );
    let stalled: BTreeSet<i32> = heartbeats(packets, "w-mcp-04")
        .iter()
        .filter(|(at, beat)| (115.0..164.0).contains(at) && beat.active_jobs > 0)
        .map(|(_, beat)| beat.progress_pct)
        .collect();
    assert_eq!(stalled.len(), 1, "{stalled:?}");
}

#[test]
fn a_draining_worker_gets_no_new_job() {
    let to_drained = STORY
        .packets
        .iter()
        .filter(|(at, subject, _)| {
            (54.0..95.0).contains(at) && subject.as_str() == "worker.w-ops-03.jobs"
        })
        .count();
    assert_eq!(to_drained, 0);
}

#[test]
fn the_other_scenarios_play_too() {
    for name in Scenario::BUILT_IN {
        let scenario = Scenario::built_in(name).expect("it is built in");
        let policy = include_str!("../../../demo/policy.yaml");
        let mut simulation = Simulation::new(Arc::new(scenario), policy, 1).expect("a good policy");
        simulation.run_until(Elapsed::from_secs(120));
        assert_eq!(simulation.refused(), [""; 0]);
        let counts = simulation.ledger().counts();
        assert!(counts[&JobState::Succeeded] > 3, "{name} {counts:?}");
    }
}

#[test]
fn every_topic_of_the_demo_and_of_its_undos_has_a_pool() {
    let scenario = Scenario::built_in("default").expect("it is built in");
    let topics = scenario.topics();
    for (name, job) in &scenario.jobs {
        let mut wanted = vec![&job.topic];
        wanted.extend(job.undo.as_ref().map(|undo| &undo.topic));
        for topic in wanted {
            let mapped = topics.iter().any(|(pattern, _)| {
                topic == pattern
                    || pattern
                        .strip_suffix('*')
                        .is_some_and(|stem| topic.starts_with(stem))
            });
            assert!(mapped, "{name}: {topic}");
        }
    }
}

#[test]
fn the_gateway_answers_of_a_simulation_tell_the_same_story() {
    let simulation = &STORY.end;
    let approvals = simulation.approvals_answer();
    let items = approvals["items"].as_array().expect("a list");
    let waiting = items
        .iter()
        .filter(|item| item["approval_required"] == true);
    assert_eq!(
        waiting.count(),
        simulation.ledger().waiting_approvals().count()
    );
    let held = jobs(simulation, "job.ops.apply_manifest")[0];
    let detail = simulation.job_answer(&held.id).expect("it is known");
    assert_eq!(detail["topic"], "job.ops.apply_manifest");
    let decisions = simulation.decisions_answer(&held.id).expect("it is known");
    assert_eq!(decisions[0]["rule_id"], "approval-prod-write");
    assert_eq!(simulation.job_answer(&JobId::from("nobody")), None);
    let jobs = simulation.jobs_answer(20);
    assert_eq!(jobs["items"].as_array().map(Vec::len), Some(20));
    let workers = simulation.workers_answer();
    assert_eq!(workers["items"].as_array().map(Vec::len), Some(27));
    let pools = simulation.pools_answer();
    assert_eq!(pools.as_array().map(Vec::len), Some(7));
    let snapshots = simulation.snapshots_answer();
    assert_eq!(snapshots["snapshots"].as_array().map(Vec::len), Some(2));
    let log = simulation.decision_log_answer(30);
    assert_eq!(log["items"].as_array().map(Vec::len), Some(30));
    let rollbacks = simulation.rollbacks_answer(10);
    let orbit = &rollbacks["items"][0];
    assert!(
        orbit["steps"].as_array().is_some_and(|it| it.len() > 1),
        "{orbit}"
    );
    let letters = simulation.dead_letters_answer(500);
    let ended = letters["items"].as_array().expect("a list").iter();
    let ended = ended.filter(|it| it["reason_code"] == "approval_invalidated");
    // The demo's policy is edited at six seconds, while one approval waits.
    assert_eq!(ended.count(), 1);
}
