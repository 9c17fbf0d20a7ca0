//! The budget table of the README: what the console costs, measured by itself.
//!
//! `cargo bench --bench budget` prints it as Markdown, and with `-- idle key` only the
//! parts so named. The machines that run it
//! are shared and noisy, so a speed is also given as a ratio to something measured
//! in the same run: another program start, another size of the same table. Nothing
//! here asserts a time.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a bench reads the clock and prints"
)]

mod console;
mod ingest;
mod kernel;
mod memory;
mod plane;
mod rules;
#[path = "../it/support.rs"]
mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus, LinkState};
use capdeck::ids::{JobId, PoolName, SenderId, TraceId, WorkerId};
use capdeck::state::State;
use capdeck::state::action::Action;
use capdeck::state::effect::EffectQueue;
use capdeck::state::event::{Event, Stamped};
use capdeck::state::script;
use capdeck::time::{Clock, SystemClock};
use capdeck::tui::glyph::Glyphs;
use capdeck::tui::screen::{self, Context, Hints, Scene};
use capdeck::tui::theme::{Depth, Theme};
use capdeck::wire::packet::{Body, Heartbeat, JobProgress, JobRequest, Packet};
use capdeck::wire::{self, encode};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use console::Console;

/// The one of the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Samples of anything that is quick; the median and the 99th percentile are shown.
const SAMPLES: usize = 200;

/// The parts of the table, each with the name that chooses it.
const PARTS: [(&str, fn()); 8] = [
    ("first", first_frame),
    ("key", key_to_paint),
    ("idle", idle),
    ("frame", frame_cost),
    ("ingest", ingest::ingest),
    ("memory", memory::memory),
    ("kernel", kernel::kernel),
    ("plane", plane::plane),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|it| it == memory::CHILD) {
        return memory::child();
    }
    // Cargo adds flags of its own.
    let mut chosen = arguments
        .iter()
        .filter(|it| !it.starts_with('-'))
        .peekable();
    let all = chosen.peek().is_none();
    let chosen: Vec<&String> = chosen.collect();
    println!("| What | Measured | Compared in the same run |");
    println!("|---|---|---|");
    for (name, part) in PARTS {
        if all || chosen.iter().any(|it| *it == name) {
            part();
        }
    }
}

fn row(what: &str, measured: &str, compared: &str) {
    println!("| {what} | {measured} | {compared} |");
}

/// A console on servers that do not answer, and the same program asked for its version.
fn first_frame() {
    let mut frames: Vec<Duration> = (0..20)
        .map(|_| Console::start(&NO_SERVER, 120, 40).first_frame())
        .collect();
    let mut versions: Vec<Duration> = (0..20).map(|_| version()).collect();
    let (frame, version) = (median(&mut frames), median(&mut versions));
    row(
        "first painted frame, no server reachable",
        &format!("{} median of 20", ms(frame)),
        &format!(
            "`capdeck --version` {}: {:.1} times that",
            ms(version),
            frame.as_secs_f64() / version.as_secs_f64()
        ),
    );
}

const NO_SERVER: [&str; 3] = ["attach", "--nats", "nats://127.0.0.1:1"];

fn version() -> Duration {
    let start = Instant::now();
    let status = Command::new(console::binary())
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .expect("capdeck starts");
    assert!(status.success());
    start.elapsed()
}

fn key_to_paint() {
    let console = Console::start(&["demo", "--seed", "7"], 120, 40);
    console.first_frame();
    console.wait_for("LIVE");
    std::thread::sleep(Duration::from_secs(3));
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|index| {
            // Views 3 and 4 in turn: every key changes most of the screen.
            let key: &[u8] = if index % 2 == 0 { b"4" } else { b"3" };
            let time = console.key_to_frame(key);
            std::thread::sleep(Duration::from_millis(15));
            time
        })
        .collect();
    times.sort();
    row(
        "key to complete frame, in the living demo, a view change each",
        &format!(
            "p50 {}, p99 {}",
            ms(times[SAMPLES / 2]),
            ms(times[SAMPLES * 99 / 100])
        ),
        "a frame of an event that came just before counts as the answer",
    );
}

/// 200 workers that beat every 5 s and 5,000 jobs, on a real NATS server.
fn idle() {
    const WORKERS: usize = 200;
    const JOBS: usize = 5_000;
    const SPAN: Duration = Duration::from_secs(20);
    let nats = support::NatsProcess::start();
    let console = Console::start(&["attach", "--nats", &nats.url()], 120, 40);
    console.wait_for("LIVE");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let bus: Arc<dyn Bus> = runtime.block_on(async { connect(&nats).await });
    runtime.block_on(async {
        for index in 0..JOBS {
            publish(&*bus, wire::SUBMIT, &request(index)).await;
        }
    });
    let beats = runtime.spawn({
        let bus = Arc::clone(&bus);
        async move {
            let mut every = tokio::time::interval(Duration::from_secs(5) / WORKERS as u32);
            for index in (0..WORKERS).cycle() {
                every.tick().await;
                publish(&*bus, wire::HEARTBEAT, &heartbeat(index)).await;
            }
        }
    });
    std::thread::sleep(Duration::from_secs(6));
    let usage = console.watch(SPAN);
    beats.abort();
    let packets = WORKERS as f64 / 5.0;
    row(
        "idle: 200 workers beating every 5 s, 5,000 jobs, 120x40, real NATS",
        &format!(
            "{:.2} % of a core, {:.1} wake-ups/s, {:.1} frames/s, {:.0} bytes/s, {:.0} MB resident",
            usage.core_percent,
            usage.wakeups_per_second,
            usage.frames_per_second,
            usage.bytes_per_second,
            usage.resident_mb
        ),
        &format!(
            "{packets:.0} packets/s: {:.2} wake-ups a packet",
            usage.wakeups_per_second / packets
        ),
    );
}

async fn connect(nats: &support::NatsProcess) -> Arc<dyn Bus> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bus = NatsBus::connect(&nats.config(), clock).expect("a configuration that can be used");
    let mut link = bus.link();
    link.wait_for(|state| *state == LinkState::Up)
        .await
        .expect("the bus lives");
    Arc::new(bus)
}

async fn publish(bus: &dyn Bus, subject: &'static str, packet: &Packet) {
    let subject = wire::subject(subject);
    let bytes = encode::encode(&subject, packet).expect("a packet by the contract");
    bus.publish(&subject, bytes)
        .await
        .expect("the server lives");
}

fn packet(sender: &str, body: Body) -> Packet {
    Packet::new(
        TraceId::from("bench"),
        SenderId::from(sender),
        SystemClock.now(),
        body,
    )
}

fn request(index: usize) -> Packet {
    asks("bench", index)
}

fn dispatch(index: usize) -> Packet {
    asks(wire::SENDER_SCHEDULER, index)
}

/// A report of the worker that has the job: `step` of its steps are done.
fn progress(index: usize, step: usize) -> Packet {
    packet(
        &format!("w-batch-{:03}", index % 200),
        Body::JobProgress(Box::new(JobProgress {
            job_id: JobId::from(format!("job-{index:08}")),
            percent: (step * 5 % 101) as i32,
            message: format!("page {step} of 20"),
            ..JobProgress::default()
        })),
    )
}

fn asks(sender: &str, index: usize) -> Packet {
    packet(
        sender,
        Body::JobRequest(Box::new(JobRequest {
            job_id: JobId::from(format!("job-{index:08}")),
            topic: format!("job.batch.kind{}", index % 20),
            tenant_id: "acme".to_owned(),
            labels: [("app", "bench"), ("team", "search"), ("zone", "b")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..JobRequest::default()
        })),
    )
}

fn heartbeat(index: usize) -> Packet {
    let name = format!("w-batch-{index:03}");
    packet(
        &name,
        Body::Heartbeat(Box::new(Heartbeat {
            worker_id: WorkerId::from(name.as_str()),
            pool: PoolName::from("batch"),
            cpu_load: (index % 100) as f32,
            memory_load: 40.0,
            active_jobs: (index % 8) as i32,
            max_parallel_jobs: 8,
            ..Heartbeat::default()
        })),
    )
}

/// One frame at 200x60 with ever more jobs in the model.
fn frame_cost() {
    let base = frame(1_000);
    for jobs in [1_000, 100_000, 200_000] {
        let cost = if jobs == 1_000 { base } else { frame(jobs) };
        row(
            &format!("a frame of Jobs at 200x60, {jobs} jobs in the model"),
            &format!("{} median of {SAMPLES}", ms(cost)),
            &format!(
                "{:.2} times the frame at 1,000 jobs",
                cost.as_secs_f64() / base.as_secs_f64()
            ),
        );
    }
}

fn frame(jobs: usize) -> Duration {
    let mut script = String::new();
    for index in 0..jobs {
        // The same ages whatever the number, so that the rows on the screen are alike.
        let at = index * 100 / jobs;
        script.push_str(&format!(
            "{at}s submit job-{index:08} topic=job.batch.kind{} | ",
            index % 20
        ));
        if index % 3 == 0 {
            script.push_str(&format!("{at}s dispatch job-{index:08} w{} | ", index % 97));
        }
    }
    let mut state: State = script::run(&script).expect("a script");
    let mut effects = EffectQueue::new();
    for action in [
        Action::Resize {
            columns: 200,
            rows: 60,
        },
        Action::Jobs,
    ] {
        let event = Stamped {
            seq: 0,
            at: state.now,
            value: Event::User(action),
        };
        state.step(&event, &mut effects);
    }
    let mut screen = Screen::new(200, 60);
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            screen.draw(&state);
            start.elapsed()
        })
        .collect();
    median(&mut times)
}

/// A screen without a terminal.
struct Screen {
    context: Context,
    hints: Hints,
    theme: Theme,
    buffer: Buffer,
}

impl Screen {
    fn new(columns: u16, rows: u16) -> Self {
        Self {
            context: Context::default(),
            hints: Hints::default(),
            theme: Theme::shipped("dark", Depth::True),
            buffer: Buffer::empty(Rect::new(0, 0, columns, rows)),
        }
    }

    fn draw(&mut self, state: &State) {
        let scene = Scene {
            state,
            context: &self.context,
            hints: &self.hints,
            theme: &self.theme,
            glyphs: Glyphs::UNICODE,
        };
        self.buffer.reset();
        let area = self.buffer.area;
        std::hint::black_box(screen::draw(&scene, area, &mut self.buffer));
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1_000.0)
}
