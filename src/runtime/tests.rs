use std::sync::Arc;

use bytes::Bytes;

use super::{Identity, Runtime, Sources};
use crate::audit::AuditLog;
use crate::bus::local::LocalBus;
use crate::bus::{Bus as _, Delivery, Encoding, Pattern, Subject};
use crate::ids::{JobId, SenderId, TraceId};
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::{Event, Source};
use crate::state::step::State;
use crate::time::{Clock as _, SystemClock};
use crate::wire::packet::{Body, JobRequest, Packet};
use crate::wire::{SUBMIT, decode, encode, subject};

fn identity(dir: &tempfile::TempDir) -> Identity {
    Identity {
        operator: "oncall-1".to_owned(),
        console: SenderId::from("capdeck-0badcafe"),
        audit: Some(AuditLog::at(dir.path().join("audit.jsonl"))),
        read_only: false,
    }
}

async fn run_until(runtime: &mut Runtime, state: &mut State, done: impl Fn(&State) -> bool) {
    let mut effects = EffectQueue::new();
    let mut batch = Vec::new();
    let mut seq = None;
    for _ in 0..200 {
        if done(state) {
            return;
        }
        assert!(
            runtime.next_batch(None, &mut batch).await,
            "the runtime goes on"
        );
        for event in batch.drain(..) {
            assert!(
                seq.is_none_or(|last| event.seq == last + 1),
                "numbers are dense"
            );
            assert!(event.at >= state.now, "time never goes back");
            seq = Some(event.seq);
            state.step(&event, &mut effects);
        }
    }
    panic!("it did not happen in 200 batches");
}

#[tokio::test]
async fn what_is_published_reaches_the_model_and_what_is_broken_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let bus = Arc::new(LocalBus::new());
    let sources = Sources {
        bus: Some(Arc::clone(&bus) as Arc<dyn crate::bus::Bus>),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut state = State::default();
    run_until(&mut runtime, &mut state, |state| {
        state.model.links.of(Source::Bus).is_up()
    })
    .await;
    // A subscription is made by its own task; publish until one message came through.
    let request = JobRequest {
        job_id: JobId::from("j1"),
        topic: "job.demo.echo".to_owned(),
        ..JobRequest::default()
    };
    let packet = Packet::new(
        TraceId::from("t1"),
        SenderId::from("client"),
        SystemClock.now(),
        Body::JobRequest(Box::new(request)),
    );
    let bytes = encode::encode(&subject(SUBMIT), &packet).expect("a valid request");
    let broken = Subject::parse("sys.job.submit").expect("a subject");
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    bus.publish(&subject(SUBMIT), bytes)
        .await
        .expect("published");
    bus.publish(&broken, Bytes::from_static(b"\xff\xff"))
        .await
        .expect("published");
    run_until(&mut runtime, &mut state, |state| {
        state.model.jobs.len() == 1 && state.model.traffic.malformed() == 1
    })
    .await;
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_cancel_is_written_down_then_published_as_a_packet_that_a_careful_receiver_takes() {
    let dir = tempfile::tempdir().expect("a directory");
    let bus = Arc::new(LocalBus::new());
    let mut heard = bus
        .subscribe(&Pattern::parse("sys.job.cancel").expect("a pattern"), None)
        .await
        .expect("subscribed");
    let sources = Sources {
        bus: Some(Arc::clone(&bus) as Arc<dyn crate::bus::Bus>),
        ..Sources::default()
    };
    let mut runtime = Runtime::start(sources, identity(&dir), Arc::new(SystemClock));
    let mut effects = EffectQueue::new();
    effects.push(Effect::Cancel {
        job: JobId::from("j1"),
        reason: Arc::from("duplicate"),
    });
    effects.push(Effect::Quit);
    let own = runtime.run(&mut effects);
    assert_eq!(own.len(), 1, "quitting is the terminal's business");
    let delivery: Delivery = heard.recv().await.expect("a cancel");
    assert_eq!(delivery.encoding, Encoding::Proto);
    let packet = decode::decode(&delivery).expect("a packet");
    assert_eq!(packet.warnings, []);
    assert_eq!(packet.sender.as_str(), "capdeck-0badcafe");
    let Body::JobCancel(cancel) = packet.body else {
        panic!("not a cancel");
    };
    assert_eq!(
        (
            cancel.job_id.as_str(),
            &*cancel.reason,
            &*cancel.requested_by
        ),
        ("j1", "duplicate", "oncall-1")
    );
    let mut batch = Vec::new();
    while !batch
        .iter()
        .any(|event: &crate::state::event::Stamped<Event>| {
            matches!(event.value, Event::Outcome(_, Outcome::Done(None)))
        })
    {
        assert!(runtime.next_batch(None, &mut batch).await);
    }
    let log = std::fs::read_to_string(dir.path().join("audit.jsonl")).expect("a log");
    let actions: Vec<bool> = log
        .lines()
        .map(|line| line.contains("cancel.outcome"))
        .collect();
    assert_eq!(actions, [false, true]);
    runtime.shutdown().await;
}

#[tokio::test]
async fn a_console_that_only_reads_asks_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let identity = Identity {
        read_only: true,
        ..identity(&dir)
    };
    let runtime = Runtime::start(Sources::default(), identity, Arc::new(SystemClock));
    let outcome = runtime
        .run_now(&Effect::Cancel {
            job: JobId::from("j1"),
            reason: Arc::default(),
        })
        .await;
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(&*refusal.code, "read_only");
    assert!(!dir.path().join("audit.jsonl").exists());
}
