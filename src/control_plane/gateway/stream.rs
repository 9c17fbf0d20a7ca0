//! `GET /stream`: what is heard on the bus, to whoever cannot reach the bus.
//!
//! A frame is one packet as protojson, without its subject. A client that does not
//! keep up is cut, for a console that lags without knowing would lie: it comes back
//! and reads the lists again. A caller of one tenant gets the packets about the jobs
//! of that tenant, and no heartbeats.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::App;
use super::answer::{Answer, Refusal};
use super::guard::{KEY_PROTOCOL, legacy_token};
use super::keys::Caller;
use crate::bus::{Delivery, Pattern, Subscription};
use crate::control_plane::ledger::{self, DEFAULT_TENANT};
use crate::ids::JobId;
use crate::time::{Elapsed, sleep};
use crate::wire::packet::{Body, JobStatus, Packet};
use crate::wire::{decode, json};

/// Clients at a time.
pub(super) const MAX_CLIENTS: usize = 64;
/// Frames that may wait for a client before it is cut, as in CAP gateways.
const BUFFER: usize = 256;
/// Packets looked at before the client is written to again.
const TURN: usize = 64;
/// How often a silent client is asked whether it still is there; one that did not
/// answer the last time is cut.
const PING_EVERY: Elapsed = Elapsed::from_secs(30);
/// Jobs of other planes whose tenants a stream remembers.
const TENANTS: usize = 1_000;
/// How long a client that is cut may take to read why.
const GOODBYE: Elapsed = Elapsed::from_secs(1);
/// The longest message of a client; nothing but a goodbye is expected.
const MAX_HEARD: usize = 4 << 10;

/// What is passed on: the jobs, those who do them, and what people are told.
const PATTERNS: [&str; 5] = [
    "sys.job.>",
    "sys.heartbeat",
    "sys.audit.>",
    crate::wire::ALERT,
    crate::wire::WORKFLOW_EVENT,
];

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client went.
    Gone,
    /// The client did not keep up.
    Slow,
    /// The client did not answer.
    Silent,
    /// The bus or the gateway ends.
    Away,
}

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Extension(mut caller): Extension<Caller>,
    headers: HeaderMap,
    asked: Result<Query<BTreeMap<String, String>>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer {
    let upgrade = upgrade.map_err(|error| {
        Refusal::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            format!("the stream is a WebSocket: {}", error.body_text()),
        )
    })?;
    if let Ok(Query(asked)) = asked
        && let Some(tenant) = asked.get("tenant_id").filter(|it| !it.is_empty())
    {
        if !caller.reaches(tenant) {
            return Err(Refusal::other_tenant());
        }
        caller.tenant = Some(tenant.clone());
    }
    let Ok(place) = Arc::clone(&app.stream_places).try_acquire_owned() else {
        return Err(Refusal::unavailable(
            "too_many_streams",
            format!("{MAX_CLIENTS} clients listen already"),
        ));
    };
    // Heard from here on, so that nothing is missed after the answer.
    let mut ears = Vec::new();
    for pattern in PATTERNS {
        let pattern = Pattern::parse(pattern).map_err(|error| {
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal_error",
                error.to_string(),
            )
        })?;
        let ear = app
            .bus
            .subscribe(&pattern, None)
            .await
            .map_err(|error| Refusal::unavailable("bus_unavailable", error.to_string()))?;
        ears.push(ear);
    }
    let legacy = legacy_token(&headers).map(|it| Cow::Owned(it.to_owned()));
    let protocols = legacy.into_iter().chain([Cow::Borrowed(KEY_PROTOCOL)]);
    let upgrade = upgrade
        .protocols(protocols)
        .max_message_size(MAX_HEARD)
        .max_frame_size(MAX_HEARD);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let end = serve(&app, &caller, ears, socket, place).await;
        tracing::debug!(?end, "a stream ended");
    }))
}

async fn serve(
    app: &App,
    caller: &Caller,
    mut ears: Vec<Subscription>,
    socket: WebSocket,
    place: OwnedSemaphorePermit,
) -> End {
    let (mut sink, mut source) = socket.split();
    let (frames, mut waiting) = mpsc::channel::<Message>(BUFFER);
    let mut tenants = Tenants::default();
    let pump = async {
        let mut batch: Vec<Delivery> = Vec::with_capacity(TURN);
        loop {
            batch.clear();
            if !hear(&mut ears, &mut batch).await {
                return End::Away;
            }
            for delivery in &batch {
                let Some(text) = frame(app, caller, &mut tenants, delivery).await else {
                    continue;
                };
                match frames.try_send(Message::text(text)) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) => return End::Slow,
                    Err(TrySendError::Closed(_)) => return End::Gone,
                }
            }
            // The client is written to by the same task.
            tokio::task::yield_now().await;
        }
    };
    let write = async {
        while let Some(message) = waiting.recv().await {
            if sink.feed(message).await.is_err() {
                return End::Gone;
            }
            let more = waiting.len();
            for _ in 0..more {
                if let Ok(message) = waiting.try_recv()
                    && sink.feed(message).await.is_err()
                {
                    return End::Gone;
                }
            }
            if sink.flush().await.is_err() {
                return End::Gone;
            }
        }
        End::Gone
    };
    let listen = async {
        let mut asked = false;
        loop {
            tokio::select! {
                heard = source.next() => match heard {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                    Some(Ok(_)) => asked = false,
                },
                () = sleep(&*app.clock, PING_EVERY) => {
                    if asked {
                        return End::Silent;
                    }
                    asked = true;
                    // A full buffer is the pump's matter.
                    let _full = frames.try_send(Message::Ping(bytes::Bytes::new()));
                }
            }
        }
    };
    let end = tokio::select! {
        end = pump => end,
        end = write => end,
        end = listen => end,
        () = app.stop.cancelled() => End::Away,
    };
    let (code, reason) = match end {
        End::Gone => return end,
        End::Slow => (close_code::AGAIN, "slow client"),
        End::Silent => (close_code::POLICY, "no answer to a ping"),
        End::Away => (close_code::AWAY, "the gateway ends"),
    };
    let goodbye = Message::Close(Some(CloseFrame {
        code,
        reason: reason.into(),
    }));
    match end {
        // What was sent before it is still on the way, so it takes a moment, in which
        // the place is free already.
        End::Slow => {
            drop(place);
            tokio::select! {
                _ = sink.send(goodbye) => {}
                () = sleep(&*app.clock, GOODBYE) => {}
                () = app.stop.cancelled() => {}
            }
        }
        // A client that takes no more is not waited for.
        End::Gone | End::Silent | End::Away => {
            let _told = sink.send(goodbye).now_or_never();
        }
    }
    end
}

/// Waits for what is heard first, then takes what is there, at most [`TURN`] of it.
/// False when the bus is gone.
async fn hear(ears: &mut [Subscription], batch: &mut Vec<Delivery>) -> bool {
    std::future::poll_fn(|context| {
        for ear in ears.iter_mut() {
            let room = TURN.saturating_sub(batch.len());
            if room == 0 {
                break;
            }
            let waiting = std::pin::pin!(ear.recv_many(batch, room));
            if waiting.poll(context) == Poll::Ready(0) {
                return Poll::Ready(false);
            }
        }
        if batch.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(true)
        }
    })
    .await
}

/// A packet as a frame; `None` when it is not for this caller or no packet.
async fn frame(
    app: &App,
    caller: &Caller,
    tenants: &mut Tenants,
    delivery: &Delivery,
) -> Option<String> {
    let mut packet = decode::decode(delivery).ok()?;
    if let Some(tenant) = &caller.tenant
        && tenants.of(app, &packet).await.as_ref() != Some(tenant)
    {
        return None;
    }
    if let Body::JobResult(result) = &mut packet.body
        && result.status == JobStatus::Denied
    {
        result.result_ptr.clear();
        result.artifact_ptrs.clear();
    }
    match json::packet_to_json(&packet) {
        Ok(value) => Some(value.to_string()),
        Err(error) => {
            tracing::warn!(%error, subject = %delivery.subject, "a packet is not in the stream");
            None
        }
    }
}

/// The tenants of jobs of which another plane has the record.
#[derive(Default)]
struct Tenants(BTreeMap<JobId, String>);

impl Tenants {
    /// The tenant that a packet is about; `None` if it is about no job that is known.
    async fn of(&mut self, app: &App, packet: &Packet) -> Option<String> {
        let job = match &packet.body {
            Body::JobRequest(request) => {
                return Some(request.tenant().unwrap_or(DEFAULT_TENANT).to_owned());
            }
            Body::JobResult(result) => &result.job_id,
            Body::JobProgress(progress) => &progress.job_id,
            Body::JobCancel(cancel) => &cancel.job_id,
            Body::Heartbeat(_) | Body::Handshake(_) | Body::Alert(_) | Body::WorkerHandshake(_) => {
                return None;
            }
        };
        let ours = {
            let ledger = ledger::lock(&app.ledger);
            ledger.job(job).map(|job| job.tenant().to_owned())
        };
        match (ours, &app.post) {
            (Some(tenant), _) => Some(tenant),
            (None, None) => None,
            (None, Some(_)) => self.on_record(app, job).await,
        }
    }

    /// What the plane that leads has written down of a job before it sent anything about
    /// it. A packet about a job is not shown as long as that cannot be read.
    async fn on_record(&mut self, app: &App, job: &JobId) -> Option<String> {
        if let Some(known) = self.0.get(job) {
            return Some(known.clone());
        }
        let meta = match app.store.hash(&format!("job:meta:{job}")).await {
            Ok(meta) => meta,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, %job, "a packet is not in a stream: whose it is cannot be read");
                return None;
            }
        };
        let tenant = meta.get("tenant")?.clone();
        while self.0.len() >= TENANTS {
            self.0.pop_first();
        }
        self.0.insert(job.clone(), tenant.clone());
        Some(tenant)
    }
}
