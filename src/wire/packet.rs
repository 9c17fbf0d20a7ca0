//! What travels on the bus, as our own types.
//!
//! Names follow the CAP contract in `proto/`. Enums keep numbers they do not
//! know as `Unknown`, so that a newer sender is shown rather than hidden. A
//! packet carries what is odd about it in [`Packet::warnings`]; nothing odd
//! makes it disappear.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::ids::{JobId, PoolName, SenderId, TraceId, WorkerId};
use crate::time::Timestamp;

/// One message on the bus.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// Ties the packets of one request together; empty if the sender gave none.
    pub trace: TraceId,
    /// Who says it sent this.
    pub sender: SenderId,
    /// The sender's clock; `None` if it gave no time.
    pub sent_at: Option<Timestamp>,
    /// The contract version; 1 so far.
    pub protocol_version: i32,
    /// On whose behalf it was sent, from CAP 2.14 on.
    pub identity: Option<IdentityBinding>,
    /// How long the signature is, in bytes; zero if the packet is not signed.
    pub signature_len: usize,
    /// What it says.
    pub body: Body,
    /// What is odd about it, found while decoding; empty on packets we make.
    pub warnings: Vec<WireWarning>,
}

impl Packet {
    /// A packet of ours, ready to be encoded.
    pub fn new(trace: TraceId, sender: SenderId, sent_at: Timestamp, body: Body) -> Self {
        Self {
            trace,
            sender,
            sent_at: Some(sent_at),
            protocol_version: PROTOCOL_VERSION,
            identity: None,
            signature_len: 0,
            body,
            warnings: Vec::new(),
        }
    }
}

/// The only contract version there is.
pub const PROTOCOL_VERSION: i32 = 1;

/// What a packet says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Work to be done.
    JobRequest(Box<JobRequest>),
    /// What came of a job; on `sys.job.dlq` a dead letter.
    JobResult(Box<JobResult>),
    /// How far a job is.
    JobProgress(Box<JobProgress>),
    /// The wish that a job stops.
    JobCancel(JobCancel),
    /// A worker's sign of life.
    Heartbeat(Box<Heartbeat>),
    /// Something a person should know.
    Alert(Box<SystemAlert>),
    /// A component introduces itself.
    Handshake(Handshake),
    /// One of the four steps in which a worker proves who it is, from CAP 2.17 on.
    WorkerHandshake(WorkerHandshake),
}

impl Body {
    /// The wire's name of this payload.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::JobRequest(_) => "job_request",
            Self::JobResult(_) => "job_result",
            Self::JobProgress(_) => "job_progress",
            Self::JobCancel(_) => "job_cancel",
            Self::Heartbeat(_) => "heartbeat",
            Self::Alert(_) => "alert",
            Self::Handshake(_) => "handshake",
            Self::WorkerHandshake(step) => step.step.kind(),
        }
    }
}

/// Something odd about a packet that was decoded all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WireWarning {
    /// A field that is not in the contract we know.
    UnknownField {
        /// The message it is in, such as `heartbeat`; empty for the envelope.
        path: &'static str,
        /// Its field number.
        number: u32,
        /// Its protobuf wire type, 0 to 5.
        wire_type: u8,
    },
    /// A name in protojson that is not in the contract we know.
    UnknownName {
        /// The path to it, such as `heartbeat.mood`, or `heartbeat.kind=NEW` for
        /// a value of an enumeration.
        name: String,
    },
    /// A rule of the contract that the packet breaks.
    Violation {
        /// The field, in the wire's name.
        field: &'static str,
        /// What is wrong with it, in words.
        says: String,
    },
}

/// A number of an enumeration on the wire.
pub trait WireEnum: Copy + PartialEq {
    /// The number on the wire.
    fn number(self) -> i32;
    /// The wire's name without its prefix; an unknown number is written as the number.
    fn name(self) -> Cow<'static, str>;
    /// Whether the contract we know has this number.
    fn is_known(self) -> bool;
}

macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub enum $name {
            /// The sender said nothing.
            #[default]
            Unspecified,
            $($(#[$variant_doc])* $variant,)+
            /// A number that the contract we know does not have.
            Unknown(i32),
        }

        impl $name {
            /// All values that the contract names, except "unspecified".
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// Reads the number on the wire; never fails.
            pub fn from_number(number: i32) -> Self {
                match number {
                    0 => Self::Unspecified,
                    $($number => Self::$variant,)+
                    other => Self::Unknown(other),
                }
            }

            /// Reads the wire's name without prefix, in upper case.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    "UNSPECIFIED" => Some(Self::Unspecified),
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl WireEnum for $name {
            fn number(self) -> i32 {
                match self {
                    Self::Unspecified => 0,
                    $(Self::$variant => $number,)+
                    Self::Unknown(other) => other,
                }
            }

            fn name(self) -> Cow<'static, str> {
                match self {
                    Self::Unspecified => Cow::Borrowed("UNSPECIFIED"),
                    $(Self::$variant => Cow::Borrowed($text),)+
                    Self::Unknown(other) => Cow::Owned(other.to_string()),
                }
            }

            fn is_known(self) -> bool {
                !matches!(self, Self::Unknown(_))
            }
        }
    };
}
pub(super) use wire_enum;

wire_enum! {
    /// How urgent a job is.
    JobPriority {
        /// Somebody waits for it.
        Interactive = 1 "INTERACTIVE",
        /// Nobody waits for it.
        Batch = 2 "BATCH",
        /// Before all others, as compensations are.
        Critical = 3 "CRITICAL",
    }
}

wire_enum! {
    /// The status that a result or a progress report carries.
    JobStatus {
        /// In flight: not looked at yet.
        Pending = 1 "PENDING",
        /// In flight: placed.
        Scheduled = 2 "SCHEDULED",
        /// In flight: handed to a worker.
        Dispatched = 3 "DISPATCHED",
        /// In flight: at work.
        Running = 4 "RUNNING",
        /// Ended well.
        Succeeded = 5 "SUCCEEDED",
        /// Ended badly; nothing is undone.
        Failed = 6 "FAILED",
        /// Ended because somebody asked.
        Cancelled = 7 "CANCELLED",
        /// Never ran: policy or a person said no.
        Denied = 8 "DENIED",
        /// Ended because its time was up.
        Timeout = 9 "TIMEOUT",
        /// This attempt failed; another may follow.
        FailedRetryable = 10 "FAILED_RETRYABLE",
        /// Ended badly, and what its workflow did is rolled back.
        FailedFatal = 11 "FAILED_FATAL",
    }
}

impl JobStatus {
    /// Whether a job with this status is still under way.
    pub fn is_in_flight(self) -> bool {
        matches!(
            self,
            Self::Pending | Self::Scheduled | Self::Dispatched | Self::Running
        )
    }
}

wire_enum! {
    /// Who asks for a job.
    ActorType {
        /// A person.
        Human = 1 "HUMAN",
        /// A program.
        Service = 2 "SERVICE",
    }
}

wire_enum! {
    /// How bad an alert is.
    AlertSeverity {
        /// Good to know.
        Info = 1 "INFO",
        /// Look soon.
        Warning = 2 "WARNING",
        /// Something failed.
        Error = 3 "ERROR",
        /// Act now.
        Critical = 4 "CRITICAL",
    }
}

wire_enum! {
    /// What a component is for.
    ComponentRole {
        /// Takes jobs in.
        Gateway = 1 "GATEWAY",
        /// Places jobs.
        Scheduler = 2 "SCHEDULER",
        /// Does jobs.
        Worker = 3 "WORKER",
        /// Chains jobs.
        Orchestrator = 4 "ORCHESTRATOR",
        /// Steers components.
        Controller = 5 "CONTROLLER",
    }
}

wire_enum! {
    /// A machine-readable cause.
    ErrorCode {
        /// The sender speaks another version.
        ProtocolVersionMismatch = 100 "PROTOCOL_VERSION_MISMATCH",
        /// The bytes are not a packet.
        ProtocolMalformedPacket = 101 "PROTOCOL_MALFORMED_PACKET",
        /// The packet says nothing known.
        ProtocolUnknownPayload = 102 "PROTOCOL_UNKNOWN_PAYLOAD",
        /// The signature does not verify.
        ProtocolSignatureInvalid = 103 "PROTOCOL_SIGNATURE_INVALID",
        /// A signature is demanded and missing.
        ProtocolSignatureMissing = 104 "PROTOCOL_SIGNATURE_MISSING",
        /// The job ran out of time.
        JobTimeout = 200 "JOB_TIMEOUT",
        /// The job ran out of something else.
        JobResourceExhausted = 201 "JOB_RESOURCE_EXHAUSTED",
        /// The job may not do that.
        JobPermissionDenied = 202 "JOB_PERMISSION_DENIED",
        /// The job's input is wrong.
        JobInvalidInput = 203 "JOB_INVALID_INPUT",
        /// Nobody knows the job.
        JobNotFound = 204 "JOB_NOT_FOUND",
        /// The job is there already.
        JobDuplicate = 205 "JOB_DUPLICATE",
        /// The worker is gone.
        JobWorkerUnavailable = 206 "JOB_WORKER_UNAVAILABLE",
        /// Policy said no.
        SafetyDenied = 300 "SAFETY_DENIED",
        /// The job broke its policy.
        SafetyPolicyViolation = 301 "SAFETY_POLICY_VIOLATION",
        /// A risk tag is blocked.
        SafetyRiskTagBlocked = 302 "SAFETY_RISK_TAG_BLOCKED",
        /// The packet could not be sent.
        TransportPublishFailed = 400 "TRANSPORT_PUBLISH_FAILED",
        /// The subscription could not be made.
        TransportSubscribeFailed = 401 "TRANSPORT_SUBSCRIBE_FAILED",
        /// The line was cut.
        TransportConnectionLost = 402 "TRANSPORT_CONNECTION_LOST",
    }
}

/// On whose behalf something happens, from CAP 2.14 on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct IdentityBinding {
    /// The tenant.
    pub tenant_id: String,
    /// The principal.
    pub principal_id: String,
    /// The actor.
    pub actor_id: String,
    /// The delegation it acts under.
    pub delegation_id: String,
}

/// Which dispatch of a job a packet belongs to, from CAP 2.14 on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DispatchIdentity {
    /// The dispatch.
    pub dispatch_id: String,
    /// Counts from 1.
    pub attempt: u64,
    /// The worker it was handed to.
    pub assigned_worker_id: WorkerId,
}

/// A pointer with the digest of what it points at, from CAP 2.14 on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ResourceRef {
    /// Who can resolve it.
    pub resolver_id: String,
    /// The pointer.
    pub uri: String,
    /// The SHA-256 of the content, 32 bytes.
    pub sha256: Bytes,
    /// The media type of the content.
    pub media_type: String,
    /// The length of the content in bytes.
    pub size_bytes: u64,
    /// When it can no longer be read.
    pub expires_at: Option<Timestamp>,
    /// What it is for.
    pub purpose: String,
}

/// What a worker may do with the context it reads.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ContextHints {
    /// At most this many tokens.
    pub max_input_tokens: i32,
    /// It may summarize.
    pub allow_summarization: bool,
    /// It may retrieve more.
    pub allow_retrieval: bool,
    /// Free words.
    pub tags: Vec<String>,
}

/// Token budgets and the deadline.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Budget {
    /// Tokens it may read; zero is no limit.
    pub max_input_tokens: i64,
    /// Tokens it may write; zero is no limit.
    pub max_output_tokens: i64,
    /// Tokens in all; zero is no limit.
    pub max_total_tokens: i64,
    /// Milliseconds after submission; zero is no deadline.
    pub deadline_ms: i64,
}

/// What policy reads about a request.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobMetadata {
    /// The tenant, again.
    pub tenant_id: String,
    /// Who asks.
    pub actor_id: String,
    /// A person or a program.
    pub actor_type: ActorType,
    /// Two requests with one key are one request.
    pub idempotency_key: String,
    /// What the job is able to do.
    pub capability: String,
    /// What makes it risky.
    pub risk_tags: Vec<String>,
    /// What its pool must have.
    pub requires: Vec<String>,
    /// The pack it comes from.
    pub pack_id: String,
    /// Labels for policy alone.
    pub labels: BTreeMap<String, String>,
}

/// The job that would undo another one.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Compensation {
    /// What to run.
    pub topic: String,
    /// What to run it on.
    pub context_ptr: String,
    /// How urgent it is.
    pub priority: JobPriority,
    /// The adapter to run it with.
    pub adapter_id: String,
    /// Environment for the worker.
    pub env: BTreeMap<String, String>,
    /// The memory it may read.
    pub memory_id: String,
    /// How to read its context.
    pub context_hints: Option<ContextHints>,
    /// What it may use up.
    pub budget: Option<Budget>,
    /// The tenant.
    pub tenant_id: String,
    /// The principal.
    pub principal_id: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What policy reads about it.
    pub meta: Option<JobMetadata>,
    /// On whose behalf.
    pub identity: Option<IdentityBinding>,
    /// Its dispatch.
    pub dispatch: Option<DispatchIdentity>,
    /// Its context with digest.
    pub context_ref: Option<ResourceRef>,
}

/// Work to be done.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobRequest {
    /// The job.
    pub job_id: JobId,
    /// Begins with `job.`.
    pub topic: String,
    /// How urgent it is.
    pub priority: JobPriority,
    /// Where its payload is.
    pub context_ptr: String,
    /// The adapter to run it with.
    pub adapter_id: String,
    /// Environment for the worker.
    pub env: BTreeMap<String, String>,
    /// The job that asked for it; empty if none.
    pub parent_job_id: JobId,
    /// The workflow it is a step of; empty if none.
    pub workflow_id: String,
    /// Which step, from 0.
    pub step_index: i32,
    /// The memory it may read.
    pub memory_id: String,
    /// How to read its context.
    pub context_hints: Option<ContextHints>,
    /// What it may use up, and until when.
    pub budget: Option<Budget>,
    /// The tenant.
    pub tenant_id: String,
    /// The principal.
    pub principal_id: String,
    /// Labels; policy matches them.
    pub labels: BTreeMap<String, String>,
    /// What policy reads about it.
    pub meta: Option<JobMetadata>,
    /// The job that would undo it.
    pub compensation: Option<Box<Compensation>>,
    /// On whose behalf, from CAP 2.14 on.
    pub identity: Option<IdentityBinding>,
    /// Its dispatch, from CAP 2.14 on.
    pub dispatch: Option<DispatchIdentity>,
    /// Its context with digest, from CAP 2.14 on.
    pub context_ref: Option<ResourceRef>,
}

/// Whether a label of a job must be one of its worker too: by how it begins, as in CAP
/// schedulers.
pub fn is_placement_label(key: &str) -> bool {
    ["placement.", "constraint.", "node."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

impl JobRequest {
    /// The tenant it belongs to, by the order of the control plane: `env.tenant_id`,
    /// `tenant_id`, `meta.tenant_id`; `None` if none is named.
    pub fn tenant(&self) -> Option<&str> {
        [
            self.env.get("tenant_id").map(String::as_str),
            Some(self.tenant_id.as_str()),
            self.meta.as_ref().map(|meta| meta.tenant_id.as_str()),
        ]
        .into_iter()
        .flatten()
        .find(|tenant| !tenant.is_empty())
    }
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobResult {
    /// The job.
    pub job_id: JobId,
    /// How it ended, or that it has not.
    pub status: JobStatus,
    /// Where its result is.
    pub result_ptr: String,
    /// Who did it; empty on dead letters of the scheduler.
    pub worker_id: WorkerId,
    /// How long it took, in milliseconds.
    pub execution_ms: i64,
    /// The cause, in the sender's words.
    pub error_code: String,
    /// The cause, for people.
    pub error_message: String,
    /// Where its artifacts are.
    pub artifact_ptrs: Vec<String>,
    /// The cause, by number.
    pub error_code_enum: ErrorCode,
    /// Which dispatch, from CAP 2.14 on.
    pub dispatch: Option<DispatchIdentity>,
    /// On whose behalf, from CAP 2.14 on.
    pub identity: Option<IdentityBinding>,
    /// Its result with digest, from CAP 2.14 on.
    pub result_ref: Option<ResourceRef>,
    /// Its artifacts with digests, from CAP 2.14 on.
    pub artifact_refs: Vec<ResourceRef>,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobProgress {
    /// The job.
    pub job_id: JobId,
    /// The step it is at.
    pub step_id: String,
    /// 0 to 100 by the contract; shown as reported.
    pub percent: i32,
    /// What it is doing.
    pub message: String,
    /// A result that can be read already.
    pub result_ptr: String,
    /// Artifacts that can be read already.
    pub artifact_ptrs: Vec<String>,
    /// The status it claims; may be unspecified.
    pub status: JobStatus,
    /// Which dispatch, from CAP 2.14 on.
    pub dispatch: Option<DispatchIdentity>,
    /// On whose behalf, from CAP 2.14 on.
    pub identity: Option<IdentityBinding>,
    /// Its result with digest, from CAP 2.14 on.
    pub result_ref: Option<ResourceRef>,
    /// Its artifacts with digests, from CAP 2.14 on.
    pub artifact_refs: Vec<ResourceRef>,
}

/// The wish that a job stops.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JobCancel {
    /// The job.
    pub job_id: JobId,
    /// Why.
    pub reason: String,
    /// Who wants it.
    pub requested_by: String,
    /// Which dispatch, from CAP 2.14 on.
    pub dispatch: Option<DispatchIdentity>,
    /// On whose behalf, from CAP 2.14 on.
    pub identity: Option<IdentityBinding>,
}

/// A worker's sign of life.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Heartbeat {
    /// The worker.
    pub worker_id: WorkerId,
    /// Where it runs.
    pub region: String,
    /// What kind of worker it is.
    pub kind: String,
    /// Percent, 0 to 100.
    pub cpu_load: f32,
    /// Percent, 0 to 100.
    pub gpu_utilization: f32,
    /// Jobs it works on.
    pub active_jobs: i32,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// The pool it belongs to.
    pub pool: PoolName,
    /// Jobs it may work on at once; zero if it did not say.
    pub max_parallel_jobs: i32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Percent, 0 to 100.
    pub memory_load: f32,
    /// Checkpoint of the job it is at, 0 to 100.
    pub progress_pct: i32,
    /// Its last word on that job.
    pub last_memo: String,
    /// Whether it carries a session token; the token itself is never kept.
    pub has_auth_token: bool,
    /// The agent it runs.
    pub agent_name: String,
}

/// Something a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct SystemAlert {
    /// The old shape's severity, a word.
    pub level: String,
    /// What happened.
    pub message: String,
    /// The old shape's source.
    pub component: String,
    /// The old shape's cause.
    pub code: String,
    /// The new shape's severity.
    pub severity: AlertSeverity,
    /// The new shape's cause.
    pub error_code_enum: ErrorCode,
    /// The new shape's source.
    pub source_component: String,
    /// More facts.
    pub details: BTreeMap<String, String>,
    /// The trace it is about.
    pub trace_id: TraceId,
}

/// A component introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Handshake {
    /// The component.
    pub component_id: String,
    /// What it is for.
    pub role: ComponentRole,
    /// Contract versions it speaks.
    pub supported_versions: Vec<i32>,
    /// What it can do.
    pub capabilities: BTreeMap<String, bool>,
    /// The SDK it was built with.
    pub sdk_version: String,
    /// Topics it takes jobs of.
    pub ready_topics: Vec<String>,
    /// The agent it runs.
    pub agent_name: String,
}

/// A step of the worker's proof of identity; only what a person can use of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerHandshake {
    /// Which of the four.
    pub step: WorkerHandshakeStep,
    /// The worker it is about; empty if the step does not say.
    pub worker_id: WorkerId,
}

/// The four steps of the worker's proof of identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkerHandshakeStep {
    /// The worker asks for a challenge.
    ChallengeRequest,
    /// The plane sets one.
    Challenge,
    /// The worker answers it.
    Authenticate,
    /// The plane accepts or refuses.
    Result,
}

impl WorkerHandshakeStep {
    fn kind(self) -> &'static str {
        match self {
            Self::ChallengeRequest => "worker_handshake_challenge_request",
            Self::Challenge => "worker_handshake_challenge",
            Self::Authenticate => "worker_handshake_authenticate",
            Self::Result => "worker_handshake_result",
        }
    }
}
