//! What a full model and a freeze of it cost in memory, in a process of their own.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use capdeck::ids::WorkerId;
use capdeck::state::State;
use capdeck::state::action::Action;
use capdeck::state::effect::EffectQueue;
use capdeck::state::event::{Event, Heard, Route, Stamped};
use capdeck::time::{Clock as _, SystemClock};
use capdeck::wire::packet::Packet;

use crate::{dispatch, heartbeat, progress, request, row};

/// What makes this program measure instead of asking a child to.
pub(crate) const CHILD: &str = "--measure-memory";

const JOBS: usize = 100_000;
const WORKERS: usize = 10_000;
/// Jobs that move after the freeze.
const MOVED: usize = 1_000;

/// Memory is that of a process, so each measurement has one.
pub(crate) fn memory() {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).arg(CHILD).output();
    let output = output.expect("this program starts");
    assert!(output.status.success(), "{output:?}");
    print_rows(&String::from_utf8(output.stdout).expect("a table"));
}

fn print_rows(rows: &str) {
    for line in rows.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, what, measured, compared, _] = cells[..] {
            row(what, measured, compared);
        }
    }
}

pub(crate) fn child() {
    let before = resident_kb();
    let mut state = State::default();
    for index in 0..WORKERS {
        hear(&mut state, Route::Heartbeat, heartbeat(index));
    }
    for index in 0..JOBS {
        hear(&mut state, Route::Submit, request(index));
        let worker = Some(WorkerId::from(format!("w-batch-{:03}", index % WORKERS)));
        hear(&mut state, Route::Dispatch { worker }, dispatch(index));
        hear(&mut state, Route::Progress, progress(index, 3));
    }
    let model = resident_kb() - before;
    row(
        &format!("memory: {WORKERS} workers and {JOBS} jobs with 3 labels, all running"),
        &format!("{:.0} MB", mb(model)),
        &format!("{:.2} kB a job", model as f64 / JOBS as f64),
    );
    let start = Instant::now();
    act(&mut state, Action::Freeze);
    let froze = start.elapsed();
    let frozen = resident_kb() - before - model;
    let before_moves = resident_kb();
    for index in 0..MOVED {
        hear(
            &mut state,
            Route::Progress,
            progress(index * (JOBS / MOVED), 9),
        );
    }
    let moved = resident_kb() - before_moves;
    row(
        &format!("a freeze of that, and {MOVED} jobs that move after it"),
        &format!(
            "{:.2} ms and {:.1} MB, then {:.1} MB",
            froze.as_secs_f64() * 1_000.0,
            mb(frozen),
            mb(moved)
        ),
        &format!(
            "{:.1} % of the model",
            100.0 * (frozen + moved) as f64 / model as f64
        ),
    );
}

fn hear(state: &mut State, route: Route, packet: Packet) {
    let heard = Heard {
        route,
        subject: Arc::from("sys"),
        packet,
    };
    step(state, Event::Packet(Box::new(heard)));
}

fn act(state: &mut State, action: Action) {
    step(state, Event::User(action));
}

fn step(state: &mut State, value: Event) {
    let event = Stamped {
        seq: 0,
        at: SystemClock.now(),
        value,
    };
    state.step(&event, &mut EffectQueue::new());
}

fn mb(kb: u64) -> f64 {
    kb as f64 / 1_024.0
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc(5)");
    crate::console::number_after(&status, "VmRSS:").expect("a line of proc(5)")
}
