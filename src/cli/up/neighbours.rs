//! Other schedulers on the servers of a plane: found before anything is done there.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use crate::bus::{Bus, Pattern, Subject};

use crate::cli::policy::safe;
use crate::cli::{CliError, print};
use crate::control_plane::keeper::{LEASE, LEASE_LIVES, Standing};
use crate::store::Store;
use crate::time::{Clock, Elapsed, Timestamp, sleep};

/// Where schedulers write their workers down, every 5 s.
const WORKERS: &str = "sys:workers:snapshot";
/// Where each living scheduler leaves a sign, for 15 s.
const INSTANCE: &str = "cordum:instance:scheduler:";
/// Signs that are looked at.
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
/// How often a lease is looked at.
const LOOK: Elapsed = Elapsed::from_millis(250);

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

/// Tells whoever asks that this plane is on the bus, for ever.
pub(super) async fn show_oneself(bus: Arc<dyn Bus>, name: String) {
    let asked = Pattern::from(&subject(ASKED));
    loop {
        let Ok(mut questions) = bus.subscribe(&asked, None).await else {
            return;
        };
        while questions.recv().await.is_some() {
            let answer = Bytes::from(name.clone());
            if let Err(error) = bus.publish(&subject(ANSWERED), answer).await {
                tracing::debug!(%error, "a plane that asked gets no answer");
            }
        }
    }
}

/// Refuses to start on a bus where another plane is that does not share its record.
///
/// # Errors
/// Exit code 2 when one is there, 3 when the bus does not answer.
pub(super) async fn refuse_on_bus(bus: &dyn Bus, clock: &dyn Clock) -> Result<(), CliError> {
    let answered = Pattern::from(&subject(ANSWERED));
    let mut answers = bus
        .subscribe(&answered, None)
        .await
        .map_err(CliError::unreachable)?;
    bus.publish(&subject(ASKED), Bytes::new())
        .await
        .map_err(CliError::unreachable)?;
    let answer = tokio::select! {
        answer = answers.recv() => answer,
        () = sleep(clock, ANSWER_LIMIT) => None,
    };
    let Some(answer) = answer else { return Ok(()) };
    let name = String::from_utf8_lossy(&answer.payload).into_owned();
    let says = format!("the plane {} works on this bus", safe(&name));
    Err(CliError::usage(anyhow::anyhow!(says))
        .hint("planes share the work only on one Redis server: give --redis URL to both")
        .hint("each of two planes without it would dispatch every job"))
}

fn subject(name: &str) -> Subject {
    Subject::parse(name).expect("a test parses it")
}

/// Refuses to start where another scheduler lives. A lease is given the time to run out:
/// its plane may have been killed a moment ago, and be started again here.
///
/// # Errors
/// Exit code 2 when one lives there, 3 when the store does not answer.
pub(super) async fn refuse(store: &dyn Store, clock: &dyn Clock) -> Result<(), CliError> {
    if let Some(writer) = foreign_scheduler(store, clock.now()).await? {
        let says = format!("the scheduler {writer} works on these servers");
        return Err(CliError::usage(anyhow::anyhow!(says))
            .hint("two schedulers would each dispatch every job; use other servers")
            .hint(
                "with --join capdeck starts all the same, for servers that the other one leaves",
            ));
    }
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
    fn the_subjects_are_subjects() {
        for name in [ASKED, ANSWERED] {
            assert_eq!(subject(name).as_str(), name);
        }
    }
}
