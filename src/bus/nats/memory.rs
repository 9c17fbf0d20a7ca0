//! What the server remembers of the bus: a JetStream stream that captures subjects.
//!
//! A stream that already captures a subject is used as it is. Where there is none it is
//! made as CAP deployments make theirs, so that either finds the other's. A server
//! without JetStream remembers nothing, which is no error.

use std::time::{Duration, SystemTime};

use async_nats::Client;
use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::{
    GetStreamByNameError, GetStreamByNameErrorKind, RequestError, RequestErrorKind,
};
use async_nats::jetstream::stream::Config as StreamConfig;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;

use crate::bus::{Delivery, Encoding, Pattern, Subject};
use crate::time::Timestamp;

/// The stream of what controls jobs, and what it captures, as CAP deployments have it.
const STREAM: &str = "CORDUM_SYS";
const CAPTURED: &str = "sys.>";
/// How long it remembers, the time of CAP deployments.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long the server may take for a batch.
const BATCH_LIMIT: Duration = Duration::from_secs(2);
/// Messages of a batch.
const BATCH: usize = 1_000;
/// Messages that are read again at most: more than two planes hear in the gap between
/// them, and what fits into memory.
const MOST: u64 = 500_000;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Sees to it that messages on `pattern` are remembered. Returns whether they are.
pub(super) async fn remember(client: &Client, pattern: &Pattern) -> Result<bool, Fault> {
    let context = context(client);
    match context.stream_by_subject(pattern.as_str()).await {
        Ok(_) => return Ok(true),
        Err(error) if is_absent(&error) => return Ok(false),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let stream = StreamConfig {
        name: STREAM.to_owned(),
        subjects: vec![CAPTURED.to_owned()],
        max_age: MAX_AGE,
        ..StreamConfig::default()
    };
    context.get_or_create_stream(stream).await?;
    Ok(true)
}

/// The messages on `patterns` since an instant, in the order in which they were
/// published; none where nothing is remembered.
pub(super) async fn replay(
    client: &Client,
    patterns: &[Pattern],
    since: Timestamp,
) -> Result<Vec<Delivery>, Fault> {
    let Some(first) = patterns.first() else {
        return Ok(Vec::new());
    };
    let context = context(client);
    let name = match context.stream_by_subject(first.as_str()).await {
        Ok(name) => name,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let stream = context.get_stream_no_info(&name).await?;
    let ms = u64::try_from(since.as_millis()).unwrap_or(0);
    let start = SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    let mut consumer = stream
        .create_consumer(PullConfig {
            deliver_policy: DeliverPolicy::ByStartTime {
                start_time: start.into(),
            },
            ack_policy: AckPolicy::None,
            filter_subjects: patterns.iter().map(|it| it.as_str().to_owned()).collect(),
            inactive_threshold: Duration::from_secs(30),
            ..PullConfig::default()
        })
        .await?;
    // What is published from here on is heard as everything else is.
    let mut left = consumer.info().await?.num_pending.min(MOST);
    let mut found = Vec::new();
    while left > 0 {
        let wanted = BATCH.min(usize::try_from(left).unwrap_or(BATCH));
        let batch = consumer.fetch().max_messages(wanted).expires(BATCH_LIMIT);
        let mut batch = batch.messages().await?;
        let before = left;
        while let Some(message) = batch.next().await {
            let message = message?;
            left = left.saturating_sub(1);
            let Ok(subject) = Subject::parse(message.subject.as_str()) else {
                continue;
            };
            found.push(Delivery {
                subject,
                payload: message.payload.clone(),
                encoding: Encoding::Proto,
            });
        }
        if left == before {
            return Err(format!("the stream {name} does not give {left} more messages").into());
        }
    }
    Ok(found)
}

fn context(client: &Client) -> Context {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(BATCH_LIMIT);
    context
}

/// Whether the server has no JetStream, or not for us.
fn is_absent(error: &GetStreamByNameError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        // Nobody listens where JetStream would.
        let request = error.downcast_ref::<RequestError>();
        if request.is_some_and(|it| it.kind() == RequestErrorKind::NoResponders) {
            return true;
        }
        cause = error.source();
    }
    matches!(
        error.kind(),
        GetStreamByNameErrorKind::JetStream(fault)
            if fault.error_code() == jetstream::ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT
    )
}
