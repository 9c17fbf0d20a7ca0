//! How many decisions a second a safety kernel gives over gRPC: the real
//! `capdeck kernel` with fifty rules, asked over one connection on loopback by the
//! client that planes use, with so many questions under way at a time.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use capdeck::control_plane::kernel::remote::{Address, RemoteKernel};
use capdeck::control_plane::kernel::{Question, SafetyKernel as _};

use crate::rules::{fifty, passing, question};
use crate::{console, ms, row};

/// How long questions are asked before it counts, and how long it counts.
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(5);

pub(crate) fn kernel() {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = dir.path().join("policy.yaml");
    std::fs::write(&policy, fifty()).expect("a file");
    let kernel = Served::start(policy.to_str().expect("text"));
    let one_by_one = measure(&kernel.url, 1);
    for under_way in [1, 16, 64] {
        let found = match under_way {
            1 => one_by_one,
            _ => measure(&kernel.url, under_way),
        };
        row(
            &format!("the kernel over gRPC on loopback, 50 rules, {under_way} under way"),
            &format!(
                "{:.0} decisions/s, p50 {}, p99 {}",
                found.per_second,
                ms(found.p50),
                ms(found.p99)
            ),
            &format!(
                "{:.1} times one question after the other",
                found.per_second / one_by_one.per_second
            ),
        );
    }
}

#[derive(Clone, Copy)]
struct Found {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

fn measure(url: &str, under_way: usize) -> Found {
    // The kernel has the other core.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut times = runtime.block_on(async {
        let address = Address {
            url: url.to_owned(),
            ca: None,
            identity: None,
        };
        let kernel = Arc::new(RemoteKernel::new(&address).expect("an address"));
        let questions: Arc<Vec<Question>> =
            Arc::new((0..1_000).map(|n| question(n, passing(n))).collect());
        let from = Instant::now() + WARM_UP;
        let askers: Vec<_> = (0..under_way)
            .map(|asker| {
                let (kernel, questions) = (Arc::clone(&kernel), Arc::clone(&questions));
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    for question in questions.iter().cycle().skip(asker * 17) {
                        let start = Instant::now();
                        if start > from + SPAN {
                            break;
                        }
                        let verdict = kernel.check(question).await.expect("a verdict");
                        assert!(verdict.rule_id.is_some());
                        if start > from {
                            times.push(start.elapsed());
                        }
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for asker in askers {
            times.extend(asker.await.expect("it asked to the end"));
        }
        times
    });
    times.sort();
    Found {
        per_second: times.len() as f64 / SPAN.as_secs_f64(),
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

/// The real program.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start(policy: &str) -> Self {
        let mut child = Command::new(console::binary())
            .args(["kernel", "--listen", "127.0.0.1:0", "--policy", policy])
            .env_remove("SAFETY_POLICY_PUBLIC_KEY")
            .stdout(Stdio::piped())
            .spawn()
            .expect("capdeck starts");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout)
            .read_line(&mut ready)
            .expect("it says when it is ready");
        let url = ready
            .strip_prefix("ready: kernel ")
            .and_then(|rest| rest.split_once(','))
            .expect("its address");
        Self {
            url: url.0.to_owned(),
            child,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Gone already is as good.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
