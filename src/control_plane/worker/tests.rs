use std::fmt::Write as _;

use super::*;
use crate::bus::{Delivery, Encoding};
use crate::control_plane::scenario::{SCRIPT_ENV, Script, format};

const SCENARIO: &str = r#"
name = "t"
[[pool]]
name = "a"
workers = 1
slots = 2
topics = ["job.a.*", "job.a"]
gpu = [10, 50]
[[pool]]
name = "b"
workers = 1
slots = 1
[job.export]
topic = "job.a.export"
seconds = 6
steps = ["reading", "writing {{percent}}%"]
error = { code = "ERROR_CODE_JOB_PERMISSION_DENIED", message = "no grant" }
"#;

/// A fleet with its clock and what it said so far.
struct Rig {
    fleet: Fleet,
    now: Timestamp,
    heard: Vec<(Timestamp, Out)>,
}

fn rig() -> Rig {
    let scenario = format::parse(SCENARIO, "t.toml", &|_| {
        Err(std::io::ErrorKind::NotFound.into())
    });
    let start = Timestamp::from_millis(0);
    Rig {
        fleet: Fleet::new(Arc::new(scenario.expect("good test data")), 1, start),
        now: start,
        heard: Vec::new(),
    }
}

impl Rig {
    fn until(&mut self, seconds: f64) -> &mut Self {
        let end = Timestamp::from_millis((seconds * 1_000.0) as i64);
        while let Some(at) = self.fleet.next_at().filter(|at| *at <= end) {
            self.now = at;
            let out = self.fleet.due(at);
            self.note(out);
        }
        self.now = end;
        self
    }

    fn note(&mut self, out: Vec<Out>) {
        let now = self.now;
        self.heard.extend(out.into_iter().map(|out| (now, out)));
    }

    fn send(&mut self, worker: &str, request: JobRequest) -> &mut Self {
        let packet = Packet::new(
            TraceId::from("trace-1"),
            SenderId::from(wire::SENDER_SCHEDULER),
            self.now,
            Body::JobRequest(Box::new(request)),
        );
        let out = self
            .fleet
            .dispatched(&WorkerId::from(worker), &packet, self.now);
        self.note(out);
        self
    }

    fn cancel(&mut self, job: &str) -> &mut Self {
        let cancel = JobCancel {
            job_id: JobId::from(job),
            reason: "not needed".to_owned(),
            requested_by: "op".to_owned(),
            ..JobCancel::default()
        };
        let out = self.fleet.cancelled(&cancel, self.now);
        self.note(out);
        self
    }

    fn befall(&mut self, worker: &str, change: Change) -> &mut Self {
        let incident = WorkerIncident {
            workers: [WorkerId::from(worker)].into(),
            change,
        };
        let out = self.fleet.befall(&incident, self.now);
        self.note(out);
        self
    }

    /// Progress, results and stored keys, a line each.
    #[track_caller]
    fn says(&self, expected: &str) {
        let mut lines = String::new();
        for (at, out) in &self.heard {
            let seconds = at.as_millis() as f64 / 1_000.0;
            match out {
                Out::Store { key, .. } => {
                    writeln!(lines, "{seconds:.1} store {key}").expect("good test data")
                }
                Out::Publish { packet, .. } => {
                    if let Body::JobProgress(progress) = &packet.body {
                        writeln!(
                            lines,
                            "{seconds:.1} {} {}% {}",
                            progress.job_id, progress.percent, progress.message
                        )
                        .expect("good test data");
                    }
                    if let Body::JobResult(result) = &packet.body {
                        writeln!(
                            lines,
                            "{seconds:.1} {} {:?} {} {}",
                            result.job_id, result.status, result.worker_id, result.error_code
                        )
                        .expect("good test data");
                    }
                }
            }
        }
        let expected: Vec<&str> = expected.lines().map(str::trim).collect();
        let lines: Vec<&str> = lines.lines().map(str::trim_end).collect();
        assert_eq!(lines, expected, "{lines:#?}");
    }

    fn beats(&self, worker: &str) -> Vec<(Timestamp, Heartbeat)> {
        let beats = self.heard.iter().filter_map(|(at, out)| {
            let Body::Heartbeat(beat) = body(out)? else {
                return None;
            };
            (beat.worker_id.as_str() == worker).then(|| (*at, (**beat).clone()))
        });
        beats.collect()
    }

    /// The results alone.
    fn results(&mut self) -> &Self {
        self.heard
            .retain(|(_, out)| matches!(body(out), Some(Body::JobResult(_))));
        self
    }
}

fn body(out: &Out) -> Option<&Body> {
    match out {
        Out::Publish { packet, .. } => Some(&packet.body),
        Out::Store { .. } => None,
    }
}

fn own(job: &str, labels: &[(&str, &str)]) -> JobRequest {
    JobRequest {
        job_id: JobId::from(job),
        topic: "job.a.own".to_owned(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..JobRequest::default()
    }
}

fn scripted(job: &str, outcome: &str) -> JobRequest {
    let script = Script {
        job: "export".to_owned(),
        ms: 6_000,
        outcome: outcome.to_owned(),
    };
    let script = serde_json::to_string(&script).expect("good test data");
    JobRequest {
        job_id: JobId::from(job),
        topic: "job.a.export".to_owned(),
        env: [(SCRIPT_ENV.to_owned(), script)].into(),
        ..JobRequest::default()
    }
}

#[test]
fn a_scripted_job_reports_its_steps_and_stores_its_result_before_it_says_so() {
    rig()
        .send("w-a-01", scripted("j", "succeeded"))
        .until(20.0)
        .says(
            "0.0 j 0% reading
         1.5 j 25% reading
         3.0 j 50% writing 50%
         4.5 j 75% writing 75%
         6.0 j 100% writing 100%
         6.0 store res:j
         6.0 j Succeeded w-a-01",
        );
}

#[test]
fn a_job_that_fails_stops_short_and_gives_its_cause() {
    rig()
        .send("w-a-01", scripted("j", "failed_fatal"))
        .until(20.0)
        .says(
            "0.0 j 0% reading
         1.5 j 17% reading
         3.0 j 35% writing 35%
         4.5 j 52% writing 52%
         6.0 j FailedFatal w-a-01 ERROR_CODE_JOB_PERMISSION_DENIED",
        );
}

#[test]
fn a_retryable_failure_goes_well_the_second_time_but_a_repeated_dispatch_is_no_second_run() {
    let mut rig = rig();
    rig.send("w-a-01", scripted("j", "failed_retryable"))
        .send("w-a-01", scripted("j", "failed_retryable"))
        .until(7.0)
        .send("w-b-01", scripted("j", "failed_retryable"))
        .until(20.0)
        .send("w-a-01", scripted("j", "failed_retryable"))
        .until(40.0);
    rig.results().says(
        "6.0 j FailedRetryable w-a-01 ERROR_CODE_JOB_PERMISSION_DENIED
         13.0 j Succeeded w-b-01",
    );
}

#[test]
fn somebodys_own_job_succeeds_in_three_to_ten_seconds_unless_its_labels_say_otherwise() {
    for n in 0..40 {
        let mut rig = rig();
        rig.send("w-a-01", own(&format!("own-{n}"), &[]))
            .until(60.0);
        let end = rig.results().heard.first().and_then(|(at, out)| {
            let Body::JobResult(result) = body(out)? else {
                return None;
            };
            Some((at.as_millis(), result.status))
        });
        let (ms, status) = end.expect("it ends");
        assert_eq!(status, JobStatus::Succeeded);
        assert!((3_000..=10_000).contains(&ms), "{ms}");
    }
    let labels = [
        ("demo.outcome", "failed_fatal"),
        ("demo.seconds", "1.5"),
        ("demo.error_code", "MINE"),
    ];
    rig().send("w-a-01", own("j", &labels)).until(60.0).says(
        "0.0 j 0% reading context
         0.8 j 35% working
         1.5 j FailedFatal w-a-01 MINE",
    );
    let labels = [("demo.outcome", "failed_fatal"), ("demo.seconds", "0")];
    rig().send("w-a-01", own("j", &labels)).until(60.0).says(
        "0.0 j 0% reading context
         0.0 j 35% working
         0.0 j FailedFatal w-a-01 ERROR_CODE_JOB_TIMEOUT",
    );
    let labels = [("demo.outcome", "hang"), ("demo.seconds", "3")];
    rig().send("w-a-01", own("j", &labels)).until(600.0).says(
        "0.0 j 0% reading context
         1.5 j 20% working",
    );
}

#[test]
fn what_undoes_a_job_does_not_inherit_its_fate() {
    let mut undo = scripted("comp-1", "failed_fatal");
    undo.labels
        .insert("saga_compensation".to_owned(), "true".to_owned());
    let mut rig = rig();
    rig.send("w-a-01", undo).until(20.0);
    let ends = rig.results().heard.first().and_then(|(_, out)| body(out));
    let well =
        matches!(ends, Some(Body::JobResult(result)) if result.status == JobStatus::Succeeded);
    assert!(well, "{ends:?}");
}

#[test]
fn a_cancel_stops_the_job_and_says_so_once() {
    rig()
        .send("w-a-01", scripted("j", "succeeded"))
        .until(2.0)
        .cancel("j")
        .cancel("j")
        .cancel("unknown")
        .until(20.0)
        .says(
            "0.0 j 0% reading
             1.5 j 25% reading
             2.0 j Cancelled w-a-01 cancelled",
        );
}

#[test]
fn a_worker_that_ignores_cancels_goes_on_but_spares_somebodys_own_job() {
    let mut rig = rig();
    rig.befall("w-a-01", Change::Begins(Mishap::IgnoreCancels))
        .send("w-a-01", scripted("theirs", "succeeded"))
        .send("w-a-01", own("mine", &[("demo.seconds", "9")]))
        .until(2.0)
        .cancel("theirs")
        .cancel("mine")
        .until(20.0);
    rig.results().says(
        "2.0 mine Cancelled w-a-01 cancelled
         6.0 theirs Succeeded w-a-01",
    );
}

#[test]
fn a_dead_worker_is_silent_and_its_scripted_jobs_are_lost_until_it_is_back() {
    let mut rig = rig();
    rig.send("w-a-01", scripted("lost", "succeeded"))
        .send("w-a-01", own("mine", &[("demo.seconds", "3")]))
        .until(2.5)
        .befall("w-a-01", Change::Begins(Mishap::Die))
        .send("w-a-01", scripted("unheard", "succeeded"))
        .until(11.0)
        .befall("w-a-01", Change::Ends(Mishap::Die))
        .until(12.5);
    let beats: Vec<(i64, i32)> = rig
        .beats("w-a-01")
        .iter()
        .map(|(at, beat)| (at.as_millis(), beat.active_jobs))
        .collect();
    assert_eq!(beats, [(0, 0), (2_000, 2), (11_000, 0)]);
    rig.results().says("3.0 mine Succeeded w-a-01");
}

#[test]
fn a_stalled_worker_beats_on_while_its_work_stands_still_and_then_finishes() {
    let mut rig = rig();
    rig.send("w-a-01", scripted("j", "succeeded"))
        .until(2.0)
        .befall("w-a-01", Change::Begins(Mishap::Stall))
        .until(20.0);
    let percents: Vec<i32> = rig
        .beats("w-a-01")
        .iter()
        .map(|(_, beat)| beat.progress_pct)
        .collect();
    assert_eq!(percents.len(), 11);
    assert!(
        percents[1..].iter().all(|percent| *percent == 25),
        "{percents:?}"
    );
    rig.befall("w-a-01", Change::Ends(Mishap::Stall))
        .until(40.0)
        .says(
            "0.0 j 0% reading
         1.5 j 25% reading
         21.0 j 50% writing 50%
         22.5 j 75% writing 75%
         24.0 j 100% writing 100%
         24.0 store res:j
         24.0 j Succeeded w-a-01",
        );
}

#[test]
fn a_slow_worker_takes_so_many_times_as_long() {
    rig()
        .befall("w-a-01", Change::Begins(Mishap::Slow(4_000)))
        .send("w-a-01", scripted("j", "failed"))
        .until(12.0)
        .befall("w-a-01", Change::Ends(Mishap::Slow(4_000)))
        .until(40.0)
        .says(
            "0.0 j 0% reading
             6.0 j 17% reading
             12.0 j 35% writing 35%
             13.5 j 52% writing 52%
             15.0 j Failed w-a-01 ERROR_CODE_JOB_PERMISSION_DENIED",
        );
}

#[test]
fn a_draining_worker_says_so_refuses_scripted_jobs_and_finishes_what_it_has() {
    let mut rig = rig();
    rig.send("w-a-01", scripted("had", "failed"))
        .until(1.0)
        .befall("w-a-01", Change::Begins(Mishap::Drain))
        .send("w-a-01", scripted("new", "succeeded"))
        .until(8.0);
    let beats = rig.beats("w-a-01");
    let labels = &beats.last().expect("good test data").1.labels;
    assert_eq!(labels["draining"], "true");
    rig.results().says(
        "1.0 new FailedRetryable w-a-01 ERROR_CODE_JOB_RESOURCE_EXHAUSTED
         6.0 had Failed w-a-01 ERROR_CODE_JOB_PERMISSION_DENIED",
    );
}

#[test]
fn heartbeats_come_every_two_seconds_with_honest_counts_unless_the_worker_lies_or_is_silent() {
    let mut rig = rig();
    rig.send("w-a-01", scripted("j", "succeeded"))
        .until(5.0)
        .befall("w-a-01", Change::Begins(Mishap::ClaimJobs(9)))
        .until(7.0)
        .befall("w-a-01", Change::Ends(Mishap::ClaimJobs(9)))
        .befall("w-a-01", Change::Begins(Mishap::Silent))
        .until(15.0)
        .befall("w-a-01", Change::Ends(Mishap::Silent))
        .until(16.0);
    let beats: Vec<(i64, i32)> = rig
        .beats("w-a-01")
        .iter()
        .map(|(at, beat)| (at.as_millis(), beat.active_jobs))
        .collect();
    assert_eq!(
        beats,
        [(0, 0), (2_000, 1), (4_000, 1), (6_000, 9), (15_000, 0)]
    );
    let first = &rig.beats("w-a-01")[0].1;
    assert_eq!(first.max_parallel_jobs, 2);
    assert!((7.0..=13.0).contains(&first.gpu_utilization), "{first:?}");
    let busy = &rig.beats("w-a-01")[1].1;
    assert!((27.0..=33.0).contains(&busy.gpu_utilization), "{busy:?}");
    assert_eq!(rig.beats("w-b-01")[0].1.gpu_utilization, 0.0);
}

#[test]
fn every_packet_of_a_fleet_keeps_the_contract_and_carries_the_trace_of_its_request() {
    let mut rig = rig();
    rig.send("w-a-01", scripted("j", "succeeded"))
        .send("w-a-01", own("k", &[("demo.outcome", "timeout")]))
        .send("w-b-01", own("l", &[]))
        .until(1.0)
        .cancel("l")
        .until(20.0);
    assert!(rig.heard.len() > 20);
    for (at, out) in &rig.heard {
        let Out::Publish { subject, packet } = out else {
            continue;
        };
        assert_eq!(packet.sent_at, Some(*at));
        let payload = wire::encode::encode(subject, packet).expect("good test data");
        let delivery = Delivery {
            subject: subject.clone(),
            payload,
            encoding: Encoding::Proto,
        };
        assert_eq!(
            &wire::decode::decode(&delivery).expect("good test data"),
            packet
        );
        if matches!(packet.body, Body::JobResult(_) | Body::JobProgress(_)) {
            assert_eq!(packet.trace.as_str(), "trace-1");
        }
    }
}

#[test]
fn a_job_for_a_worker_of_another_fleet_is_left_alone() {
    rig().send("w-x-01", own("j", &[])).until(20.0).says("");
}

#[test]
fn one_beat_makes_up_for_a_suspension() {
    let mut rig = rig();
    rig.until(2.0);
    rig.now = Timestamp::from_millis(3_600_000);
    let out = rig.fleet.due(rig.now);
    assert!(out.len() <= 6, "{}", out.len());
}

#[test]
fn the_memory_of_ended_jobs_is_bounded() {
    let mut rig = rig();
    for n in 0..REMEMBERED_JOBS + 100 {
        rig.fleet
            .remember(&JobId::from(format!("j{n}")), Past::Ended);
    }
    assert_eq!(rig.fleet.past.len(), REMEMBERED_JOBS);
    assert_eq!(rig.fleet.past_order.len(), REMEMBERED_JOBS);
}
