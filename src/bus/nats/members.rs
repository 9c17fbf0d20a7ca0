//! Who shares messages with whom, as the server tells it.
//!
//! A NATS server tells each account of its own connections and what they subscribe to, at
//! subjects of the system account at which every account may ask unless its permissions
//! say otherwise. In a cluster each server answers for the connections that it has. What
//! is connected on the other side of a leaf node nobody tells.

use async_nats::{Client, StatusCode};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::within;
use crate::bus::{Member, Pattern, Subject};
use crate::time::{Clock, Elapsed};

/// Where the servers are asked about the connections of the account that asks.
const CONNECTIONS: &str = "$SYS.REQ.ACCOUNT.PING.CONNZ";
/// Where they are asked how much of it there is.
const COUNTS: &str = "$SYS.REQ.ACCOUNT.PING.STATZ";
/// How long answers are waited for: nobody knows how many servers a cluster has.
const ANSWER_LIMIT: Elapsed = Elapsed::from_millis(500);
/// Connections of one answer; one with its subscriptions takes about half a kilobyte.
const PAGE: usize = 500;
/// Answers that are asked for at most, one after the other.
const PAGES: usize = 100;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// An answer of a server; without data it is a refusal.
#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
}

#[derive(Deserialize)]
struct Counts {
    account_statz: Vec<AccountCounts>,
}

#[derive(Deserialize)]
struct AccountCounts {
    leafnodes: u64,
}

#[derive(Deserialize)]
struct Connections {
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    #[serde(default)]
    name: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    subscriptions_list_detail: Vec<Subscribed>,
}

#[derive(Deserialize)]
struct Subscribed {
    subject: String,
    #[serde(default)]
    qgroup: String,
}

impl Connection {
    fn is_member(&self, pattern: &Pattern, queue: &str) -> bool {
        let ours = |it: &&Subscribed| it.qgroup == queue;
        let mut ours = self.subscriptions_list_detail.iter().filter(ours);
        // Of one on a wildcard the server says that it has to do with the pattern.
        ours.any(|it| Subject::parse(&it.subject).map_or(true, |it| pattern.matches(&it)))
    }
}

/// The members of a group; `None` when nobody tells all of them.
pub(super) async fn members(
    client: &Client,
    clock: &dyn Clock,
    pattern: &Pattern,
    queue: &str,
) -> Result<Option<Vec<Member>>, Fault> {
    let mut servers = Servers::of(client, clock);
    let mut found = Vec::new();
    let mut all = servers.tell_no_leaf_nodes().await?;
    for page in 0..PAGES {
        let question = json!({
            "subscriptions_detail": true, "filter_subject": pattern.as_str(),
            "offset": page * PAGE, "limit": PAGE,
        });
        let told: Vec<Connections> = servers.ask(CONNECTIONS, &question).await?;
        all &= servers.told_all(told.len());
        let last = told.iter().all(|it| it.connections.len() < PAGE);
        let connections = told.into_iter().flat_map(|it| it.connections);
        let members = connections.filter(|it| it.is_member(pattern, queue));
        found.extend(members.map(|it| Member {
            name: it.name,
            address: format!("{}:{}", it.ip, it.port),
        }));
        if last {
            return Ok(Some(found).filter(|found| all || !found.is_empty()));
        }
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

/// The servers of an account.
struct Servers<'a> {
    client: &'a Client,
    clock: &'a dyn Clock,
    /// How many there are, as far as is known.
    count: Option<usize>,
}

impl<'a> Servers<'a> {
    fn of(client: &'a Client, clock: &'a dyn Clock) -> Self {
        let info = client.server_info();
        let alone = info.cluster.is_none() && info.connect_urls.is_empty();
        Self {
            client,
            clock,
            count: alone.then_some(1),
        }
    }

    fn told_all(&self, told: usize) -> bool {
        told > 0 && self.count == Some(told)
    }

    /// Whether the servers say that no leaf node has a part in the account.
    async fn tell_no_leaf_nodes(&mut self) -> Result<bool, Fault> {
        let told: Vec<Counts> = self.ask(COUNTS, &json!({})).await?;
        let mut accounts = told.iter().flat_map(|it| &it.account_statz);
        Ok(self.told_all(told.len()) && accounts.all(|it| it.leafnodes == 0))
    }

    /// What the servers tell: all that do in time, as many as there are. Those that
    /// answer something else are counted and tell nothing.
    async fn ask<T: DeserializeOwned>(
        &mut self,
        subject: &'static str,
        question: &Value,
    ) -> Result<Vec<T>, Fault> {
        let inbox = self.client.new_inbox();
        let mut messages = self.client.subscribe(inbox.clone()).await?;
        let question = question.to_string().into();
        self.client
            .publish_with_reply(subject, inbox, question)
            .await?;
        self.client.flush().await?;
        let (mut answered, mut told) = (0, Vec::new());
        let hearing = async {
            while self.count.is_none_or(|count| answered < count)
                && let Some(message) = messages.next().await
                && message.status != Some(StatusCode::NO_RESPONDERS)
            {
                answered += 1;
                let answer = serde_json::from_slice::<Answer<T>>(&message.payload);
                told.extend(answer.ok().and_then(|it| it.data));
            }
        };
        // In time or not, what came is there.
        within(self.clock, ANSWER_LIMIT, hearing).await;
        self.count.get_or_insert(answered);
        Ok(told)
    }
}
