//! What a decision costs: `cargo bench --bench policy` prints Markdown.
//!
//! Fifty rules over every field, on one core, in three mixes: requests that rules
//! all over the file decide, requests that no rule matches so that all fifty are
//! asked, and requests that a rate counts. A noisy machine slows a run and never
//! hastens it, so the best of several rounds stands for the code. Nothing here
//! asserts a time.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench reads the clock and prints"
)]

mod rules;

use std::hint::black_box;
use std::time::Instant;

use capdeck::control_plane::kernel::Question;
use capdeck::control_plane::kernel::evaluate::evaluate;
use capdeck::control_plane::kernel::policy::Policy;
use capdeck::control_plane::kernel::velocity::Rates;
use capdeck::time::Timestamp;

use rules::{fifty, passing, question};

const ROUNDS: usize = 10;
const DECISIONS: usize = 200_000;

fn main() {
    let policy = Policy::parse(fifty().as_bytes()).unwrap();
    assert_eq!(policy.rules.len(), 50);
    let mixed: Vec<_> = (0..1_000).map(|n| question(n, passing(n))).collect();
    let unmatched: Vec<_> = (0..1_000)
        .map(|n| question(n, format!("job.other{n}.step")))
        .collect();
    let rated = Policy::parse(
        b"rules:
  - {id: fast, velocity: {max_requests: 100, window_seconds: 60, key: 'tenant:topic'}, decision: throttle}
  - {id: rest, decision: allow}
",
    )
    .unwrap();
    println!("| Mix | Decisions a second, one core | p50 | p99 |");
    println!("|---|---|---|---|");
    for (name, policy, questions) in [
        ("50 rules, decided all over the file", &policy, &mixed),
        ("50 rules, none matches", &policy, &unmatched),
        ("1 rate and 1 rule", &rated, &mixed),
    ] {
        let (best, p50, p99) = measure(policy, questions);
        println!("| {name} | {best:.0} | {p50:.2} µs | {p99:.2} µs |");
    }
}

/// Decisions a second in the best round, and how long one takes, in microseconds.
fn measure(policy: &Policy, questions: &[Question]) -> (f64, f64, f64) {
    let mut rates = Rates::default();
    let mut best = 0.0_f64;
    for round in 0..ROUNDS {
        let start = Instant::now();
        for n in 0..DECISIONS {
            let now = Timestamp::from_millis((round * DECISIONS + n) as i64);
            let question = &questions[n % questions.len()];
            black_box(evaluate(policy, black_box(question), &mut rates, now));
        }
        best = best.max(DECISIONS as f64 / start.elapsed().as_secs_f64());
    }
    let mut times: Vec<u128> = (0..DECISIONS)
        .map(|n| {
            let now = Timestamp::from_millis((ROUNDS * DECISIONS + n) as i64);
            let question = &questions[n % questions.len()];
            let start = Instant::now();
            black_box(evaluate(policy, black_box(question), &mut rates, now));
            start.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100] as f64 / 1_000.0;
    (best, at(50), at(99))
}
