//! The rules of the contract, and what a packet says beyond it.
//!
//! Receivers of CAP 2.17 check these rules; real producers break some of them,
//! cordum's own scheduler among them. So they are findings on what we receive
//! and errors on what we send. Start at [`unknown_fields`] for the bytes and at
//! [`violations`] for the meaning.

use crate::wire::packet::{
    Body, Budget, JobProgress, JobRequest, JobResult, JobStatus, PROTOCOL_VERSION, Packet,
    SystemAlert, WireEnum as _, WireWarning,
};

/// At most this many different unknown fields are reported of one packet; a
/// sender that has more of them is of another contract altogether.
pub const MAX_FINDINGS: usize = 16;

/// At most this many entries in labels, risk tags and requirements (CAP 2.17).
const MAX_ENTRIES: usize = 1_000;

/// At most this many tokens in a budget (CAP 2.17).
const MAX_TOKENS: i64 = 10_000_000_000;

/// At most this many bytes in an id of the worker handshake (CAP 2.17).
const MAX_HANDSHAKE_ID: usize = 256;

// ---- what the bytes say beyond the contract ----

/// What the contract says about a field number of a message.
#[derive(Clone, Copy)]
enum Slot {
    /// It has no such field.
    None,
    /// A field whose inside is not looked at.
    Plain,
    /// A message of its own.
    Message(&'static Shape),
}

/// The field numbers of one message; the index is the number.
struct Shape {
    path: &'static str,
    slots: &'static [Slot],
}

const __: Slot = Slot::None;
const F: Slot = Slot::Plain;
const fn m(shape: &'static Shape) -> Slot {
    Slot::Message(shape)
}
const TIME: Slot = m(&TIMESTAMP);
const MAP: Slot = m(&MAP_ENTRY);

static TIMESTAMP: Shape = Shape {
    path: "timestamp",
    slots: &[__, F, F],
};
static MAP_ENTRY: Shape = Shape {
    path: "map_entry",
    slots: &[__, F, F],
};
static IDENTITY: Shape = Shape {
    path: "identity_binding",
    slots: &[__, F, F, F, F],
};
static DISPATCH: Shape = Shape {
    path: "dispatch_identity",
    slots: &[__, F, F, F],
};
static RESOURCE: Shape = Shape {
    path: "resource_ref",
    slots: &[__, F, F, F, F, F, TIME, F],
};
static HINTS: Shape = Shape {
    path: "context_hints",
    slots: &[__, F, F, F, F],
};
static BUDGET: Shape = Shape {
    path: "budget",
    slots: &[__, F, F, F, F],
};
static METADATA: Shape = Shape {
    path: "job_metadata",
    slots: &[__, F, F, F, F, F, F, F, F, MAP],
};
#[rustfmt::skip]
static COMPENSATION: Shape = Shape {
    path: "compensation",
    slots: &[
        __, F, F, F, F, MAP, F, m(&HINTS), m(&BUDGET), F, F, MAP, m(&METADATA), m(&IDENTITY),
        m(&DISPATCH), m(&RESOURCE),
    ],
};
#[rustfmt::skip]
static JOB_REQUEST: Shape = Shape {
    path: "job_request",
    slots: &[
        __, F, F, F, F, F, MAP, F, F, F, F, m(&HINTS), m(&BUDGET), F, F, MAP, m(&METADATA),
        m(&COMPENSATION), m(&IDENTITY), m(&DISPATCH), m(&RESOURCE),
    ],
};
#[rustfmt::skip]
static JOB_RESULT: Shape = Shape {
    path: "job_result",
    slots: &[
        __, F, F, F, F, F, F, F, F, F, m(&DISPATCH), m(&IDENTITY), m(&RESOURCE), m(&RESOURCE),
    ],
};
#[rustfmt::skip]
static JOB_PROGRESS: Shape = Shape {
    path: "job_progress",
    slots: &[
        __, F, F, F, F, F, F, F, m(&DISPATCH), m(&IDENTITY), m(&RESOURCE), m(&RESOURCE),
    ],
};
static JOB_CANCEL: Shape = Shape {
    path: "job_cancel",
    slots: &[__, F, F, F, m(&DISPATCH), m(&IDENTITY)],
};
#[rustfmt::skip]
static HEARTBEAT: Shape = Shape {
    path: "heartbeat",
    slots: &[__, F, F, F, F, F, F, F, __, __, __, F, F, MAP, F, F, F, __, F, F],
};
static ALERT: Shape = Shape {
    path: "alert",
    slots: &[__, F, F, F, F, F, F, F, MAP, F],
};
static HANDSHAKE: Shape = Shape {
    path: "handshake",
    slots: &[__, F, F, F, MAP, F, F, F],
};
static CHALLENGE_REQUEST: Shape = Shape {
    path: "worker_handshake_challenge_request",
    slots: &[__, F, F, F, F, F, F, F, F, F, F],
};
#[rustfmt::skip]
static CHALLENGE: Shape = Shape {
    path: "worker_handshake_challenge",
    slots: &[__, F, F, F, F, F, F, F, F, F, F, F, F, F, F, F, TIME, TIME],
};
static AUTHENTICATE: Shape = Shape {
    path: "worker_handshake_authenticate",
    slots: &[__, m(&CHALLENGE), m(&HANDSHAKE)],
};
static HANDSHAKE_RESULT: Shape = Shape {
    path: "worker_handshake_result",
    slots: &[__, m(&CHALLENGE), F, F, TIME, TIME],
};
static SIGNATURE: Shape = Shape {
    path: "signature_metadata",
    slots: &[__, F, F, F, F, TIME, F],
};
#[rustfmt::skip]
static ENVELOPE: Shape = Shape {
    path: "",
    slots: &[
        __, F, F, TIME, F, m(&SIGNATURE), m(&IDENTITY), __, __, __, m(&JOB_REQUEST), m(&JOB_RESULT),
        m(&HEARTBEAT), m(&ALERT), F, m(&JOB_PROGRESS), m(&JOB_CANCEL), m(&HANDSHAKE), F,
        m(&CHALLENGE_REQUEST), m(&CHALLENGE), m(&AUTHENTICATE), m(&HANDSHAKE_RESULT),
    ],
};

/// Fields of the received bytes that the contract we know does not have, each
/// different one once, at most [`MAX_FINDINGS`].
///
/// Total: bytes that are not protobuf end the walk where they stop making sense.
pub fn unknown_fields(bytes: &[u8]) -> Vec<WireWarning> {
    let mut found = Vec::new();
    // Bytes that are cut short say nothing more; what was found before stands.
    let _whole = walk(&ENVELOPE, bytes, &mut found);
    found
}

/// `None` when the bytes stop making sense. The depth is that of the table,
/// which has no cycle.
fn walk(shape: &Shape, mut bytes: &[u8], found: &mut Vec<WireWarning>) -> Option<()> {
    while !bytes.is_empty() {
        let (number, wire_type) = tag(&mut bytes)?;
        let inside = value(number, wire_type, &mut bytes)?;
        match shape.slots.get(number as usize) {
            Some(Slot::Plain) => {}
            Some(Slot::Message(shape)) => walk(shape, inside, found)?,
            Some(Slot::None) | None => {
                let finding = WireWarning::UnknownField {
                    path: shape.path,
                    number,
                    wire_type,
                };
                if found.len() < MAX_FINDINGS && !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    Some(())
}

fn tag(bytes: &mut &[u8]) -> Option<(u32, u8)> {
    let tag = u32::try_from(varint(bytes)?).ok()?;
    let number = tag >> 3;
    (number != 0).then_some((number, (tag & 7) as u8))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Steps over one value; what is inside of a length-delimited one is returned.
fn value<'a>(number: u32, wire_type: u8, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = match wire_type {
        0 => {
            varint(bytes)?;
            return Some(&[]);
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        3 => return skip_group(number, bytes).map(|()| &[][..]),
        5 => 4,
        _ => return None,
    };
    let (inside, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(inside)
}

/// Steps over a group: a stack of numbers instead of recursion, so that a
/// packet of nothing but group starts costs no call stack.
fn skip_group(number: u32, bytes: &mut &[u8]) -> Option<()> {
    let mut open = vec![number];
    while let Some(&innermost) = open.last() {
        match tag(bytes)? {
            (number, 3) => open.push(number),
            (number, 4) if number == innermost => {
                open.pop();
            }
            (_, 4) => return None,
            (number, wire_type) => {
                value(number, wire_type, bytes)?;
            }
        }
    }
    Some(())
}

// ---- what the packet means ----

/// Collects broken rules; allocates nothing as long as there are none.
struct Findings(Vec<WireWarning>);

impl Findings {
    fn when(&mut self, broken: bool, field: &'static str, says: impl FnOnce() -> String) {
        if broken {
            self.0.push(WireWarning::Violation {
                field,
                says: says(),
            });
        }
    }

    fn empty(&mut self, text: &str, field: &'static str) {
        self.when(text.is_empty(), field, || "is empty".to_owned());
    }

    /// A name inside the payload that has to be the envelope's.
    fn same_as_sender(&mut self, name: &str, packet: &Packet, field: &'static str) {
        self.when(name != packet.sender.as_str(), field, || {
            format!("is {name:?}, but the sender is {:?}", packet.sender)
        });
    }
}

/// Rules of CAP 2.17 that the packet breaks, the envelope's first.
///
/// A dead letter of a scheduler names no worker and is listed here all the same;
/// see [`super::encode::encode`] for the one place that lets it pass.
pub fn violations(packet: &Packet) -> Vec<WireWarning> {
    let mut found = Findings(Vec::new());
    found.empty(packet.trace.as_str(), "trace_id");
    found.empty(packet.sender.as_str(), "sender_id");
    let version = packet.protocol_version;
    found.when(version != PROTOCOL_VERSION, "protocol_version", || {
        format!("is {version} instead of {PROTOCOL_VERSION}")
    });
    found.when(packet.sent_at.is_none(), "created_at", || {
        "is missing".to_owned()
    });
    match &packet.body {
        Body::JobRequest(it) => request(it, &mut found),
        Body::JobResult(it) => result(it, packet, &mut found),
        Body::JobProgress(it) => progress(it, &mut found),
        Body::JobCancel(it) => {
            found.empty(it.job_id.as_str(), "job_id");
            found.empty(&it.requested_by, "requested_by");
        }
        Body::Heartbeat(it) => {
            found.same_as_sender(it.worker_id.as_str(), packet, "worker_id");
        }
        Body::Alert(it) => alert(it, packet, &mut found),
        Body::Handshake(it) => found.same_as_sender(&it.component_id, packet, "component_id"),
        Body::WorkerHandshake(it) => {
            found.empty(it.worker_id.as_str(), "worker_id");
            let len = it.worker_id.as_str().len();
            found.when(len > MAX_HANDSHAKE_ID, "worker_id", || {
                format!("is {len} bytes long; {MAX_HANDSHAKE_ID} are allowed")
            });
        }
    }
    found.0
}

/// Rules of CAP 2.17 that a request breaks, whatever envelope it travels in.
pub fn request_violations(it: &JobRequest) -> Vec<WireWarning> {
    let mut found = Findings(Vec::new());
    request(it, &mut found);
    found.0
}

fn request(it: &JobRequest, found: &mut Findings) {
    found.empty(it.job_id.as_str(), "job_id");
    found.empty(&it.topic, "topic");
    found.when(!it.priority.is_known(), "priority", || {
        format!("is {}; 0 to 3 are allowed", it.priority.number())
    });
    found.when(it.step_index < 0, "step_index", || {
        format!("is {}; 0 and more are allowed", it.step_index)
    });
    let mut entries = |len: usize, field| {
        found.when(len > MAX_ENTRIES, field, || {
            format!("has {len} entries; {MAX_ENTRIES} are allowed")
        });
    };
    entries(it.labels.len(), "labels");
    if let Some(meta) = &it.meta {
        entries(meta.risk_tags.len(), "meta.risk_tags");
        entries(meta.requires.len(), "meta.requires");
    }
    if let Some(it) = &it.budget {
        budget(it, found);
    }
}

fn budget(it: &Budget, found: &mut Findings) {
    for (tokens, field) in [
        (it.max_input_tokens, "budget.max_input_tokens"),
        (it.max_output_tokens, "budget.max_output_tokens"),
        (it.max_total_tokens, "budget.max_total_tokens"),
    ] {
        found.when(!(0..=MAX_TOKENS).contains(&tokens), field, || {
            format!("is {tokens}; 0 to {MAX_TOKENS} are allowed")
        });
    }
    found.when(it.deadline_ms < 0, "budget.deadline_ms", || {
        format!("is {}; 0 and more are allowed", it.deadline_ms)
    });
}

fn result(it: &JobResult, packet: &Packet, found: &mut Findings) {
    found.empty(it.job_id.as_str(), "job_id");
    found.when(it.status == JobStatus::Unspecified, "status", || {
        "is unspecified".to_owned()
    });
    if it.worker_id.is_empty() {
        found.empty("", "worker_id");
    } else {
        found.same_as_sender(it.worker_id.as_str(), packet, "worker_id");
    }
    found.when(it.execution_ms < 0, "execution_ms", || {
        format!("is negative: {}", it.execution_ms)
    });
}

fn progress(it: &JobProgress, found: &mut Findings) {
    found.empty(it.job_id.as_str(), "job_id");
    found.when(!(0..=100).contains(&it.percent), "percent", || {
        format!("is {}; 0 to 100 are allowed", it.percent)
    });
    found.when(!it.status.is_known(), "status", || {
        format!("{} is not a status", it.status.number())
    });
}

/// Two shapes of alerts travel; which one it is decides what it must say.
fn alert(it: &SystemAlert, packet: &Packet, found: &mut Findings) {
    found.empty(&it.message, "message");
    let structured = it.severity.number() != 0
        || it.error_code_enum.number() != 0
        || !it.source_component.is_empty();
    if structured {
        found.when(
            !it.severity.is_known() || it.severity.number() == 0,
            "severity",
            || format!("{} is not a severity", it.severity.number()),
        );
        found.when(
            !it.error_code_enum.is_known() || it.error_code_enum.number() == 0,
            "error_code_enum",
            || format!("{} is not an error code", it.error_code_enum.number()),
        );
        found.same_as_sender(&it.source_component, packet, "source_component");
    } else {
        found.empty(&it.level, "level");
        found.empty(&it.component, "component");
        found.empty(&it.code, "code");
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::{Kind, MessageDescriptor};

    use super::*;

    /// The table is written by hand for speed; this holds it to the proto files.
    fn same(shape: &Shape, message: &MessageDescriptor) {
        for number in 1..64 {
            let slot = shape.slots.get(number as usize).unwrap_or(&Slot::None);
            match (slot, message.get_field(number).map(|field| field.kind())) {
                (Slot::None, None) => {}
                (Slot::Message(shape), Some(Kind::Message(message))) => same(shape, &message),
                (Slot::Plain, Some(kind)) if !matches!(kind, Kind::Message(_)) => {}
                (_, kind) => panic!("{} field {number}: {kind:?}", message.full_name()),
            }
        }
    }

    #[test]
    fn the_table_of_fields_is_that_of_the_proto_files() {
        let envelope = super::super::json::message("cordum.agent.v1.BusPacket");
        same(&ENVELOPE, &envelope);
    }

    fn found(hex: &str) -> String {
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
            .collect();
        unknown_fields(&bytes)
            .iter()
            .map(|finding| match finding {
                WireWarning::UnknownField {
                    path,
                    number,
                    wire_type,
                } => format!("{path}/{number}:{wire_type}"),
                other => format!("{other:?}"),
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn unknown_fields_are_found_in_the_envelope_and_in_every_message_below() {
        // Known: trace_id "t", heartbeat{worker_id "w"}.
        assert_eq!(found("0a017462030a0177"), "");
        // Field 30 of the envelope, as a varint, twice: one finding.
        assert_eq!(found("f00101f00102"), "/30:0");
        // heartbeat{8: varint, 17: fixed32}.
        assert_eq!(
            found("620840018d0100000000"),
            "heartbeat/8:0 heartbeat/17:5"
        );
        // job_request{meta{11: fixed64}, compensation{budget{5: bytes}}}.
        assert_eq!(found("520c820109590000000000000000"), "job_metadata/11:1");
        assert_eq!(found("52088a010542032a0141"), "budget/5:2");
    }

    #[test]
    fn groups_are_stepped_over_however_deep() {
        // Field 31 as a group that holds a varint field 1.
        assert_eq!(found("fb010805fc01f00101"), "/31:3 /30:0");
        assert_eq!(found(&"fb01".repeat(100_000)), "");
        assert_eq!(found("fb010c"), "", "closed by another number");
    }

    #[test]
    fn bytes_that_stop_making_sense_end_the_walk_and_keep_what_was_found() {
        assert_eq!(found("f00101ff"), "/30:0");
        assert_eq!(found("f0010107"), "/30:0", "wire type 7");
        assert_eq!(found("f0010102ff01"), "/30:0", "field number 0");
        assert_eq!(
            found("0affffffffffffffffff01"),
            "",
            "a length beyond the end"
        );
    }

    #[test]
    fn the_findings_are_bounded() {
        let many: String = (24..60)
            .map(|n: u32| format!("{:02x}{:02x}00", (n << 3 & 0x7f) | 0x80, n >> 4))
            .collect();
        assert_eq!(found(&many).split(' ').count(), MAX_FINDINGS);
    }
}
