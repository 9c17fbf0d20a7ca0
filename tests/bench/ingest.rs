//! How many packets a second go from a real NATS server into the model, with the
//! screen on, beside a loop that only subscribes and decodes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus, Delivery, Encoding, LinkState, Subject};
use capdeck::ids::SenderId;
use capdeck::runtime::{Identity, Runtime, Sources};
use capdeck::state::State;
use capdeck::state::effect::EffectQueue;
use capdeck::state::event::Event;
use capdeck::time::{Clock, SystemClock};
use capdeck::tui::pace::{Pace, Urgency};
use capdeck::wire::{self, decode, encode};
use futures_util::StreamExt as _;

use crate::console::Console;
use crate::{Screen, heartbeat, progress, request, row, support};

/// How long each side of the comparison runs.
const SPAN: Duration = Duration::from_secs(5);
/// How long the console in a terminal must take the promised rate.
const SUSTAINED: Duration = Duration::from_secs(60);
/// What the console promises to take, packets a second.
const PROMISED: u64 = 200_000;
/// Jobs and workers that the packets are about.
const JOBS: usize = 5_000;
const WORKERS: usize = 200;
/// Packets that may be on their way when a side sets the pace itself: half of what a
/// subscription holds, so that nothing is ever dropped.
const ON_THE_WAY: u64 = 30_000;

/// How fast packets are sent.
enum Rate {
    /// So many a second, whatever becomes of them.
    PerSecond(u64),
    /// As fast as this count of those that were taken grows.
    AsTaken(Arc<AtomicU64>),
}

pub(crate) fn ingest() {
    let traffic = traffic();
    let nats = support::NatsProcess::start();
    let bare = bare(&nats, &traffic);
    let (model, dropped) = model(&nats, &traffic);
    row(
        "ingest from a real NATS server into the model, screen on, as fast as it goes",
        &format!("{model:.0} packets/s, {dropped} dropped"),
        &format!(
            "a bare subscribe-and-decode loop {bare:.0} packets/s: {:.0} % of that",
            100.0 * model / bare
        ),
    );
    sustained(&nats, &traffic);
}

/// The real console in a terminal at the rate it promises.
fn sustained(nats: &support::NatsProcess, traffic: &Traffic) {
    let console = Console::start(&["attach", "--nats", &nats.url()], 120, 40);
    console.wait_for("LIVE");
    let pusher = Pusher::start(nats, traffic, Rate::PerSecond(PROMISED));
    let usage = console.watch(SUSTAINED);
    let sent = pusher.stop();
    std::thread::sleep(Duration::from_secs(2));
    let head = console.text();
    let head = head.lines().next().unwrap_or("");
    row(
        &format!(
            "the same, the real console in a terminal, {} s at {PROMISED} packets/s",
            SUSTAINED.as_secs()
        ),
        &format!(
            "{:.0} packets/s sent; its header says `{}`",
            sent as f64 / SUSTAINED.as_secs_f64(),
            head.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
        &format!(
            "{:.0} % of a core, {:.1} frames/s",
            usage.core_percent, usage.frames_per_second
        ),
    );
}

/// Subscribes and decodes, and nothing else. Packets a second.
fn bare(nats: &support::NatsProcess, traffic: &Traffic) -> f64 {
    runtime().block_on(async {
        let client = async_nats::connect(nats.url()).await.expect("the server");
        let mut messages = client.subscribe("sys.>").await.expect("a subscription");
        client.flush().await.expect("the server lives");
        let read = Arc::new(AtomicU64::new(0));
        let pusher = Pusher::start(nats, traffic, Rate::AsTaken(Arc::clone(&read)));
        let start = Instant::now();
        while start.elapsed() < SPAN {
            let message = messages.next().await.expect("the pusher pushes");
            let delivery = Delivery {
                subject: Subject::received(&message.subject),
                payload: message.payload,
                encoding: Encoding::Proto,
            };
            std::hint::black_box(decode::decode(&delivery)).expect("a packet");
            read.fetch_add(1, Ordering::Relaxed);
        }
        let per_second = read.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        pusher.stop();
        per_second
    })
}

/// The console's own loop, on a buffer in place of a terminal. Packets a second, and
/// how many were dropped.
fn model(nats: &support::NatsProcess, traffic: &Traffic) -> (f64, u64) {
    runtime().block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let bus = NatsBus::connect(&nats.config(), Arc::clone(&clock)).expect("a configuration");
        let mut link = bus.link();
        let sources = Sources {
            bus: Some(Arc::new(bus) as Arc<dyn Bus>),
            ..Sources::default()
        };
        let identity = Identity {
            operator: "bench".to_owned(),
            console: SenderId::from("capdeck-bench"),
            audit: None,
            read_only: true,
        };
        let mut runtime = Runtime::start(sources, identity, Arc::clone(&clock));
        link.wait_for(|state| *state == LinkState::Up)
            .await
            .expect("the bus lives");
        let read = Arc::new(AtomicU64::new(0));
        let pusher = Pusher::start(nats, traffic, Rate::AsTaken(Arc::clone(&read)));
        let mut state = State::default();
        let mut effects = EffectQueue::new();
        let mut pace = Pace::default();
        let mut screen = Screen::new(120, 40);
        let mut batch = Vec::new();
        let start = Instant::now();
        while start.elapsed() < SPAN {
            if pace.is_due(clock.now()) {
                screen.draw(&state);
                pace.drawn(clock.now());
            }
            assert!(runtime.next_batch(pace.due(), &mut batch).await);
            for event in batch.drain(..) {
                if matches!(event.value, Event::Packet(_)) {
                    read.fetch_add(1, Ordering::Relaxed);
                }
                pace.changed(Urgency::of(&event.value).unwrap_or(Urgency::Beat));
                state.step(&event, &mut effects);
            }
        }
        let per_second = read.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        pusher.stop();
        // What was lost is counted twice a second.
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            assert!(runtime.next_batch(None, &mut batch).await);
            for event in batch.drain(..) {
                state.step(&event, &mut effects);
            }
        }
        runtime.shutdown().await;
        (per_second, state.model.links.dropped())
    })
}

/// As the console has it: one thread that reads, beside the one that calls.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Packets as a NATS client writes them, in pieces of about a millisecond's worth.
struct Traffic {
    pieces: Vec<Vec<u8>>,
}

/// Packets in one piece.
const PIECE: usize = 200;

/// Nine reports of progress for each heartbeat.
fn traffic() -> Traffic {
    let mut packets = Vec::new();
    for index in 0..JOBS {
        packets.push((wire::SUBMIT, request(index)));
    }
    for index in 0..20 * JOBS {
        packets.push(if index % 10 == 0 {
            (wire::HEARTBEAT, heartbeat(index / 10 % WORKERS))
        } else {
            (wire::PROGRESS, progress(index % JOBS, index / JOBS))
        });
    }
    let pieces = packets.chunks(PIECE).map(|packets| {
        let mut piece = Vec::new();
        for (name, packet) in packets {
            let subject = wire::subject(name);
            let bytes = encode::encode(&subject, packet).expect("a packet by the contract");
            let head = format!("PUB {name} {}\r\n", bytes.len());
            piece.extend_from_slice(head.as_bytes());
            piece.extend_from_slice(&bytes);
            piece.extend_from_slice(b"\r\n");
        }
        piece
    });
    Traffic {
        pieces: pieces.collect(),
    }
}

/// Writes the same traffic again and again, on a thread and a connection of its own.
struct Pusher {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Pusher {
    fn start(nats: &support::NatsProcess, traffic: &Traffic, rate: Rate) -> Self {
        let address = nats.url().replace("nats://", "");
        let mut line = TcpStream::connect(address).expect("the server");
        let mut hello = String::new();
        BufReader::new(line.try_clone().expect("a socket"))
            .read_line(&mut hello)
            .expect("the server says hello");
        line.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")
            .expect("the server listens");
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (stop, sent, pieces) = (
                Arc::clone(&stop),
                Arc::clone(&sent),
                traffic.pieces.to_owned(),
            );
            move || {
                let start = Instant::now();
                for piece in pieces.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    line.write_all(piece).expect("the server takes it");
                    let all = sent.fetch_add(PIECE as u64, Ordering::Relaxed) + PIECE as u64;
                    match &rate {
                        Rate::PerSecond(rate) => {
                            let due = Duration::from_secs_f64(all as f64 / *rate as f64);
                            std::thread::sleep(due.saturating_sub(start.elapsed()));
                        }
                        Rate::AsTaken(taken) => {
                            while all > taken.load(Ordering::Relaxed) + ON_THE_WAY
                                && !stop.load(Ordering::Relaxed)
                            {
                                std::thread::sleep(Duration::from_micros(50));
                            }
                        }
                    }
                }
            }
        });
        Self { stop, sent, thread }
    }

    /// Stops and says how many packets were sent.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the pusher ends well");
        self.sent.load(Ordering::Relaxed)
    }
}
