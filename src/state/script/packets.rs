//! The packets of a script.

use std::sync::Arc;

use super::{START, Step, instant};
use crate::ids::{JobId, PoolName, SenderId, TraceId, WorkerId};
use crate::state::event::{Event, Heard, Route};
use crate::wire::packet::{
    ActorType, Body, Budget, Compensation, Heartbeat, JobMetadata, JobRequest, JobResult,
    JobStatus, Packet, WireWarning,
};

impl Step<'_> {
    pub(super) fn packet(
        &self,
        route: Route,
        subject: &str,
        sender: &str,
        body: Body,
    ) -> Result<Event, String> {
        let sent = match self.value("sent") {
            Some("never") => None,
            Some(at) => Some(instant(at)?),
            None => Some(self.at),
        };
        let sender = self.value("by").unwrap_or(sender);
        let sender = if sender.is_empty() { "w1" } else { sender };
        let trace = TraceId::from(self.value("trace").unwrap_or(""));
        let mut packet = Packet::new(trace, SenderId::from(sender), self.at, body);
        packet.sent_at = sent;
        if let Some(says) = self.value("breaks") {
            packet.warnings.push(WireWarning::Violation {
                field: "payload",
                says: says.to_owned(),
            });
        }
        Ok(Event::Packet(Box::new(Heard {
            route,
            subject: Arc::from(subject),
            packet,
        })))
    }

    pub(super) fn request(&self, job: &str) -> Result<Body, String> {
        let meta = JobMetadata {
            actor_id: self.text("actor"),
            actor_type: ActorType::Service,
            capability: self.text("capability"),
            idempotency_key: self.text("key"),
            risk_tags: self.list("risk").iter().map(|it| it.to_string()).collect(),
            ..JobMetadata::default()
        };
        let compensation = self.value("undo").map(|topic| {
            Box::new(Compensation {
                topic: topic.to_owned(),
                context_ptr: format!("redis://ctx:{job}:undo"),
                meta: Some(JobMetadata {
                    idempotency_key: format!("{job}/undo"),
                    ..JobMetadata::default()
                }),
                ..Compensation::default()
            })
        });
        let deadline = match self.value("deadline") {
            Some(after) => instant(after)?.since(START).as_millis(),
            None => 0,
        };
        Ok(Body::JobRequest(Box::new(JobRequest {
            job_id: JobId::from(job),
            topic: self.text("topic"),
            tenant_id: self.text("tenant"),
            principal_id: self.text("principal"),
            context_ptr: self.text("context"),
            workflow_id: self.text("workflow"),
            step_index: self.number("step")?.unwrap_or(0),
            parent_job_id: JobId::from(self.value("parent").unwrap_or("")),
            labels: self.labels(),
            meta: Some(meta),
            compensation,
            budget: (deadline > 0).then(|| Budget {
                deadline_ms: i64::try_from(deadline).unwrap_or(i64::MAX),
                ..Budget::default()
            }),
            ..JobRequest::default()
        })))
    }

    pub(super) fn result(
        &self,
        job: &str,
        worker: &str,
        status: JobStatus,
    ) -> Result<Event, String> {
        let body = self.result_body(job, worker, status);
        self.packet(Route::Result, "sys.job.result", worker, body)
    }

    pub(super) fn result_body(&self, job: &str, worker: &str, status: JobStatus) -> Body {
        Body::JobResult(Box::new(JobResult {
            job_id: JobId::from(job),
            status,
            worker_id: WorkerId::from(worker),
            error_code: self.text("code"),
            error_message: self.text("message"),
            result_ptr: self.text("result"),
            ..JobResult::default()
        }))
    }

    pub(super) fn beat(&self, worker: &str) -> Result<Event, String> {
        let percent = |key| -> Result<f32, String> {
            let value = self.value(key).map(str::parse::<f32>);
            value
                .transpose()
                .map_err(|_| format!("{key} is no number"))
                .map(|it| it.unwrap_or(0.0))
        };
        let (active, max) = match self.value("slots").map(|slots| slots.split_once('/')) {
            Some(Some((active, max))) => (active.parse(), max.parse()),
            Some(None) => return Err("slots are active/max".to_owned()),
            None => (Ok(0), Ok(0)),
        };
        let body = Body::Heartbeat(Box::new(Heartbeat {
            worker_id: WorkerId::from(worker),
            pool: PoolName::from(self.value("pool").unwrap_or("")),
            region: self.text("region"),
            cpu_load: percent("cpu")?,
            memory_load: percent("mem")?,
            gpu_utilization: percent("gpu")?,
            active_jobs: active.map_err(|_| "no active jobs")?,
            max_parallel_jobs: max.map_err(|_| "no slots")?,
            progress_pct: self.number("pct")?.unwrap_or(0),
            last_memo: self.text("memo"),
            labels: self.labels(),
            ..Heartbeat::default()
        }));
        self.packet(Route::Heartbeat, "sys.heartbeat", worker, body)
    }
}
