//! Bytes to packets. Total: any bytes give a packet or a [`DecodeError`].

use prost::Message as _;
use thiserror::Error;

use super::{contract, convert, generated as pb, json};
use crate::bus::{Delivery, Encoding, Subject};
use crate::wire::packet::{Packet, WireWarning};

/// Bodies longer than this are not looked at: 1 MiB, NATS's own default limit.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Why a delivery is not a packet. It is counted and shown, and changes nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} ({len} bytes on {subject})")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// Where it was published.
    pub subject: Subject,
    /// How long it was, in bytes.
    pub len: usize,
}

/// What can be wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// Longer than [`MAX_PAYLOAD`].
    #[error("too long for a packet")]
    TooLong,
    /// Not a `BusPacket` in this encoding.
    #[error("not a BusPacket: {0}")]
    NotAPacket(String),
    /// A `BusPacket` whose payload is missing or not one we can name.
    #[error("a BusPacket without a known payload")]
    NoPayload,
}

/// Reads a delivery. Contract violations and unknown fields do not stop it:
/// they are listed in [`Packet::warnings`].
///
/// # Errors
/// [`DecodeError`] for what is not a packet.
pub fn decode(delivery: &Delivery) -> Result<Packet, DecodeError> {
    let fail = |kind| DecodeError {
        kind,
        subject: delivery.subject.clone(),
        len: delivery.payload.len(),
    };
    if delivery.payload.len() > MAX_PAYLOAD {
        return Err(fail(DecodeErrorKind::TooLong));
    }
    let (envelope, mut warnings) = match delivery.encoding {
        Encoding::Proto => {
            let envelope = pb::BusPacket::decode(delivery.payload.clone())
                .map_err(|error| fail(DecodeErrorKind::NotAPacket(error.to_string())))?;
            (envelope, contract::unknown_fields(&delivery.payload))
        }
        Encoding::Json => {
            let (envelope, names) = json::envelope_from_json(&delivery.payload)
                .map_err(|error| fail(DecodeErrorKind::NotAPacket(error.to_string())))?;
            let warnings = names
                .into_iter()
                .map(|name| WireWarning::UnknownName { name });
            (envelope, warnings.collect())
        }
    };
    let mut packet =
        convert::packet_from(envelope).ok_or_else(|| fail(DecodeErrorKind::NoPayload))?;
    warnings.extend(contract::violations(&packet));
    packet.warnings = warnings;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::wire::encode::encode;
    use crate::wire::packet::Body;

    fn bytes(hex: &str) -> Bytes {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect::<Vec<_>>()
            .into()
    }

    fn read(subject: &str, encoding: Encoding, payload: Bytes) -> Result<Packet, DecodeError> {
        decode(&Delivery {
            subject: Subject::received(subject),
            payload,
            encoding,
        })
    }

    /// Decodes bytes of the public Python SDK 2.17.0, compares them as protojson,
    /// then sends the packet through our own writer and back.
    fn check(subject: &str, hex: &str, json: &str) -> Packet {
        let packet = read(subject, Encoding::Proto, bytes(hex)).expect("a packet");
        assert_eq!(packet.warnings, []);
        let envelope = r#"","createdAt":"2023-11-14T22:13:20.250Z","protocolVersion":1,"#;
        let shown = json::packet_to_json(&packet).expect("json").to_string();
        let (_, payload) = shown.split_once(envelope).expect("the envelope");
        assert_eq!(payload, json);

        let ours = encode(&Subject::received(subject), &packet).expect("valid");
        let again = read(subject, Encoding::Proto, ours.clone()).expect("a packet");
        assert_eq!(
            ours,
            encode(&Subject::received(subject), &again).expect("valid")
        );
        let mut again = again;
        if let (Body::Heartbeat(theirs), Body::Heartbeat(ours)) = (&packet.body, &mut again.body) {
            // A token is noticed and never sent on.
            ours.has_auth_token = theirs.has_auth_token;
        }
        assert_eq!(again, packet);

        let as_json = read(subject, Encoding::Json, Bytes::from(shown)).expect("a packet");
        assert_eq!(as_json.body.kind(), packet.body.kind());
        assert_eq!(as_json.warnings, []);
        packet
    }

    #[test]
    fn a_job_request_of_the_sdk_arrives_whole() {
        check(
            "sys.job.submit",
            "0a01741201631a0b0880e2cfaa061080e59a7720015290010a016a12076a6f622e612e621802220d726564\
             69733a2f2f6374783a6a4202776648026a0461636d657a090a05656d70747912007a130a0a6d63702e6163\
             74696f6e1205777269746582010b180222016b320470726f648a011e0a086a6f622e756e646f1212726564\
             69733a2f2f6374783a6a3a756e646fa20115120d72656469733a2f2f6374783a6a1a0201022809",
            concat!(
                r#""jobRequest":{"jobId":"j","topic":"job.a.b","priority":"JOB_PRIORITY_BATCH","#,
                r#""contextPtr":"redis://ctx:j","workflowId":"wf","stepIndex":2,"tenantId":"acme","#,
                r#""labels":{"empty":"","mcp.action":"write"},"meta":{"#,
                r#""actorType":"ACTOR_TYPE_SERVICE","idempotencyKey":"k","riskTags":["prod"]},"#,
                r#""compensation":{"topic":"job.undo","contextPtr":"redis://ctx:j:undo"},"#,
                r#""contextRef":{"uri":"redis://ctx:j","sha256":"AQI=","sizeBytes":"9"}}}"#,
            ),
        );
    }

    #[test]
    fn every_other_payload_of_the_sdk_arrives_whole() {
        check(
            "sys.job.result",
            "0a01741201771a0b0880e2cfaa061080e59a7720015a1f0a016a100b220177282a320145420d7265646973\
             3a2f2f6172743a3148c801",
            concat!(
                r#""jobResult":{"jobId":"j","status":"JOB_STATUS_FAILED_FATAL","workerId":"w","#,
                r#""executionMs":"42","errorCode":"E","artifactPtrs":["redis://art:1"],"#,
                r#""errorCodeEnum":"ERROR_CODE_JOB_TIMEOUT"}}"#,
            ),
        );
        check(
            "sys.job.progress",
            "0a01741201771a0b0880e2cfaa061080e59a7720017a100a016a1201731828220468616c663804",
            r#""jobProgress":{"jobId":"j","stepId":"s","percent":40,"message":"half","status":"JOB_STATUS_RUNNING"}}"#,
        );
        check(
            "sys.job.cancel",
            "0a01741201631a0b0880e2cfaa061080e59a77200182010d0a016a120473746f701a026d65",
            r#""jobCancel":{"jobId":"j","reason":"stop","requestedBy":"me"}}"#,
        );
        check(
            "sys.alert",
            "0a01741201731a0b0880e2cfaa061080e59a7720016a1312016d28023092033a017342060a016b120176",
            concat!(
                r#""alert":{"message":"m","severity":"ALERT_SEVERITY_WARNING","#,
                r#""errorCodeEnum":"ERROR_CODE_TRANSPORT_CONNECTION_LOST","sourceComponent":"s","#,
                r#""details":{"k":"v"}}}"#,
            ),
        );
        check(
            "sys.handshake",
            "0a01741201771a0b0880e2cfaa061080e59a7720018a01230a017710031a010122050a0178100122050a01\
             7910002a04322e313732056a6f622e61",
            concat!(
                r#""handshake":{"componentId":"w","role":"COMPONENT_ROLE_WORKER","#,
                r#""supportedVersions":[1],"capabilities":{"x":true,"y":false},"sdkVersion":"2.17","#,
                r#""readyTopics":["job.a"]}}"#,
            ),
        );
    }

    #[test]
    fn a_heartbeat_of_the_sdk_arrives_whole_without_its_token() {
        let packet = check(
            "sys.heartbeat",
            "0a01741201771a0b0880e2cfaa061080e59a772001623c0a0177120265751a036370752500004841300\
             13a01615a017060046a060a016b120176750000f04178078201016d9201067365637265749a01026131",
            concat!(
                r#""heartbeat":{"workerId":"w","region":"eu","type":"cpu","cpuLoad":12.5,"#,
                r#""activeJobs":1,"capabilities":["a"],"pool":"p","maxParallelJobs":4,"#,
                r#""labels":{"k":"v"},"memoryLoad":30.0,"progressPct":7,"lastMemo":"m","#,
                r#""agentName":"a1"}}"#,
            ),
        );
        assert!(matches!(packet.body, Body::Heartbeat(it) if it.has_auth_token));
    }

    #[test]
    fn a_result_with_an_in_flight_status_is_a_packet_like_any_other() {
        let packet = check(
            "sys.job.result",
            "0a01741201771a0b0880e2cfaa061080e59a7720015a080a016a1004220177",
            r#""jobResult":{"jobId":"j","status":"JOB_STATUS_RUNNING","workerId":"w"}}"#,
        );
        assert!(matches!(packet.body, Body::JobResult(it) if it.status.is_in_flight()));
    }

    fn warnings(hex: &str) -> String {
        let packet = read("sys.x", Encoding::Proto, bytes(hex)).expect("a packet");
        let warnings = packet.warnings.iter().map(|warning| match warning {
            WireWarning::UnknownField { path, number, .. } => format!("{path}/{number}"),
            WireWarning::UnknownName { name } => name.clone(),
            WireWarning::Violation { field, says } => format!("{field} {says}"),
        });
        warnings.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_schedulers_dead_letter_and_a_bare_handshake_step_are_read_and_flagged() {
        assert_eq!(
            warnings(
                "0a016a1210636f7264756d2d7363686564756c65721a0b0880e2cfaa061080e59a7720015a180a016\
                 a1008320d7361666574795f64656e6965643a026e6f"
            ),
            "worker_id is empty"
        );
        assert_eq!(
            warnings("0a01741201771a0b0880e2cfaa061080e59a7720019a01060a01721a0177"),
            ""
        );
    }

    #[test]
    fn signature_and_token_after_the_payload_are_noticed() {
        let packet = read(
            "sys.job.submit",
            Encoding::Proto,
            bytes(
                "0a03742d31120b6170692d676174657761791a060880e2cfaa06200152160a056a6f622d31120d6a6f\
                 622e64656d6f2e6563686f72020102920103746f6b",
            ),
        )
        .expect("a packet");
        assert_eq!(packet.signature_len, 2);
        assert_eq!(packet.warnings, []);
        assert!(matches!(packet.body, Body::JobRequest(it) if it.job_id.as_str() == "job-1"));
    }

    #[test]
    fn a_newer_senders_numbers_and_fields_are_kept_and_named() {
        // job_result{job_id j, status 77, worker_id w}, envelope field 30.
        let hex = "0a01741201771a0b0880e2cfaa061080e59a7720015a080a016a104d220177f00105";
        assert_eq!(warnings(hex), "/30");
        let packet = read("sys.job.result", Encoding::Proto, bytes(hex)).expect("a packet");
        let shown = json::packet_to_json(&packet).expect("json").to_string();
        assert!(shown.contains(r#""status":77"#), "{shown}");
        let frame = br#"{"traceId":"t","senderId":"w","protocolVersion":1,"createdAt":"2026-01-01T00:00:00Z",
            "heartbeat":{"workerId":"w","mood":"good"}}"#;
        let packet = read("sys.heartbeat", Encoding::Json, Bytes::from_static(frame));
        assert_eq!(
            packet.expect("a packet").warnings,
            [WireWarning::UnknownName {
                name: "heartbeat.mood".to_owned()
            }]
        );
    }

    #[test]
    fn what_is_not_a_packet_says_what_it_is_instead() {
        let kind = |encoding, payload: &[u8]| {
            read("sys.x", encoding, Bytes::copy_from_slice(payload))
                .expect_err("no packet")
                .to_string()
        };
        assert_eq!(
            kind(Encoding::Proto, b""),
            "a BusPacket without a known payload (0 bytes on sys.x)"
        );
        assert_eq!(
            kind(Encoding::Proto, &bytes("0a0174120177")),
            "a BusPacket without a known payload (6 bytes on sys.x)"
        );
        assert_eq!(
            kind(Encoding::Proto, &vec![0; MAX_PAYLOAD + 1]),
            "too long for a packet (1048577 bytes on sys.x)"
        );
        for (encoding, payload) in [
            (Encoding::Proto, &b"{\"traceId\":\"t\"}"[..]),
            (Encoding::Proto, &bytes("0aff")),
            (Encoding::Proto, &bytes("0a02ff00")),
            (Encoding::Json, &bytes("0a0174")),
            (Encoding::Json, b"[]"),
        ] {
            let says = kind(encoding, payload);
            assert!(says.starts_with("not a BusPacket: "), "{says}");
        }
    }
}
