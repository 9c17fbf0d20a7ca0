//! Packets to bytes. Strict: what a careful receiver would refuse is not sent.

use bytes::Bytes;
use prost::Message as _;
use thiserror::Error;

use super::{DLQ, contract, convert};
use crate::bus::Subject;
use crate::wire::packet::{Body, JobRequest, Packet, WireWarning};

/// Why a packet of ours was not sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// It breaks a rule of the contract.
    #[error("the {kind} breaks the contract: {field} {says}")]
    Violation {
        /// The payload, in the wire's name.
        kind: &'static str,
        /// The field, in the wire's name.
        field: &'static str,
        /// What is wrong with it.
        says: String,
    },
    /// A payload that we only watch.
    #[error("a {0} is never sent from here")]
    NeverSent(&'static str),
    /// Too long for the bus.
    #[error("the {kind} is {len} bytes long; the bus takes {limit}")]
    TooLong {
        /// The payload, in the wire's name.
        kind: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Writes a packet for `subject`.
///
/// The one relaxation is that of every CAP scheduler: a dead letter, a job
/// result on [`DLQ`], may name no worker, because none had the job.
///
/// # Errors
/// [`EncodeError`] when the packet breaks a rule of the contract, so that
/// nothing we publish is dropped silently at the other end.
pub fn encode(subject: &Subject, packet: &Packet) -> Result<Bytes, EncodeError> {
    let kind = packet.body.kind();
    let dead_letter = subject.as_str() == DLQ && matches!(packet.body, Body::JobResult(_));
    for violation in contract::violations(packet) {
        if let WireWarning::Violation { field, says } = violation
            && !(dead_letter && field == "worker_id")
        {
            return Err(EncodeError::Violation { kind, field, says });
        }
    }
    let envelope = convert::packet_to(packet).ok_or(EncodeError::NeverSent(kind))?;
    let bytes = envelope.encode_to_vec();
    let limit = super::decode::MAX_PAYLOAD;
    if bytes.len() > limit {
        let len = bytes.len();
        return Err(EncodeError::TooLong { kind, len, limit });
    }
    Ok(Bytes::from(bytes))
}

/// How many bytes of a packet its request takes.
pub fn request_len(request: &JobRequest) -> usize {
    convert::job_request_to(request).encoded_len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{JobId, SenderId, TraceId, WorkerId};
    use crate::time::Timestamp;
    use crate::wire::packet::{
        AlertSeverity, Budget, Handshake, Heartbeat, JobCancel, JobMetadata, JobPriority,
        JobProgress, JobResult, JobStatus, SystemAlert, WorkerHandshake, WorkerHandshakeStep,
    };

    fn refusal(subject: &str, packet: &Packet) -> String {
        match encode(&Subject::received(subject), packet) {
            Ok(_) => "sent".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn packet(body: Body) -> Packet {
        Packet::new(
            TraceId::from("t"),
            SenderId::from("w"),
            Timestamp::from_millis(1),
            body,
        )
    }

    fn request(change: impl FnOnce(&mut JobRequest)) -> Packet {
        let mut it = JobRequest {
            job_id: JobId::from("j"),
            topic: "job.a".to_owned(),
            ..JobRequest::default()
        };
        change(&mut it);
        packet(Body::JobRequest(Box::new(it)))
    }

    fn result(change: impl FnOnce(&mut JobResult)) -> Packet {
        let mut it = JobResult {
            job_id: JobId::from("j"),
            status: JobStatus::Succeeded,
            worker_id: WorkerId::from("w"),
            ..JobResult::default()
        };
        change(&mut it);
        packet(Body::JobResult(Box::new(it)))
    }

    fn check(packet: &Packet, says: &str) {
        let got = refusal("sys.x", packet);
        let got = got
            .split_once(" breaks the contract: ")
            .map_or(&*got, |(_, rule)| rule);
        assert_eq!(got, says);
    }

    #[test]
    fn an_envelope_that_receivers_refuse_is_not_sent() {
        check(&request(|_| {}), "sent");
        let envelope = |change: fn(&mut Packet)| {
            let mut packet = request(|_| {});
            change(&mut packet);
            packet
        };
        check(&envelope(|it| it.trace = "".into()), "trace_id is empty");
        check(&envelope(|it| it.sender = "".into()), "sender_id is empty");
        check(
            &envelope(|it| it.protocol_version = 2),
            "protocol_version is 2 instead of 1",
        );
        check(&envelope(|it| it.sent_at = None), "created_at is missing");
    }

    #[test]
    fn a_request_that_receivers_refuse_is_not_sent() {
        check(&request(|it| it.job_id = "".into()), "job_id is empty");
        check(&request(|it| it.topic.clear()), "topic is empty");
        check(
            &request(|it| it.priority = JobPriority::Unknown(4)),
            "priority is 4; 0 to 3 are allowed",
        );
        check(
            &request(|it| it.step_index = -1),
            "step_index is -1; 0 and more are allowed",
        );
        let many = |n: usize| (0..n).map(|n| (n.to_string(), String::new())).collect();
        check(&request(|it| it.labels = many(1_000)), "sent");
        check(
            &request(|it| it.labels = many(1_001)),
            "labels has 1001 entries; 1000 are allowed",
        );
        check(
            &request(|it| {
                it.meta = Some(JobMetadata {
                    risk_tags: vec![String::new(); 1_001],
                    ..JobMetadata::default()
                });
            }),
            "meta.risk_tags has 1001 entries; 1000 are allowed",
        );
        check(
            &request(|it| {
                it.meta = Some(JobMetadata {
                    requires: vec![String::new(); 1_001],
                    ..JobMetadata::default()
                });
            }),
            "meta.requires has 1001 entries; 1000 are allowed",
        );
        let budget = |change: fn(&mut Budget)| {
            request(|it| {
                let mut budget = Budget::default();
                change(&mut budget);
                it.budget = Some(budget);
            })
        };
        check(&budget(|it| it.max_input_tokens = 10_000_000_000), "sent");
        check(
            &budget(|it| it.max_input_tokens = 10_000_000_001),
            "budget.max_input_tokens is 10000000001; 0 to 10000000000 are allowed",
        );
        check(
            &budget(|it| it.max_output_tokens = -1),
            "budget.max_output_tokens is -1; 0 to 10000000000 are allowed",
        );
        check(
            &budget(|it| it.max_total_tokens = -1),
            "budget.max_total_tokens is -1; 0 to 10000000000 are allowed",
        );
        check(
            &budget(|it| it.deadline_ms = -1),
            "budget.deadline_ms is -1; 0 and more are allowed",
        );
    }

    #[test]
    fn a_result_that_receivers_refuse_is_not_sent() {
        check(&result(|it| it.job_id = "".into()), "job_id is empty");
        check(
            &result(|it| it.status = JobStatus::Unspecified),
            "status is unspecified",
        );
        check(&result(|it| it.worker_id = "".into()), "worker_id is empty");
        check(
            &result(|it| it.worker_id = "v".into()),
            "worker_id is \"v\", but the sender is \"w\"",
        );
        check(
            &result(|it| it.execution_ms = -1),
            "execution_ms is negative: -1",
        );
        check(&result(|it| it.status = JobStatus::Running), "sent");
    }

    #[test]
    fn a_dead_letter_may_name_no_worker_and_nothing_else_may() {
        let letter = result(|it| it.worker_id = "".into());
        assert_eq!(refusal("sys.job.dlq", &letter), "sent");
        assert_eq!(
            refusal("sys.job.result", &letter),
            "the job_result breaks the contract: worker_id is empty"
        );
        let nameless = result(|it| it.job_id = "".into());
        assert_eq!(
            refusal("sys.job.dlq", &nameless),
            "the job_result breaks the contract: job_id is empty"
        );
    }

    #[test]
    fn the_other_payloads_that_receivers_refuse_are_not_sent() {
        let progress = |job: &str, percent, status| {
            packet(Body::JobProgress(Box::new(JobProgress {
                job_id: JobId::from(job),
                percent,
                status,
                ..JobProgress::default()
            })))
        };
        check(&progress("j", 100, JobStatus::Unspecified), "sent");
        check(&progress("", 0, JobStatus::Running), "job_id is empty");
        check(
            &progress("j", 101, JobStatus::Running),
            "percent is 101; 0 to 100 are allowed",
        );
        check(
            &progress("j", 0, JobStatus::Unknown(12)),
            "status 12 is not a status",
        );
        let cancel = |job: &str, by: &str| {
            packet(Body::JobCancel(JobCancel {
                job_id: JobId::from(job),
                requested_by: by.to_owned(),
                ..JobCancel::default()
            }))
        };
        check(&cancel("j", "me"), "sent");
        check(&cancel("", "me"), "job_id is empty");
        check(&cancel("j", ""), "requested_by is empty");
        check(
            &packet(Body::Heartbeat(Box::default())),
            "worker_id is \"\", but the sender is \"w\"",
        );
        let beat = Heartbeat {
            worker_id: "w".into(),
            ..Heartbeat::default()
        };
        check(&packet(Body::Heartbeat(Box::new(beat))), "sent");
        check(
            &packet(Body::Handshake(Handshake::default())),
            "component_id is \"\", but the sender is \"w\"",
        );
        check(
            &packet(Body::WorkerHandshake(WorkerHandshake {
                step: WorkerHandshakeStep::Result,
                worker_id: "w".into(),
            })),
            "a worker_handshake_result is never sent from here",
        );
    }

    #[test]
    fn an_alert_fills_one_of_its_two_shapes() {
        let alert = |change: fn(&mut SystemAlert)| {
            let mut it = SystemAlert {
                message: "m".to_owned(),
                ..SystemAlert::default()
            };
            change(&mut it);
            packet(Body::Alert(Box::new(it)))
        };
        check(&alert(|_| {}), "level is empty");
        let old = |it: &mut SystemAlert| {
            for field in [&mut it.level, &mut it.component, &mut it.code] {
                "x".clone_into(field);
            }
        };
        check(&alert(old), "sent");
        check(&alert(|it| it.message.clear()), "message is empty");
        check(
            &alert(|it| it.severity = AlertSeverity::Error),
            "error_code_enum 0 is not an error code",
        );
        check(
            &alert(|it| it.source_component = "w".to_owned()),
            "severity 0 is not a severity",
        );
    }

    #[test]
    fn what_the_bus_would_not_carry_is_not_sent() {
        let long = request(|it| it.context_ptr = "x".repeat(1 << 20));
        let says = refusal("sys.x", &long);
        assert!(says.ends_with("the bus takes 1048576"), "{says}");
    }
}
