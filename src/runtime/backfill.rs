//! What never travels on the bus, asked for: jobs at the start and after a gap,
//! approvals and the policy in force all the time.
//!
//! One server is the source of this: the gateway where one is configured, else the
//! store, by [`store_records`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use super::{facts, records as stored};
use crate::bus::LinkState as BusLink;
use crate::bus::gap::Gap;
use crate::gateway_client::types::{ApprovalItem, JobDetail, JobsQuery};
use crate::gateway_client::{GatewayClient, GatewayError};
use crate::ids::JobId;
use crate::state::event::{Event, LinkState, Source};
use crate::state::limits::LETTERS;
use crate::state::shared::Text;
use crate::store::{Store, StoreError};
use crate::time::{Clock, Elapsed, Timestamp, sleep};
use crate::wire::job_hash::job_hash;

mod records;

pub(super) use records::store_records;

/// A server on this machine is asked this often, any other one every 5 s.
const NEAR: Elapsed = Elapsed::from_secs(1);
const FAR: Elapsed = Elapsed::from_secs(5);
/// A gateway that asks us to slow down is asked at least this often all the same.
const SLOWEST: Elapsed = Elapsed::from_secs(60);
/// Jobs, workers and pools are asked for in every fifth round on this machine,
/// in every second one elsewhere.
const NEAR_ROUNDS: u64 = 5;
const FAR_ROUNDS: u64 = 2;
/// A page of jobs, the most that gateways give.
const PAGE: u32 = 500;
/// Pages at the start and after a gap: gateways keep 1,000 recent jobs.
const PAGES: usize = 4;
/// Pages of approvals that are read in one round, of 500 each.
const APPROVAL_PAGES: usize = 20;
/// Jobs of new approvals that are read in one round.
const DETAILS: usize = 25;
/// As many as one list has, in the first round: a list without them says little.
const DETAILS_FIRST: usize = 500;
/// A job that waits for approval is read again after this long, because its
/// stored request can change without a word.
const DETAIL_AGAIN: Elapsed = Elapsed::from_secs(10);
/// How often the store is asked whether it is there.
const STORE_AGAIN: Elapsed = Elapsed::from_secs(5);
/// No key of a deployment: asking for it only shows that the store answers.
const PROBE: &str = "capdeck:probe";

/// Where answers go.
#[derive(Clone)]
pub(super) struct Sink {
    pub(super) answers: mpsc::Sender<Event>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Sink {
    async fn send(&self, event: Event) {
        // The receiver is gone only when the runtime ends.
        let _ended = self.answers.send(event).await;
    }
}

/// The line to a server that is asked rather than connected to.
struct Asked {
    source: Source,
    sink: Sink,
    down: Option<(Timestamp, u32)>,
    up: bool,
}

impl Asked {
    fn new(source: Source, sink: Sink) -> Self {
        Self {
            source,
            sink,
            down: None,
            up: false,
        }
    }

    async fn answered(&mut self) {
        if !self.up {
            self.up = true;
            self.down = None;
            self.sink
                .send(Event::Link(self.source, LinkState::Up))
                .await;
        }
        self.sink.send(Event::Answered(self.source)).await;
    }

    /// Nobody answered; the next try comes after `pause`.
    async fn failed(&mut self, reason: String, pause: Elapsed) {
        self.up = false;
        let now = self.sink.clock.now();
        let (since, attempts) = self.down.unwrap_or((now, 0));
        self.down = Some((since, attempts + 1));
        let state = LinkState::Down {
            since,
            reason: Arc::from(reason),
            attempts: attempts + 1,
            again_at: Some(now.plus(pause)),
        };
        self.sink.send(Event::Link(self.source, state)).await;
    }
}

/// Whether the server said something, even if it was no.
fn is_an_answer(error: &GatewayError) -> bool {
    !matches!(
        error,
        GatewayError::Unreachable { .. }
            | GatewayError::TimedOut { .. }
            | GatewayError::NotAGateway { .. }
            | GatewayError::BadEndpoint { .. }
            | GatewayError::Unauthorized { .. }
    )
}

/// Asks the gateway until dropped.
pub(super) async fn gateway(
    gateway: Arc<GatewayClient>,
    store: Option<Arc<dyn Store>>,
    bus: Option<watch::Receiver<BusLink>>,
    sink: Sink,
    refresh: Arc<Notify>,
) {
    let (pause, every) = pace(gateway.is_loopback());
    let mut poll = Poll {
        gateway,
        store,
        line: Asked::new(Source::Gateway, sink.clone()),
        details: BTreeMap::new(),
        sink,
    };
    let mut gap = Gap::new(bus);
    let mut behind = true;
    let mut round = 0_u64;
    let mut wait = pause;
    loop {
        // Taken before the questions, so that a wish in the middle of them counts.
        let again = refresh.notified();
        behind |= gap.has_ended();
        match poll.round(behind, round.is_multiple_of(every)).await {
            Ok(()) => {
                poll.line.answered().await;
                behind = false;
                round += 1;
                wait = pause;
            }
            Err(GatewayError::RateLimited { retry_after, .. }) => {
                poll.line.answered().await;
                wait = slower(wait, retry_after);
            }
            Err(error) if is_an_answer(&error) => {
                poll.line.answered().await;
                round += 1;
            }
            Err(error) => {
                poll.line.failed(error.beside_address(), wait).await;
                behind = true;
            }
        }
        let sent = poll.gateway.take_sent();
        poll.sink.send(Event::Requests(sent)).await;
        tokio::select! {
            () = sleep(poll.sink.clock.as_ref(), wait) => {}
            () = again => poll.details.clear(),
        }
    }
}

/// Between two rounds, and in every which one all is asked for.
fn pace(near: bool) -> (Elapsed, u64) {
    if near {
        (NEAR, NEAR_ROUNDS)
    } else {
        (FAR, FAR_ROUNDS)
    }
}

/// How long to wait before the next round after one that came too soon.
fn slower(wait: Elapsed, wanted: Option<Elapsed>) -> Elapsed {
    let doubled = Elapsed::from_millis(wait.as_millis().saturating_mul(2));
    wanted.unwrap_or_default().max(doubled).min(SLOWEST)
}

struct Poll {
    gateway: Arc<GatewayClient>,
    store: Option<Arc<dyn Store>>,
    line: Asked,
    details: BTreeMap<JobId, Read>,
    sink: Sink,
}

/// A job that waits for approval, as it was read last.
struct Read {
    at: Timestamp,
    item_updated: Option<Timestamp>,
    detail: Option<JobDetail>,
    own_hash: Text,
}

impl Poll {
    async fn round(&mut self, behind: bool, all: bool) -> Result<(), GatewayError> {
        if behind {
            self.backfill().await?;
        }
        match self.gateway.snapshots().await {
            Ok(snapshots) => {
                if let Some(snapshot) = snapshots.first() {
                    self.sink
                        .send(Event::Policy(Arc::from(snapshot.as_str())))
                        .await;
                }
            }
            Err(error) if is_an_answer(&error) => {}
            Err(error) => return Err(error),
        }
        let approvals = self.approvals().await?;
        let most = if behind { DETAILS_FIRST } else { DETAILS };
        self.read_waiting(&approvals, most).await?;
        let facts = approvals
            .iter()
            .map(|item| {
                let read = self.details.get(&item.job.id);
                let detail = read.and_then(|read| read.detail.as_ref());
                let own_hash = read.and_then(|read| read.own_hash.clone());
                facts::approval_fact(item, detail, own_hash)
            })
            .collect();
        self.sink.send(Event::Approvals(facts)).await;
        if all {
            self.the_rest(behind).await?;
        }
        Ok(())
    }

    /// All approvals that wait, and those that were resolved last. Ours lists the waiting
    /// ones first; of a gateway that mixes them they are asked for by themselves.
    async fn approvals(&self) -> Result<Vec<ApprovalItem>, GatewayError> {
        let waits = |item: &ApprovalItem| matches!(item.approval_status.as_str(), "" | "pending");
        let page = self.gateway.approvals(true, None).await?;
        let (mut items, mut cursor) = (page.items, page.next_cursor);
        if cursor.is_none() {
            return Ok(items);
        }
        let waiting_first = items.is_sorted_by_key(|item| !waits(item));
        if !waiting_first {
            cursor = None;
        }
        let mut known: BTreeSet<JobId> = items.iter().map(|item| item.job.id.clone()).collect();
        for _ in 1..APPROVAL_PAGES {
            if waiting_first && !items.last().is_some_and(waits) {
                return Ok(items);
            }
            let page = self.gateway.approvals(waiting_first, cursor.as_deref());
            let page = page.await?;
            let fresh = page.items.into_iter();
            items.extend(fresh.filter(|item| known.insert(item.job.id.clone())));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(items);
            }
        }
        tracing::warn!(
            read = items.len(),
            "more approvals wait than are read in one round"
        );
        Ok(items)
    }

    /// Reads the jobs that wait, for what a list does not tell: request, undo,
    /// payload, hash.
    async fn read_waiting(
        &mut self,
        items: &[ApprovalItem],
        most: usize,
    ) -> Result<(), GatewayError> {
        let now = self.sink.clock.now();
        let open: Vec<&ApprovalItem> = items.iter().filter(|item| item.is_open()).collect();
        self.details
            .retain(|id, _| open.iter().any(|item| item.job.id == *id));
        let mut left = most;
        for item in open {
            let fresh = self.details.get(&item.job.id).is_some_and(|read| {
                read.item_updated == item.job.updated_at
                    && now.since(read.at).as_millis() < DETAIL_AGAIN.as_millis()
            });
            if fresh || left == 0 {
                continue;
            }
            left -= 1;
            let detail = match self.gateway.job(&item.job.id).await {
                Ok(detail) => Some(detail),
                Err(error) if is_an_answer(&error) => None,
                Err(error) => return Err(error),
            };
            let mut own_hash = detail.as_ref().and_then(facts::own_hash);
            if own_hash.is_none() {
                own_hash = stored_hash(self.store.as_deref(), &item.job.id).await;
            }
            let read = Read {
                at: now,
                item_updated: item.job.updated_at,
                detail,
                own_hash,
            };
            self.details.insert(item.job.id.clone(), read);
        }
        Ok(())
    }

    async fn backfill(&mut self) -> Result<(), GatewayError> {
        let mut query = JobsQuery {
            limit: Some(PAGE),
            ..JobsQuery::default()
        };
        for _ in 0..PAGES {
            let page = self.gateway.jobs(&query).await?;
            let facts = page.items.iter().map(facts::job_fact).collect();
            self.sink.send(Event::Jobs(facts)).await;
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || page.items.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn the_rest(&mut self, fresh: bool) -> Result<(), GatewayError> {
        if !fresh {
            let query = JobsQuery {
                limit: Some(PAGE),
                ..JobsQuery::default()
            };
            let page = self.gateway.jobs(&query).await?;
            let facts = page.items.iter().map(facts::job_fact).collect();
            self.sink.send(Event::Jobs(facts)).await;
        }
        // The older generation has no pools, and its workers are for admins.
        match self.gateway.workers().await {
            Ok(list) => {
                let facts = list.items.iter().map(facts::worker_fact).collect();
                self.sink.send(Event::Workers(facts)).await;
            }
            Err(error) if is_an_answer(&error) => {}
            Err(error) => return Err(error),
        }
        match self.gateway.pools().await {
            Ok(list) => {
                let facts = list.items.iter().map(facts::pool_fact).collect();
                self.sink.send(Event::Pools(facts)).await;
            }
            Err(error) if is_an_answer(&error) => {}
            Err(error) => return Err(error),
        }
        match self.gateway.dead_letters(LETTERS).await {
            Ok(list) => {
                let facts = facts::letters_fact(&list, LETTERS);
                self.sink.send(Event::DeadLetters(facts)).await;
            }
            Err(error) if is_an_answer(&error) => {}
            Err(error) => return Err(error),
        }
        // Only ours lists rollbacks; elsewhere they are known from their jobs.
        match self.gateway.rollbacks().await {
            Ok(list) => {
                let named = list.items.iter().filter(|it| !it.workflow_id.is_empty());
                let facts = named.map(facts::rollback_fact).collect();
                self.sink.send(Event::Rollbacks(facts)).await;
            }
            Err(error) if is_an_answer(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The hash of the request in the store, where the gateway does not show it.
pub(super) async fn stored_hash(store: Option<&dyn Store>, job: &JobId) -> Text {
    let mut troubles = stored::Troubles::default();
    let request = stored::stored_request(store?, job, &mut troubles).await;
    Some(Arc::from(job_hash(&request.ok()??).as_str()))
}

/// Watches whether the store answers, until dropped: beside a gateway, which
/// stays the source of jobs and approvals.
pub(super) async fn watch_store(store: Arc<dyn Store>, sink: Sink, refresh: Arc<Notify>) {
    let mut line = Asked::new(Source::Store, sink.clone());
    loop {
        match store.len(PROBE).await {
            Ok(_) => line.answered().await,
            Err(error) => line.failed(beside_address(&error), STORE_AGAIN).await,
        }
        tokio::select! {
            () = sleep(sink.clock.as_ref(), STORE_AGAIN) => {}
            () = refresh.notified() => {}
        }
    }
}

/// What is wrong with the store, for where its name and its address stand beside it.
pub(super) fn beside_address(error: &StoreError) -> String {
    match error {
        StoreError::Unreachable { source, .. } => chain(&**source),
        StoreError::Refused { .. } => chain(error),
    }
}

/// An error with its causes, once each.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut says = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !says.contains(&next) {
            says = format!("{says}: {next}");
        }
        cause = error.source();
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wait_s: u64, wanted_s: Option<u64>, expected_s: u64) {
        let wanted = wanted_s.map(Elapsed::from_secs);
        let wait = slower(Elapsed::from_secs(wait_s), wanted);
        assert_eq!(wait, Elapsed::from_secs(expected_s));
    }

    #[test]
    fn approvals_are_asked_for_every_second_here_and_every_five_elsewhere() {
        assert_eq!(pace(true), (Elapsed::from_secs(1), 5));
        assert_eq!(pace(false), (Elapsed::from_secs(5), 2));
    }

    #[test]
    fn a_gateway_that_wants_quiet_gets_what_it_asks_for_or_twice_the_last_pause() {
        check(1, None, 2);
        check(2, None, 4);
        check(1, Some(30), 30);
        check(30, Some(30), 60);
        check(60, None, 60);
        check(1, Some(3_600), 60);
    }
}
