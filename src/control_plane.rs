//! A whole small CAP control plane: gateway, scheduler, safety kernel, workers.
//!
//! It meets the console only on the wire: packets on the bus, HTTP at the
//! gateway, payloads in the store. This room puts the parts together and takes
//! them down; what a job is and what happens to it is in [`ledger`], who decides
//! in [`kernel`], who places and follows in [`scheduler`], how people reach it in
//! [`gateway`], and what the demo does by itself in [`scenario`] and [`worker`].
#![warn(clippy::wildcard_enum_match_arm)]

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::bus::{Bus, BusError, Pattern};
use crate::control_plane::gateway::{Gateway, GatewayError};
use crate::control_plane::keeper::{Keeper, Standing};
use crate::control_plane::kernel::live::{PolicyFileError, PolicyKernel};
use crate::control_plane::kernel::policy::Policy;
use crate::control_plane::kernel::remote::{self, RemoteKernel};
use crate::control_plane::kernel::signature::PolicyKey;
use crate::control_plane::kernel::{KernelError, SafetyKernel};
use crate::control_plane::ledger::{Ledger, SharedLedger, lock};
use crate::control_plane::scenario::{Outlets, Plan, PolicyEdit, PolicyHook, Scenario};
use crate::control_plane::scheduler::Scheduler;
use crate::control_plane::scheduler::placement::Routes;
use crate::control_plane::worker::Fleet;
use crate::ids::{SenderId, TraceId};
use crate::store::Store;
use crate::time::{BoxFuture, Clock, Elapsed, Timestamp, sleep};
use crate::wire::packet::{Body, Packet, SystemAlert};
use crate::wire::{self, encode};

pub mod gateway;
pub mod keeper;
pub mod kernel;
pub mod ledger;
pub mod private_file;
mod reserved;
pub mod scenario;
pub mod scheduler;
pub mod simulation;
pub mod worker;

/// The policy that is in force when no file is named.
pub const BUILT_IN_POLICY: &str = include_str!("../demo/policy.yaml");

/// How long a part may take to end at shutdown before it is left behind.
const GOODBYE: Elapsed = Elapsed::from_secs(5);
/// Mishaps of the scenario that may wait for the workers; they come a few a minute.
const INCIDENTS: usize = 64;
/// Snapshots are asked for again this often from a kernel that does not tell.
const SNAPSHOT_EVERY: Elapsed = Elapsed::from_secs(5);

/// Who decides about jobs.
#[derive(Clone, Debug)]
pub enum Rules {
    /// [`BUILT_IN_POLICY`]; the scenario may change it on its way.
    BuiltIn,
    /// A policy file, followed as it changes.
    File(PathBuf),
    /// A policy file that must be signed by this key, followed as it changes.
    SignedFile(PathBuf, PolicyKey),
    /// A kernel somewhere else, asked by gRPC. It may be away.
    Remote(remote::Address),
    /// Somebody else.
    Kernel(Arc<dyn SafetyKernel>),
}

/// What a plane is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who decides about jobs.
    pub rules: Rules,
    /// Pools, traffic and mishaps.
    pub scenario: Scenario,
    /// Whether the scenario's workers work; without them the scenario maps no
    /// topics either, and the work is left to whoever else beats on the bus.
    pub workers: bool,
    /// Whether the scenario submits jobs and lets things happen.
    pub traffic: bool,
    /// How fast the scenario's traffic comes; 1 is as written.
    pub speed: f64,
    /// What ids and the scenario's plan are drawn from.
    pub seed: u64,
    /// Where the gateway listens.
    pub http: gateway::Options,
    /// Jobs kept; ended ones go first.
    pub max_jobs: usize,
    /// Whether jobs go on without a verdict while the kernel does not answer. They wait
    /// unless somebody asks for this in so many words.
    pub fail_open: bool,
    /// The name of this plane among those that share bus and store, where it keeps its
    /// record on the store; `None` keeps it in memory.
    pub shared_as: Option<String>,
}

/// Why a plane does not start. Nothing runs then.
#[derive(Debug, Error)]
pub enum StartError {
    /// The policy file cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyFileError),
    /// The kernel somewhere else can never be asked.
    #[error(transparent)]
    Kernel(#[from] remote::AddressError),
    /// The gateway cannot listen.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// There is no bus to listen to.
    #[error("the scheduler cannot listen")]
    Bus(#[from] BusError),
}

/// A running plane. Dropping it stops it without waiting.
pub struct ControlPlane {
    gateway: Option<Gateway>,
    http_addr: SocketAddr,
    /// In the order in which they are stopped.
    parts: Vec<Part>,
    ledger: SharedLedger,
    kernel: Arc<dyn SafetyKernel>,
    keeper: Option<Arc<Keeper>>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane")
            .field("http_addr", &self.http_addr)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// A task with its own stop.
#[derive(Debug)]
struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl ControlPlane {
    /// Starts every part. When it returns, the gateway answers and the scheduler
    /// hears.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Result<Self, StartError> {
        let rules = InForce::of(&options.rules, &clock)?;
        let routes = Arc::new(if options.workers {
            Routes::new(options.scenario.topics())
        } else {
            Routes::default()
        });
        let mut ledger = Ledger::new(options.max_jobs, options.seed);
        if options.fail_open {
            ledger = ledger.failing_open();
        }
        if options.shared_as.is_some() {
            ledger = ledger.keeping();
        }
        if let Some(policy) = rules.kernel.health() {
            ledger.belongs_to(&policy.default_tenant);
        }
        let ledger: SharedLedger = Arc::new(Mutex::new(ledger));
        let wake = Arc::new(Notify::new());
        let keeper = options.shared_as.map(|name| {
            let parts = keeper::Parts {
                store: Arc::clone(&store),
                bus: Arc::clone(&bus),
                clock: Arc::clone(&clock),
                ledger: Arc::clone(&ledger),
                kernel: rules.ours.clone(),
                wake: Arc::clone(&wake),
            };
            Arc::new(Keeper::new(parts, name))
        });
        let parts = scheduler::Parts {
            bus: Arc::clone(&bus),
            store: Arc::clone(&store),
            kernel: Arc::clone(&rules.kernel),
            ledger: Arc::clone(&ledger),
            routes: Arc::clone(&routes),
            wake: Arc::clone(&wake),
            keeper: keeper.clone(),
        };
        let scheduler = Scheduler::listen(parts, Arc::clone(&clock)).await?;
        if let Some(keeper) = &keeper {
            // Listening already, so that nothing falls between the record and the bus.
            for name in [wire::SUBMIT, wire::RESULT, wire::CANCEL] {
                bus.remember(&Pattern::from(&wire::subject(name))).await?;
            }
            keeper.look().await;
        }
        let gateway = Gateway::start(
            gateway::Parts {
                bus: Arc::clone(&bus),
                store: Arc::clone(&store),
                clock: Arc::clone(&clock),
                ledger: Arc::clone(&ledger),
                kernel: Arc::clone(&rules.kernel),
                routes,
                wake,
                keeper: keeper.clone(),
            },
            options.http,
        )
        .await?;

        let spawner = Spawner {
            bus: Arc::clone(&bus),
            clock: Arc::clone(&clock),
        };
        let scenario = Arc::new(options.scenario);
        let (befall, incidents) = mpsc::channel(INCIDENTS);
        let mut parts = Vec::new();
        if options.traffic {
            let pace = Pace::of(Arc::clone(&clock), options.speed);
            let plan = Plan::new(Arc::clone(&scenario), options.seed, pace.now());
            let outlets = Outlets {
                bus: Arc::clone(&bus),
                store: Arc::clone(&store),
                clock: Arc::new(pace),
                incidents: befall,
                policy: rules.hook(),
            };
            let traffic = |stop| scenario::run(plan, outlets, stop);
            parts.push(spawner.spawn("scenario", traffic));
        } else {
            drop(befall);
        }
        parts.push(spawner.spawn("scheduler", |stop| async move {
            if let Err(error) = scheduler.run(stop).await {
                tracing::error!(%error, "the scheduler has stopped");
            }
        }));
        if options.workers {
            let fleet = Fleet::new(scenario, options.seed, clock.now());
            let work = {
                let (bus, clock) = (Arc::clone(&bus), Arc::clone(&clock));
                |stop| worker::run(fleet, incidents, bus, store, clock, stop)
            };
            parts.push(spawner.spawn("workers", work));
        }
        parts.push(spawner.spawn("kernel", {
            let (ledger, clock) = (Arc::clone(&ledger), Arc::clone(&clock));
            let rules = rules.clone();
            |stop| follow(rules, bus, ledger, clock, stop)
        }));
        // Last, so that what the others did at their end is on record.
        if let Some(keeper) = keeper.clone() {
            let keep = |stop| async move { keeper.run(stop).await };
            parts.push(spawner.spawn("keeper", keep));
        }
        Ok(Self {
            http_addr: gateway.addr(),
            gateway: Some(gateway),
            parts,
            ledger,
            kernel: rules.kernel,
            keeper,
            clock,
        })
    }

    /// Where the gateway listens, the port chosen.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The policy in force; empty if the kernel names none.
    ///
    /// # Errors
    /// [`KernelError`] while the kernel does not answer.
    pub async fn snapshot(&self) -> Result<String, KernelError> {
        let snapshots = snapshots(&*self.kernel, &*self.clock).await?;
        Ok(snapshots.into_iter().next().unwrap_or_default())
    }

    /// Where it stands among those that share its record; `None` when it shares none.
    pub fn standing(&self) -> Option<Standing> {
        let keeper = self.keeper.as_ref()?;
        Some(keeper.standing().borrow().clone())
    }

    /// What the plane knows, for tests and for whoever runs it.
    pub fn ledger(&self) -> &SharedLedger {
        &self.ledger
    }

    /// Stops the parts and waits for each: the gateway first, so that nothing new
    /// comes, then scheduler, workers and kernel.
    pub async fn shutdown(mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.shutdown().await;
        }
        for mut part in std::mem::take(&mut self.parts) {
            part.stop.cancel();
            tokio::select! {
                // A panic was told when it happened.
                _ = &mut part.task => {}
                () = sleep(&*self.clock, GOODBYE) => {
                    tracing::warn!(part = part.name, "a part of the plane does not end");
                    part.task.abort();
                }
            }
        }
    }
}

/// The kernel, and what can be done with it beyond asking.
#[derive(Clone, Debug)]
struct InForce {
    kernel: Arc<dyn SafetyKernel>,
    ours: Option<Arc<PolicyKernel>>,
    /// Whether the scenario may change its text.
    built_in: bool,
}

impl InForce {
    fn of(rules: &Rules, clock: &Arc<dyn Clock>) -> Result<Self, StartError> {
        let clock = Arc::clone(clock);
        let ours = match rules {
            Rules::BuiltIn => {
                let policy = Policy::parse(BUILT_IN_POLICY.as_bytes())
                    .expect("a test reads the built-in policy");
                Arc::new(PolicyKernel::new(policy, clock))
            }
            Rules::File(path) => Arc::new(PolicyKernel::from_file(path, clock)?),
            Rules::SignedFile(path, key) => {
                Arc::new(PolicyKernel::from_signed_file(path, key.clone(), clock)?)
            }
            Rules::Remote(address) => {
                return Ok(Self::elsewhere(Arc::new(RemoteKernel::new(address)?)));
            }
            Rules::Kernel(kernel) => return Ok(Self::elsewhere(Arc::clone(kernel))),
        };
        Ok(Self {
            kernel: Arc::clone(&ours) as Arc<dyn SafetyKernel>,
            ours: Some(ours),
            built_in: matches!(rules, Rules::BuiltIn),
        })
    }

    fn elsewhere(kernel: Arc<dyn SafetyKernel>) -> Self {
        Self {
            kernel,
            ours: None,
            built_in: false,
        }
    }

    /// Lets the scenario change the built-in policy; a file belongs to its owner.
    fn hook(&self) -> Option<PolicyHook> {
        let kernel = Arc::clone(self.ours.as_ref().filter(|_| self.built_in)?);
        let text = Mutex::new(BUILT_IN_POLICY.to_owned());
        Some(Arc::new(move |edit: &PolicyEdit| {
            let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(edited) = edit.apply(&text) else {
                tracing::warn!("an edit of the scenario does not fit the policy");
                return;
            };
            match Policy::parse(edited.as_bytes()) {
                Ok(policy) => {
                    kernel.adopt(policy);
                    *text = edited;
                }
                Err(error) => tracing::warn!(%error, "an edit of the scenario breaks the policy"),
            }
        }))
    }
}

/// The snapshots of a kernel that may be away.
async fn snapshots(
    kernel: &dyn SafetyKernel,
    clock: &dyn Clock,
) -> Result<Vec<String>, KernelError> {
    tokio::select! {
        snapshots = kernel.snapshots() => snapshots,
        () = sleep(clock, scheduler::KERNEL_LIMIT) => Err(KernelError::TimedOut),
    }
}

/// Follows the policy, so that the ledger knows which approvals it has left behind.
async fn follow(
    rules: InForce,
    bus: Arc<dyn Bus>,
    ledger: SharedLedger,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let Some(ours) = rules.ours else {
        let mut away = None;
        loop {
            let snapshots = tokio::select! {
                () = stop.cancelled() => return,
                snapshots = snapshots(&*rules.kernel, &*clock) => snapshots,
            };
            match snapshots {
                Ok(snapshots) => {
                    if away.take().is_some() {
                        tracing::warn!("the safety kernel answers again");
                    }
                    if let Some(current) = snapshots.first() {
                        lock(&ledger).policy_changed(current, clock.now());
                    }
                }
                Err(error) => {
                    // Told once for each reason, not every few seconds.
                    if away.as_ref() != Some(&error) {
                        tracing::warn!(%error, "the safety kernel gives no verdict");
                    }
                    away = Some(error);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(&*clock, SNAPSHOT_EVERY) => {}
            }
        }
    };
    let mut health = ours.watch_health();
    let tell = ours.run(bus);
    let mut tell = std::pin::pin!(tell);
    loop {
        {
            let policy = health.borrow_and_update().clone();
            let mut ledger = lock(&ledger);
            ledger.belongs_to(&policy.default_tenant);
            ledger.policy_changed(&policy.snapshot, clock.now());
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = &mut tell => return,
            changed = health.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

/// The scenario's time: it begins now and runs faster or slower than the plane's.
struct Pace {
    clock: Arc<dyn Clock>,
    start: Timestamp,
    speed: f64,
}

impl Pace {
    fn of(clock: Arc<dyn Clock>, speed: f64) -> Self {
        let start = clock.now();
        Self {
            clock,
            start,
            speed,
        }
    }
}

impl Clock for Pace {
    fn now(&self) -> Timestamp {
        let since = self.clock.now().since(self.start);
        let scaled = since.as_millis() as f64 * self.speed;
        self.start.plus(Elapsed::from_millis(scaled as u64))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let wait = at.since(self.start).as_millis() as f64 / self.speed;
        // Rounded up, so that the time has come when the sleep ends.
        let wake = Elapsed::from_millis(wait.ceil() as u64);
        self.clock.sleep_until(self.start.plus(wake))
    }
}

/// Starts parts whose panics are told and hurt nobody else.
struct Spawner {
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
}

impl Spawner {
    fn spawn<F>(&self, name: &'static str, part: impl FnOnce(CancellationToken) -> F) -> Part
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let work = part(stop.clone());
        let (bus, clock) = (Arc::clone(&self.bus), Arc::clone(&self.clock));
        let task = tokio::spawn(async move {
            let mut inside = JoinSet::new();
            inside.spawn(work);
            if let Some(Err(error)) = inside.join_next().await
                && error.is_panic()
            {
                tracing::error!(part = name, %error, "a part of the plane broke");
                tell_broken(name, &*bus, &*clock).await;
            }
        });
        Part { name, stop, task }
    }
}

async fn tell_broken(name: &'static str, bus: &dyn Bus, clock: &dyn Clock) {
    let alert = SystemAlert {
        level: "critical".to_owned(),
        component: name.to_owned(),
        code: "part_broke".to_owned(),
        message: format!("the {name} of this plane broke and has stopped; the rest goes on"),
        ..SystemAlert::default()
    };
    let trace = TraceId::from(format!("part-{name}"));
    let sender = SenderId::from(wire::SENDER_SCHEDULER);
    let packet = Packet::new(trace, sender, clock.now(), Body::Alert(Box::new(alert)));
    let subject = wire::subject(wire::ALERT);
    match encode::encode(&subject, &packet) {
        Ok(bytes) => {
            if let Err(error) = bus.publish(&subject, bytes).await {
                tracing::error!(%error, "and nobody heard of it");
            }
        }
        Err(error) => tracing::error!(%error, "and it could not be told"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Pattern;
    use crate::bus::local::LocalBus;
    use crate::time::ManualClock;
    use crate::wire::decode;

    #[test]
    fn the_built_in_policy_can_be_read() {
        let policy = Policy::parse(BUILT_IN_POLICY.as_bytes()).expect("a policy");
        assert!(!policy.rules.is_empty());
    }

    #[tokio::test]
    async fn a_part_that_breaks_is_told_and_the_rest_goes_on() {
        let bus = LocalBus::new();
        let alerts = Pattern::parse("sys.alert").expect("a pattern");
        let mut alerts = bus.subscribe(&alerts, None).await.expect("heard");
        let spawner = Spawner {
            bus: Arc::new(bus),
            clock: Arc::new(ManualClock::at(Timestamp::from_millis(0))),
        };
        let mut other = spawner.spawn("other", |stop| async move { stop.cancelled().await });
        let broken = spawner.spawn("broken", |_| async { panic!("on purpose") });
        let delivery = alerts.recv().await.expect("an alert");
        let packet = decode::decode(&delivery).expect("a packet");
        let Body::Alert(alert) = packet.body else {
            panic!("not an alert: {packet:?}");
        };
        assert_eq!(
            (alert.component.as_str(), alert.code.as_str()),
            ("broken", "part_broke")
        );
        assert!(!other.task.is_finished());
        other.stop.cancel();
        (&mut other.task).await.expect("it ended well");
        drop(broken);
    }

    #[tokio::test]
    async fn a_faster_scenario_finds_its_times_sooner() {
        let clock = ManualClock::at(Timestamp::from_millis(1_000));
        let pace = Pace::of(Arc::new(clock.clone()), 4.0);
        let sleeper = tokio::spawn(pace.sleep_until(Timestamp::from_millis(9_000)));
        clock.advance(Elapsed::from_millis(1_999));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        assert_eq!(pace.now().as_millis(), 8_996);
        clock.advance(Elapsed::from_millis(1));
        sleeper.await.expect("it woke");
        assert_eq!(pace.now().as_millis(), 9_000);
    }
}
