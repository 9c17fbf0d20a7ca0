//! Generated messages to our own types and back, field by field.
//!
//! Only this room knows both sides. Nothing is judged here: what a field may
//! hold is [`super::contract`]'s business.

use super::generated as pb;
use super::packet::{
    ActorType, AlertSeverity, Body, Budget, Compensation, ComponentRole, ContextHints,
    DispatchIdentity, ErrorCode, Handshake, Heartbeat, IdentityBinding, JobCancel, JobMetadata,
    JobPriority, JobProgress, JobRequest, JobResult, JobStatus, Packet, ResourceRef, SystemAlert,
    WireEnum as _, WorkerHandshake, WorkerHandshakeStep,
};
use crate::ids::{JobId, PoolName, SenderId, TraceId, WorkerId};
use crate::time::Timestamp;

/// The packet, or `None` when it says nothing that we can name.
pub(super) fn packet_from(pb: pb::BusPacket) -> Option<Packet> {
    let body = body_from(pb.payload?);
    Some(Packet {
        trace: TraceId::from(pb.trace_id),
        sender: SenderId::from(pb.sender_id),
        sent_at: pb.created_at.map(timestamp_from),
        protocol_version: pb.protocol_version,
        identity: pb.identity.map(identity_from),
        signature_len: pb.signature.len(),
        body,
        warnings: Vec::new(),
    })
}

/// The envelope of a packet of ours; `None` for the handshake steps, which we
/// only watch.
pub(super) fn packet_to(packet: &Packet) -> Option<pb::BusPacket> {
    Some(envelope_to(packet, body_to(&packet.body)?))
}

fn envelope_to(packet: &Packet, payload: pb::bus_packet::Payload) -> pb::BusPacket {
    pb::BusPacket {
        trace_id: packet.trace.as_str().to_owned(),
        sender_id: packet.sender.as_str().to_owned(),
        created_at: packet.sent_at.map(timestamp_to),
        protocol_version: packet.protocol_version,
        signature_metadata: None,
        identity: packet.identity.as_ref().map(identity_to),
        signature: bytes::Bytes::new(),
        auth_token: String::new(),
        payload: Some(payload),
    }
}

/// The envelope of any packet, for showing it: of a handshake step there is only
/// what we keep.
pub(super) fn packet_shown(packet: &Packet) -> pb::BusPacket {
    match &packet.body {
        Body::WorkerHandshake(it) => envelope_to(packet, handshake_shown(it)),
        _ => packet_to(packet).unwrap_or_default(),
    }
}

fn handshake_shown(it: &WorkerHandshake) -> pb::bus_packet::Payload {
    use pb::bus_packet::Payload;
    let worker_id = it.worker_id.as_str().to_owned();
    let challenge = pb::WorkerHandshakeChallenge {
        worker_id: worker_id.clone(),
        ..Default::default()
    };
    match it.step {
        WorkerHandshakeStep::ChallengeRequest => {
            Payload::WorkerHandshakeChallengeRequest(pb::WorkerHandshakeChallengeRequest {
                worker_id,
                ..Default::default()
            })
        }
        WorkerHandshakeStep::Challenge => Payload::WorkerHandshakeChallenge(challenge),
        WorkerHandshakeStep::Authenticate => {
            Payload::WorkerHandshakeAuthenticate(pb::WorkerHandshakeAuthenticate {
                challenge: Some(challenge),
                ..Default::default()
            })
        }
        WorkerHandshakeStep::Result => Payload::WorkerHandshakeResult(pb::WorkerHandshakeResult {
            challenge: Some(challenge),
            ..Default::default()
        }),
    }
}

fn body_from(payload: pb::bus_packet::Payload) -> Body {
    use pb::bus_packet::Payload;
    let step = |step, worker_id: String| {
        Body::WorkerHandshake(WorkerHandshake {
            step,
            worker_id: WorkerId::from(worker_id),
        })
    };
    match payload {
        Payload::JobRequest(pb) => Body::JobRequest(Box::new(job_request_from(pb))),
        Payload::JobResult(pb) => Body::JobResult(Box::new(job_result_from(pb))),
        Payload::Heartbeat(pb) => Body::Heartbeat(Box::new(heartbeat_from(pb))),
        Payload::Alert(pb) => Body::Alert(Box::new(alert_from(pb))),
        Payload::JobProgress(pb) => Body::JobProgress(Box::new(job_progress_from(pb))),
        Payload::JobCancel(pb) => Body::JobCancel(job_cancel_from(pb)),
        Payload::Handshake(pb) => Body::Handshake(handshake_from(pb)),
        Payload::WorkerHandshakeChallengeRequest(pb) => {
            step(WorkerHandshakeStep::ChallengeRequest, pb.worker_id)
        }
        Payload::WorkerHandshakeChallenge(pb) => step(WorkerHandshakeStep::Challenge, pb.worker_id),
        Payload::WorkerHandshakeAuthenticate(pb) => step(
            WorkerHandshakeStep::Authenticate,
            pb.challenge.unwrap_or_default().worker_id,
        ),
        Payload::WorkerHandshakeResult(pb) => step(
            WorkerHandshakeStep::Result,
            pb.challenge.unwrap_or_default().worker_id,
        ),
    }
}

fn body_to(body: &Body) -> Option<pb::bus_packet::Payload> {
    use pb::bus_packet::Payload;
    Some(match body {
        Body::JobRequest(it) => Payload::JobRequest(job_request_to(it)),
        Body::JobResult(it) => Payload::JobResult(job_result_to(it)),
        Body::Heartbeat(it) => Payload::Heartbeat(heartbeat_to(it)),
        Body::Alert(it) => Payload::Alert(alert_to(it)),
        Body::JobProgress(it) => Payload::JobProgress(job_progress_to(it)),
        Body::JobCancel(it) => Payload::JobCancel(job_cancel_to(it)),
        Body::Handshake(it) => Payload::Handshake(handshake_to(it)),
        Body::WorkerHandshake(_) => return None,
    })
}

fn timestamp_from(pb: prost_types::Timestamp) -> Timestamp {
    Timestamp::from_millis(
        pb.seconds
            .saturating_mul(1_000)
            .saturating_add(i64::from(pb.nanos.div_euclid(1_000_000))),
    )
}

fn timestamp_to(at: Timestamp) -> prost_types::Timestamp {
    let ms = at.as_millis();
    prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos: i32::try_from(ms.rem_euclid(1_000)).unwrap_or_default() * 1_000_000,
    }
}

fn identity_from(pb: pb::IdentityBinding) -> IdentityBinding {
    IdentityBinding {
        tenant_id: pb.tenant_id,
        principal_id: pb.principal_id,
        actor_id: pb.actor_id,
        delegation_id: pb.delegation_id,
    }
}

fn identity_to(it: &IdentityBinding) -> pb::IdentityBinding {
    pb::IdentityBinding {
        tenant_id: it.tenant_id.clone(),
        principal_id: it.principal_id.clone(),
        actor_id: it.actor_id.clone(),
        delegation_id: it.delegation_id.clone(),
    }
}

fn dispatch_from(pb: pb::DispatchIdentity) -> DispatchIdentity {
    DispatchIdentity {
        dispatch_id: pb.dispatch_id,
        attempt: pb.attempt,
        assigned_worker_id: WorkerId::from(pb.assigned_worker_id),
    }
}

fn dispatch_to(it: &DispatchIdentity) -> pb::DispatchIdentity {
    pb::DispatchIdentity {
        dispatch_id: it.dispatch_id.clone(),
        attempt: it.attempt,
        assigned_worker_id: it.assigned_worker_id.as_str().to_owned(),
    }
}

fn resource_from(pb: pb::ResourceRef) -> ResourceRef {
    ResourceRef {
        resolver_id: pb.resolver_id,
        uri: pb.uri,
        sha256: pb.sha256,
        media_type: pb.media_type,
        size_bytes: pb.size_bytes,
        expires_at: pb.expires_at.map(timestamp_from),
        purpose: pb.purpose,
    }
}

fn resource_to(it: &ResourceRef) -> pb::ResourceRef {
    pb::ResourceRef {
        resolver_id: it.resolver_id.clone(),
        uri: it.uri.clone(),
        sha256: it.sha256.clone(),
        media_type: it.media_type.clone(),
        size_bytes: it.size_bytes,
        expires_at: it.expires_at.map(timestamp_to),
        purpose: it.purpose.clone(),
    }
}

fn hints_from(pb: pb::ContextHints) -> ContextHints {
    ContextHints {
        max_input_tokens: pb.max_input_tokens,
        allow_summarization: pb.allow_summarization,
        allow_retrieval: pb.allow_retrieval,
        tags: pb.tags,
    }
}

fn hints_to(it: &ContextHints) -> pb::ContextHints {
    pb::ContextHints {
        max_input_tokens: it.max_input_tokens,
        allow_summarization: it.allow_summarization,
        allow_retrieval: it.allow_retrieval,
        tags: it.tags.clone(),
    }
}

fn budget_from(pb: pb::Budget) -> Budget {
    Budget {
        max_input_tokens: pb.max_input_tokens,
        max_output_tokens: pb.max_output_tokens,
        max_total_tokens: pb.max_total_tokens,
        deadline_ms: pb.deadline_ms,
    }
}

fn budget_to(it: &Budget) -> pb::Budget {
    pb::Budget {
        max_input_tokens: it.max_input_tokens,
        max_output_tokens: it.max_output_tokens,
        max_total_tokens: it.max_total_tokens,
        deadline_ms: it.deadline_ms,
    }
}

pub(super) fn meta_from(pb: pb::JobMetadata) -> JobMetadata {
    JobMetadata {
        tenant_id: pb.tenant_id,
        actor_id: pb.actor_id,
        actor_type: ActorType::from_number(pb.actor_type),
        idempotency_key: pb.idempotency_key,
        capability: pb.capability,
        risk_tags: pb.risk_tags,
        requires: pb.requires,
        pack_id: pb.pack_id,
        labels: pb.labels,
    }
}

pub(super) fn meta_to(it: &JobMetadata) -> pb::JobMetadata {
    pb::JobMetadata {
        tenant_id: it.tenant_id.clone(),
        actor_id: it.actor_id.clone(),
        actor_type: it.actor_type.number(),
        idempotency_key: it.idempotency_key.clone(),
        capability: it.capability.clone(),
        risk_tags: it.risk_tags.clone(),
        requires: it.requires.clone(),
        pack_id: it.pack_id.clone(),
        labels: it.labels.clone(),
    }
}

fn compensation_from(pb: pb::Compensation) -> Compensation {
    Compensation {
        topic: pb.topic,
        context_ptr: pb.context_ptr,
        priority: JobPriority::from_number(pb.priority),
        adapter_id: pb.adapter_id,
        env: pb.env,
        memory_id: pb.memory_id,
        context_hints: pb.context_hints.map(hints_from),
        budget: pb.budget.map(budget_from),
        tenant_id: pb.tenant_id,
        principal_id: pb.principal_id,
        labels: pb.labels,
        meta: pb.meta.map(meta_from),
        identity: pb.identity.map(identity_from),
        dispatch: pb.dispatch.map(dispatch_from),
        context_ref: pb.context_ref.map(resource_from),
    }
}

fn compensation_to(it: &Compensation) -> pb::Compensation {
    pb::Compensation {
        topic: it.topic.clone(),
        context_ptr: it.context_ptr.clone(),
        priority: it.priority.number(),
        adapter_id: it.adapter_id.clone(),
        env: it.env.clone(),
        memory_id: it.memory_id.clone(),
        context_hints: it.context_hints.as_ref().map(hints_to),
        budget: it.budget.as_ref().map(budget_to),
        tenant_id: it.tenant_id.clone(),
        principal_id: it.principal_id.clone(),
        labels: it.labels.clone(),
        meta: it.meta.as_ref().map(meta_to),
        identity: it.identity.as_ref().map(identity_to),
        dispatch: it.dispatch.as_ref().map(dispatch_to),
        context_ref: it.context_ref.as_ref().map(resource_to),
    }
}

pub(super) fn job_request_from(pb: pb::JobRequest) -> JobRequest {
    JobRequest {
        job_id: JobId::from(pb.job_id),
        topic: pb.topic,
        priority: JobPriority::from_number(pb.priority),
        context_ptr: pb.context_ptr,
        adapter_id: pb.adapter_id,
        env: pb.env,
        parent_job_id: JobId::from(pb.parent_job_id),
        workflow_id: pb.workflow_id,
        step_index: pb.step_index,
        memory_id: pb.memory_id,
        context_hints: pb.context_hints.map(hints_from),
        budget: pb.budget.map(budget_from),
        tenant_id: pb.tenant_id,
        principal_id: pb.principal_id,
        labels: pb.labels,
        meta: pb.meta.map(meta_from),
        compensation: pb.compensation.map(|it| Box::new(compensation_from(it))),
        identity: pb.identity.map(identity_from),
        dispatch: pb.dispatch.map(dispatch_from),
        context_ref: pb.context_ref.map(resource_from),
    }
}

pub(super) fn job_request_to(it: &JobRequest) -> pb::JobRequest {
    pb::JobRequest {
        job_id: it.job_id.as_str().to_owned(),
        topic: it.topic.clone(),
        priority: it.priority.number(),
        context_ptr: it.context_ptr.clone(),
        adapter_id: it.adapter_id.clone(),
        env: it.env.clone(),
        parent_job_id: it.parent_job_id.as_str().to_owned(),
        workflow_id: it.workflow_id.clone(),
        step_index: it.step_index,
        memory_id: it.memory_id.clone(),
        context_hints: it.context_hints.as_ref().map(hints_to),
        budget: it.budget.as_ref().map(budget_to),
        tenant_id: it.tenant_id.clone(),
        principal_id: it.principal_id.clone(),
        labels: it.labels.clone(),
        meta: it.meta.as_ref().map(meta_to),
        compensation: it.compensation.as_deref().map(compensation_to),
        identity: it.identity.as_ref().map(identity_to),
        dispatch: it.dispatch.as_ref().map(dispatch_to),
        context_ref: it.context_ref.as_ref().map(resource_to),
    }
}

pub(super) fn job_result_from(pb: pb::JobResult) -> JobResult {
    JobResult {
        job_id: JobId::from(pb.job_id),
        status: JobStatus::from_number(pb.status),
        result_ptr: pb.result_ptr,
        worker_id: WorkerId::from(pb.worker_id),
        execution_ms: pb.execution_ms,
        error_code: pb.error_code,
        error_message: pb.error_message,
        artifact_ptrs: pb.artifact_ptrs,
        error_code_enum: ErrorCode::from_number(pb.error_code_enum),
        dispatch: pb.dispatch.map(dispatch_from),
        identity: pb.identity.map(identity_from),
        result_ref: pb.result_ref.map(resource_from),
        artifact_refs: pb.artifact_refs.into_iter().map(resource_from).collect(),
    }
}

pub(super) fn job_result_to(it: &JobResult) -> pb::JobResult {
    pb::JobResult {
        job_id: it.job_id.as_str().to_owned(),
        status: it.status.number(),
        result_ptr: it.result_ptr.clone(),
        worker_id: it.worker_id.as_str().to_owned(),
        execution_ms: it.execution_ms,
        error_code: it.error_code.clone(),
        error_message: it.error_message.clone(),
        artifact_ptrs: it.artifact_ptrs.clone(),
        error_code_enum: it.error_code_enum.number(),
        dispatch: it.dispatch.as_ref().map(dispatch_to),
        identity: it.identity.as_ref().map(identity_to),
        result_ref: it.result_ref.as_ref().map(resource_to),
        artifact_refs: it.artifact_refs.iter().map(resource_to).collect(),
    }
}

fn job_progress_from(pb: pb::JobProgress) -> JobProgress {
    JobProgress {
        job_id: JobId::from(pb.job_id),
        step_id: pb.step_id,
        percent: pb.percent,
        message: pb.message,
        result_ptr: pb.result_ptr,
        artifact_ptrs: pb.artifact_ptrs,
        status: JobStatus::from_number(pb.status),
        dispatch: pb.dispatch.map(dispatch_from),
        identity: pb.identity.map(identity_from),
        result_ref: pb.result_ref.map(resource_from),
        artifact_refs: pb.artifact_refs.into_iter().map(resource_from).collect(),
    }
}

fn job_progress_to(it: &JobProgress) -> pb::JobProgress {
    pb::JobProgress {
        job_id: it.job_id.as_str().to_owned(),
        step_id: it.step_id.clone(),
        percent: it.percent,
        message: it.message.clone(),
        result_ptr: it.result_ptr.clone(),
        artifact_ptrs: it.artifact_ptrs.clone(),
        status: it.status.number(),
        dispatch: it.dispatch.as_ref().map(dispatch_to),
        identity: it.identity.as_ref().map(identity_to),
        result_ref: it.result_ref.as_ref().map(resource_to),
        artifact_refs: it.artifact_refs.iter().map(resource_to).collect(),
    }
}

fn job_cancel_from(pb: pb::JobCancel) -> JobCancel {
    JobCancel {
        job_id: JobId::from(pb.job_id),
        reason: pb.reason,
        requested_by: pb.requested_by,
        dispatch: pb.dispatch.map(dispatch_from),
        identity: pb.identity.map(identity_from),
    }
}

fn job_cancel_to(it: &JobCancel) -> pb::JobCancel {
    pb::JobCancel {
        job_id: it.job_id.as_str().to_owned(),
        reason: it.reason.clone(),
        requested_by: it.requested_by.clone(),
        dispatch: it.dispatch.as_ref().map(dispatch_to),
        identity: it.identity.as_ref().map(identity_to),
    }
}

fn heartbeat_from(pb: pb::Heartbeat) -> Heartbeat {
    Heartbeat {
        worker_id: WorkerId::from(pb.worker_id),
        region: pb.region,
        kind: pb.r#type,
        cpu_load: pb.cpu_load,
        gpu_utilization: pb.gpu_utilization,
        active_jobs: pb.active_jobs,
        capabilities: pb.capabilities,
        pool: PoolName::from(pb.pool),
        max_parallel_jobs: pb.max_parallel_jobs,
        labels: pb.labels,
        memory_load: pb.memory_load,
        progress_pct: pb.progress_pct,
        last_memo: pb.last_memo,
        has_auth_token: !pb.auth_token.is_empty(),
        agent_name: pb.agent_name,
    }
}

fn heartbeat_to(it: &Heartbeat) -> pb::Heartbeat {
    pb::Heartbeat {
        worker_id: it.worker_id.as_str().to_owned(),
        region: it.region.clone(),
        r#type: it.kind.clone(),
        cpu_load: it.cpu_load,
        gpu_utilization: it.gpu_utilization,
        active_jobs: it.active_jobs,
        capabilities: it.capabilities.clone(),
        pool: it.pool.as_str().to_owned(),
        max_parallel_jobs: it.max_parallel_jobs,
        labels: it.labels.clone(),
        memory_load: it.memory_load,
        progress_pct: it.progress_pct,
        last_memo: it.last_memo.clone(),
        auth_token: String::new(),
        agent_name: it.agent_name.clone(),
    }
}

fn alert_from(pb: pb::SystemAlert) -> SystemAlert {
    SystemAlert {
        level: pb.level,
        message: pb.message,
        component: pb.component,
        code: pb.code,
        severity: AlertSeverity::from_number(pb.severity),
        error_code_enum: ErrorCode::from_number(pb.error_code_enum),
        source_component: pb.source_component,
        details: pb.details,
        trace_id: TraceId::from(pb.trace_id),
    }
}

fn alert_to(it: &SystemAlert) -> pb::SystemAlert {
    pb::SystemAlert {
        level: it.level.clone(),
        message: it.message.clone(),
        component: it.component.clone(),
        code: it.code.clone(),
        severity: it.severity.number(),
        error_code_enum: it.error_code_enum.number(),
        source_component: it.source_component.clone(),
        details: it.details.clone(),
        trace_id: it.trace_id.as_str().to_owned(),
    }
}

fn handshake_from(pb: pb::Handshake) -> Handshake {
    Handshake {
        component_id: pb.component_id,
        role: ComponentRole::from_number(pb.role),
        supported_versions: pb.supported_versions,
        capabilities: pb.capabilities,
        sdk_version: pb.sdk_version,
        ready_topics: pb.ready_topics,
        agent_name: pb.agent_name,
    }
}

fn handshake_to(it: &Handshake) -> pb::Handshake {
    pb::Handshake {
        component_id: it.component_id.clone(),
        role: it.role.number(),
        supported_versions: it.supported_versions.clone(),
        capabilities: it.capabilities.clone(),
        sdk_version: it.sdk_version.clone(),
        ready_topics: it.ready_topics.clone(),
        agent_name: it.agent_name.clone(),
    }
}
