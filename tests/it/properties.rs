//! What holds for any input at all.

use bytes::Bytes;
use capdeck::bus::{Delivery, Encoding, Subject};
use capdeck::ids::{JobId, SenderId, TraceId, WorkerId};
use capdeck::time::Timestamp;
use capdeck::wire::contract;
use capdeck::wire::decode::decode;
use capdeck::wire::encode::encode;
use capdeck::wire::job_hash::job_hash;
use capdeck::wire::json;
use capdeck::wire::packet::{
    Body, Budget, Compensation, Heartbeat, JobMetadata, JobPriority, JobProgress, JobRequest,
    JobResult, JobStatus, Packet,
};
use capdeck::wire::pointer::Pointer;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const SUBJECT: &str = "sys.job.submit";

fn delivery(payload: impl Into<Bytes>, encoding: Encoding) -> Delivery {
    Delivery {
        subject: Subject::received(SUBJECT),
        payload: payload.into(),
        encoding,
    }
}

fn labels() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(".{0,8}", ".{0,8}", 0..4)
}

fn request() -> impl Strategy<Value = JobRequest> {
    let meta =
        (".{0,8}", labels(), vec(".{0,5}", 0..3)).prop_map(|(tenant_id, labels, risk_tags)| {
            JobMetadata {
                tenant_id,
                labels,
                risk_tags,
                ..JobMetadata::default()
            }
        });
    let budget = (0..10_000_000_000_i64, 0..i64::MAX).prop_map(|(tokens, deadline_ms)| Budget {
        max_total_tokens: tokens,
        deadline_ms,
        ..Budget::default()
    });
    (
        ".{1,12}",
        "job\\.[a-z.]{1,12}",
        0..4_i32,
        0..i32::MAX,
        (labels(), labels()),
        proptest::option::of(meta),
        proptest::option::of(budget),
        proptest::option::of((".{0,8}", labels())),
    )
        .prop_map(
            |(job_id, topic, priority, step_index, (env, labels), meta, budget, undo)| JobRequest {
                job_id: JobId::from(job_id),
                topic,
                priority: JobPriority::from_number(priority),
                step_index,
                env,
                labels,
                meta,
                budget,
                compensation: undo.map(|(topic, labels)| {
                    Box::new(Compensation {
                        topic,
                        labels,
                        ..Compensation::default()
                    })
                }),
                ..JobRequest::default()
            },
        )
}

fn body() -> impl Strategy<Value = (String, Body)> {
    let sender = ".{1,8}";
    prop_oneof![
        (sender, request()).prop_map(|(sender, it)| (sender, Body::JobRequest(Box::new(it)))),
        (sender, ".{1,8}", 1..99_i32, 0..i64::MAX, ".{0,20}").prop_map(
            |(sender, job, status, execution_ms, error_message)| {
                let it = JobResult {
                    job_id: JobId::from(job),
                    status: JobStatus::from_number(status),
                    worker_id: WorkerId::from(sender.as_str()),
                    execution_ms,
                    error_message,
                    ..JobResult::default()
                };
                (sender, Body::JobResult(Box::new(it)))
            }
        ),
        (sender, ".{1,8}", 0..=100_i32, ".{0,20}").prop_map(|(sender, job, percent, message)| {
            let it = JobProgress {
                job_id: JobId::from(job),
                percent,
                message,
                status: JobStatus::Running,
                ..JobProgress::default()
            };
            (sender, Body::JobProgress(Box::new(it)))
        }),
        (sender, 0.0..100.0_f32, any::<i32>(), labels()).prop_map(
            |(sender, cpu_load, active_jobs, labels)| {
                let it = Heartbeat {
                    worker_id: WorkerId::from(sender.as_str()),
                    cpu_load,
                    active_jobs,
                    labels,
                    ..Heartbeat::default()
                };
                (sender, Body::Heartbeat(Box::new(it)))
            }
        ),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    // The years 1970 to 9999, which every encoding can say.
    (".{1,8}", body(), 0..253_402_300_799_999_i64).prop_map(|(trace, (sender, body), at)| {
        Packet::new(
            TraceId::from(trace),
            SenderId::from(sender),
            Timestamp::from_millis(at),
            body,
        )
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        let _findings = contract::unknown_fields(&bytes);
        if let Ok(packet) = decode(&delivery(bytes.clone(), Encoding::Proto)) {
            let _json = json::packet_to_json(&packet);
        }
        let _json = decode(&delivery(bytes, Encoding::Json));
    }

    #[test]
    fn damaged_packets_are_packets_or_errors(
        packet in packet(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&Subject::received(SUBJECT), &packet).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len() + 1));
        if let Ok(packet) = decode(&delivery(bytes, Encoding::Proto)) {
            let _json = json::packet_to_json(&packet);
            let _bytes = encode(&Subject::received(SUBJECT), &packet);
        }
    }

    #[test]
    fn any_text_is_json_of_a_packet_or_an_error(text in r#"[\{\}\[\]":,a-zA-Z0-9 ]{0,80}"#) {
        let _packet = json::packet_from_json(text.as_bytes(), json::Unknown::Ignore);
        let _request = json::job_request_from_json(text.as_bytes(), json::Unknown::Refuse);
        let _pointer = Pointer::parse(&text);
    }

    #[test]
    fn a_packet_that_is_sent_comes_back(packet in packet()) {
        let subject = Subject::received(SUBJECT);
        let bytes = encode(&subject, &packet).unwrap();
        let back = decode(&delivery(bytes.clone(), Encoding::Proto)).unwrap();
        prop_assert_eq!(&back, &packet);
        prop_assert_eq!(encode(&subject, &back).unwrap(), bytes);
    }

    #[test]
    fn a_packet_in_json_comes_back(packet in packet()) {
        let text = json::packet_to_json(&packet).unwrap().to_string();
        let back = decode(&delivery(text, Encoding::Json)).unwrap();
        prop_assert_eq!(back, packet);
    }

    #[test]
    fn a_request_in_json_keeps_its_hash(request in request()) {
        for unset in [json::Unset::Omit, json::Unset::Emit] {
            let text = json::job_request_to_json(&request, unset).unwrap().to_string();
            let (back, unknown) =
                json::job_request_from_json(text.as_bytes(), json::Unknown::Refuse).unwrap();
            prop_assert_eq!(unknown.len(), 0);
            prop_assert_eq!(job_hash(&back), job_hash(&request));
        }
    }
}
