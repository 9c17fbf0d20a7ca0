//! Other schedulers on the servers of a plane: found before anything is done there.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::bus::{Bus, Member, Pattern, Subject};
use crate::cli::policy::safe;
use crate::cli::{CliError, print};
use crate::control_plane::keeper::{LEASE, LEASE_LIVES, Standing};
use crate::control_plane::scheduler::QUEUE;
use crate::store::{Store, StoreError};
use crate::time::{Clock, Elapsed, Timestamp, sleep};
use crate::wire::{self, decode};

/// Where schedulers write their workers down, every 5 s.
const WORKERS: &str = "sys:workers:snapshot";
/// Where each living scheduler leaves a sign, for 15 s.
const INSTANCE: &str = "cordum:instance:scheduler:";
/// Signs that are looked at, and answers that are listened to.
const NEIGHBOURS: usize = 100;
/// What the names of our planes begin with.
const OURS: &str = "capdeck-";
/// A list of workers that is older than this has no living writer, as CAP deployments
/// read it.
const FRESH: Elapsed = Elapsed::from_secs(15);
/// Where planes are asked whether they are there, and where they answer.
const ASKED: &str = "capdeck.here.asked";
const ANSWERED: &str = "capdeck.here.answered";
/// How long an answer is waited for.
const ANSWER_LIMIT: Elapsed = Elapsed::from_millis(500);
/// How long the store is waited for before that is answered.
const STORE_LIMIT: Elapsed = Elapsed::from_millis(200);
/// What schedulers of CAP deployments share with each other in their group, with JetStream
/// or without: cancels at least, which are never durable.
const SHARED: &str = "sys.job.*";
/// What schedulers publish on: jobs to workers, and what became of jobs.
const PUBLISHED: [&str; 3] = ["sys.job.*", "job.>", "worker.*.jobs"];
/// As whom they publish.
const SENDERS: [&str; 2] = [wire::SENDER_SCHEDULER, wire::SENDER_SAGA];
/// How long a scheduler is listened for where nobody tells who is there.
const LISTEN: Elapsed = Elapsed::from_secs(2);
/// How often a lease is looked at.
const LOOK: Elapsed = Elapsed::from_millis(250);
/// What tells one record from those on other servers: made once, by the first plane, and
/// never written again.
const RECORD: &str = "capdeck:record";

/// A name that no other plane has.
pub(super) fn name(clock: &dyn Clock) -> String {
    let random = RandomState::new().hash_one((clock.now().as_millis(), std::process::id()));
    format!("{OURS}{:08x}", random >> 32)
}

/// Where a plane stands, as the end of its first line; empty for one that shares nothing.
pub(super) fn told(standing: Option<&Standing>) -> String {
    match standing {
        None => String::new(),
        Some(Standing::Leads { .. }) => ", record redis, leads".to_owned(),
        Some(Standing::By {
            leader: Some(leader),
        }) => format!(", record redis, stands by for {leader}"),
        Some(Standing::By { leader: None }) => ", record redis, nobody leads yet".to_owned(),
    }
}

/// A record that planes share, and what tells it from others.
pub(super) struct Record {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    id: String,
}

impl Record {
    /// The record in `store`, which is marked as one if it was not.
    ///
    /// # Errors
    /// Exit code 3 when the store does not answer.
    pub(super) async fn of(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, CliError> {
        let seed = (clock.now().as_micros(), std::process::id());
        let made = format!("{:016x}", RandomState::new().hash_one(seed));
        let id = id_in(&*store, made).await.map_err(CliError::unreachable)?;
        Ok(Self { store, clock, id })
    }

    /// What tells it apart now: a store that lost everything is marked as before, and one
    /// that is away is what it was.
    async fn id(&mut self) -> &str {
        let now = tokio::select! {
            id = id_in(&*self.store, self.id.clone()) => id.ok(),
            () = sleep(&*self.clock, STORE_LIMIT) => None,
        };
        if let Some(id) = now {
            self.id = id;
        }
        &self.id
    }
}

/// What tells the record in `store` apart; `made` from now on if nothing did.
async fn id_in(store: &dyn Store, made: String) -> Result<String, StoreError> {
    let new = Bytes::from(made.clone());
    if store.compare_and_set(RECORD, None, new, None).await? {
        return Ok(made);
    }
    let id = store.get(RECORD).await?;
    Ok(id.map_or(made, |id| String::from_utf8_lossy(&id).into_owned()))
}

/// Who a plane obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obeys {
    /// Whoever has one of its keys.
    Keys,
    /// Everybody who reaches it.
    Everybody,
}

impl Obeys {
    fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Everybody => "everybody",
        }
    }
}

/// A plane on the bus, as it answers.
struct Neighbour {
    name: String,
    /// What tells its record apart; `None` where it shares none.
    record: Option<String>,
    /// `None` where it does not say.
    obeys: Option<Obeys>,
}

impl Neighbour {
    /// `NAME RECORD OBEYS`, with a dash for no record.
    fn read(answer: &str) -> Self {
        let mut words = answer.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let record = words.next().filter(|it| *it != "-").map(str::to_owned);
        let says = words.next();
        let all = [Obeys::Keys, Obeys::Everybody];
        let obeys = all.into_iter().find(|it| says == Some(it.name()));
        Self {
            name,
            record,
            obeys,
        }
    }
}

/// Tells whoever asks that this plane is on the bus, on which record, and whom it obeys,
/// for ever.
pub(super) async fn show_oneself(
    bus: Arc<dyn Bus>,
    name: String,
    mut record: Option<Record>,
    obeys: Obeys,
) {
    let asked = Pattern::from(&subject(ASKED));
    loop {
        let Ok(mut questions) = bus.subscribe(&asked, None).await else {
            return;
        };
        while questions.recv().await.is_some() {
            let record = match &mut record {
                None => "-",
                Some(record) => record.id().await,
            };
            let answer = Bytes::from(format!("{name} {record} {}", obeys.name()));
            if let Err(error) = bus.publish(&subject(ANSWERED), answer).await {
                tracing::debug!(%error, "a plane that asked gets no answer");
            }
        }
    }
}

/// Refuses to start on a bus where another plane is that does not share its record, and
/// unless `join`ing, where a scheduler of another make is.
///
/// # Errors
/// Exit code 2 when one is there, 3 when the bus does not answer.
pub(super) async fn refuse_on_bus(
    bus: &dyn Bus,
    clock: &dyn Clock,
    join: bool,
) -> Result<(), CliError> {
    // First, for a plane of ours is in the group of schedulers too.
    refuse_ours(bus, clock).await?;
    if join {
        return Ok(());
    }
    if refuse_members(bus).await? == Told::All {
        return Ok(());
    }
    if let Some(heard) = listen(bus, clock).await? {
        return Err(foreign(&heard, "this bus"));
    }
    print::note(
        "warning: this NATS server does not tell who listens on it. No other scheduler was \
         heard, but one that had nothing to say would dispatch every job a second time",
    );
    Ok(())
}

async fn refuse_ours(bus: &dyn Bus, clock: &dyn Clock) -> Result<(), CliError> {
    let Some(plane) = planes(bus, clock, true).await?.into_iter().next() else {
        return Ok(());
    };
    let says = format!("the plane {} works on this bus", safe(&plane.name));
    Err(CliError::usage(anyhow::anyhow!(says))
        .hint("planes share the work only on one Redis server: give --redis URL to both")
        .hint("each of two planes without it would dispatch every job"))
}

/// Refuses to start with the record in `store` on a bus where a plane is that has
/// another one, or none: they can never share the work. Refuses as well to obey everybody
/// beside a plane that asks for keys: whoever has none would only have to wait until this
/// one leads.
///
/// # Errors
/// Exit code 2 when one is there, 3 when the bus or the store does not answer.
pub(super) async fn refuse_other_records(
    store: &dyn Store,
    bus: &dyn Bus,
    clock: &dyn Clock,
    obeys: Obeys,
) -> Result<(), CliError> {
    let planes = planes(bus, clock, false).await?;
    // Read last: whoever answered has marked its record before.
    let ours = store.get(RECORD).await.map_err(CliError::unreachable)?;
    let ours = ours.map(|id| String::from_utf8_lossy(&id).into_owned());
    let other = planes
        .iter()
        .find(|plane| plane.record.is_none() || plane.record != ours);
    let Some(plane) = other else {
        if let Some(warning) = compare_keys(&planes, obeys)? {
            print::note(&warning);
        }
        return Ok(());
    };
    let says = format!(
        "the plane {} works on this bus, with {}",
        safe(&plane.name),
        match plane.record {
            None => "no record that it shares",
            Some(_) => "a record on other servers",
        }
    );
    Err(CliError::usage(anyhow::anyhow!(says))
        .hint("planes share the work only on one Redis server: give the same --redis URL to all")
        .hint("each of two planes without it would dispatch every job"))
}

/// What to be warned of when `planes` on the same record do not obey whom this one does;
/// an error when that would open what is closed.
fn compare_keys(planes: &[Neighbour], obeys: Obeys) -> Result<Option<String>, CliError> {
    let differs = |plane: &&Neighbour| plane.obeys.is_some_and(|theirs| theirs != obeys);
    let Some(plane) = planes.iter().find(differs) else {
        return Ok(None);
    };
    let name = safe(&plane.name);
    match obeys {
        Obeys::Everybody => {
            let says = format!(
                "the plane {name} on this record asks for API keys, and this one would obey everybody"
            );
            Err(CliError::usage(anyhow::anyhow!(says)).hint(
                "give it the same CORDUM_API_KEYS: whichever plane leads says who may decide",
            ))
        }
        Obeys::Keys => Ok(Some(format!(
            "warning: the plane {name} on this record asks for no API key, so while it leads \
             everybody who reaches it may decide"
        ))),
    }
}

/// The planes that answer on a bus; only the `first` that does, or all.
async fn planes(bus: &dyn Bus, clock: &dyn Clock, first: bool) -> Result<Vec<Neighbour>, CliError> {
    let answered = Pattern::from(&subject(ANSWERED));
    let mut answers = bus
        .subscribe(&answered, None)
        .await
        .map_err(CliError::unreachable)?;
    bus.publish(&subject(ASKED), Bytes::new())
        .await
        .map_err(CliError::unreachable)?;
    let mut found = Vec::new();
    let hearing = async {
        while let Some(answer) = answers.recv().await {
            let answer = String::from_utf8_lossy(&answer.payload);
            found.push(Neighbour::read(&answer));
            if first || found.len() >= NEIGHBOURS {
                return;
            }
        }
    };
    tokio::select! {
        () = hearing => {}
        () = sleep(clock, ANSWER_LIMIT) => {}
    }
    Ok(found)
}

/// Whether a bus tells who listens on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    All,
    Nothing,
}

/// Refuses to start where somebody is in the group of schedulers.
async fn refuse_members(bus: &dyn Bus) -> Result<Told, CliError> {
    let shared = pattern(SHARED);
    let members = bus.members(&shared, QUEUE).await;
    let Some(members) = members.map_err(CliError::unreachable)? else {
        return Ok(Told::Nothing);
    };
    match members.first() {
        None => Ok(Told::All),
        Some(Member { name, address }) => {
            let name = if name.is_empty() {
                "of another make"
            } else {
                name
            };
            let who = format!("{} ({})", safe(name), safe(address));
            Err(foreign(&who, "this bus"))
        }
    }
}

/// Listens for a while for what only schedulers send; says who was heard.
async fn listen(bus: &dyn Bus, clock: &dyn Clock) -> Result<Option<String>, CliError> {
    let mut ears = Vec::new();
    for name in PUBLISHED {
        let ear = bus.subscribe(&pattern(name), None).await;
        ears.push(ear.map_err(CliError::unreachable)?);
    }
    let [jobs, topics, workers] = ears.as_mut_slice() else {
        return Ok(None);
    };
    let hearing = async {
        loop {
            let heard = tokio::select! {
                heard = jobs.recv() => heard,
                heard = topics.recv() => heard,
                heard = workers.recv() => heard,
            };
            let packet = decode::decode(&heard?).ok();
            let sender = packet.map(|packet| packet.sender.to_string());
            let is_scheduler = |it: &String| SENDERS.contains(&it.as_str());
            if let Some(sender) = sender.filter(is_scheduler) {
                return Some(sender);
            }
        }
    };
    Ok(tokio::select! {
        heard = hearing => heard,
        () = sleep(clock, LISTEN) => None,
    })
}

fn foreign(who: &str, place: &str) -> CliError {
    let says = format!("the scheduler {who} works on {place}");
    CliError::usage(anyhow::anyhow!(says))
        .hint("two schedulers would each dispatch every job; use other servers")
        .hint("with --join capdeck starts all the same, for servers that the other one leaves")
}

fn pattern(name: &str) -> Pattern {
    Pattern::parse(name).expect("a test parses it")
}

fn subject(name: &str) -> Subject {
    Subject::parse(name).expect("a test parses it")
}

/// Refuses to start where another scheduler lives. A lease is given the time to run out:
/// its plane may have been killed a moment ago, and be started again here.
///
/// # Errors
/// Exit code 2 when one lives there, 3 when the store does not answer.
pub(super) async fn refuse(
    store: &dyn Store,
    bus: &dyn Bus,
    clock: &dyn Clock,
) -> Result<(), CliError> {
    if let Some(writer) = foreign_scheduler(store, clock.now()).await? {
        return Err(foreign(&writer, "these servers"));
    }
    // One that keeps its record on another server leaves no sign on this one. Where the
    // bus does not tell, the store has been asked.
    refuse_members(bus).await?;
    let until = clock.now().plus(LEASE_LIVES).plus(LOOK);
    let mut told = false;
    while let Some(leader) = leader(store).await? {
        if clock.now() >= until {
            let says = format!("the plane {leader} leads on these servers");
            return Err(CliError::usage(anyhow::anyhow!(says))
                .hint("start with --join to stand beside it; both need the same policy and keys"));
        }
        if !told {
            told = true;
            print::note(&format!(
                "the plane {leader} leads on these servers; waiting up to {} s whether it still lives",
                LEASE_LIVES.as_secs()
            ));
        }
        sleep(clock, LOOK).await;
    }
    Ok(())
}

async fn leader(store: &dyn Store) -> Result<Option<String>, CliError> {
    let lease = store.get(LEASE).await.map_err(CliError::unreachable)?;
    Ok(lease.map(|it| String::from_utf8_lossy(&it).into_owned()))
}

/// A scheduler that lives there and is no plane of ours.
async fn foreign_scheduler(store: &dyn Store, now: Timestamp) -> Result<Option<String>, CliError> {
    #[derive(Deserialize)]
    struct Written {
        captured_at: String,
        #[serde(default)]
        writer_id: String,
    }
    let living = store.keys(INSTANCE, NEIGHBOURS).await;
    for key in living.map_err(CliError::unreachable)? {
        let name = key.trim_start_matches(INSTANCE);
        if !name.starts_with(OURS) {
            return Ok(Some(name.to_owned()));
        }
    }
    let written = store.get(WORKERS).await.map_err(CliError::unreachable)?;
    // What is no such list was written by no scheduler.
    let written = written.and_then(|it| serde_json::from_slice::<Written>(&it).ok());
    let Some(written) = written else {
        return Ok(None);
    };
    let fresh =
        Timestamp::parse_rfc3339(&written.captured_at).is_some_and(|at| now.since(at) < FRESH);
    let ours = written.writer_id.starts_with(OURS);
    let name = match written.writer_id.as_str() {
        "" => "of another make".to_owned(),
        name => name.to_owned(),
    };
    Ok((fresh && !ours).then_some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_that_obey_others_are_refused_or_warned_of() {
        let told = |obeys, answers: &[&str]| {
            let planes: Vec<Neighbour> = answers.iter().map(|it| Neighbour::read(it)).collect();
            match compare_keys(&planes, obeys) {
                Ok(None) => "nothing".to_owned(),
                Ok(Some(warning)) => warning,
                Err(error) => error.to_string(),
            }
        };
        let (closed, open) = ("capdeck-a r keys", "capdeck-b r everybody");
        assert_eq!(told(Obeys::Keys, &[closed]), "nothing");
        assert_eq!(told(Obeys::Everybody, &[open, "capdeck-c r"]), "nothing");
        assert_eq!(
            told(Obeys::Everybody, &[open, closed]),
            "the plane capdeck-a on this record asks for API keys, and this one would obey everybody"
        );
        assert_eq!(
            told(Obeys::Keys, &[open]),
            "warning: the plane capdeck-b on this record asks for no API key, so while it leads \
             everybody who reaches it may decide"
        );
    }

    #[test]
    fn the_subjects_are_subjects_and_the_patterns_patterns() {
        for name in [ASKED, ANSWERED] {
            assert_eq!(subject(name).as_str(), name);
        }
        for name in PUBLISHED.into_iter().chain([SHARED]) {
            assert_eq!(pattern(name).as_str(), name);
        }
    }
}
