//! Who shares messages, as a server tells it.

use std::sync::Arc;

use capdeck::bus::local::LocalBus;
use capdeck::bus::{Bus, Pattern};

use super::{connected, hear, say};
use crate::support::{NatsProcess, eventually, free_port, soon};

fn pattern() -> Pattern {
    Pattern::parse("sys.job.*").unwrap()
}

/// The names of the members of a group; `None` when nobody tells.
async fn members(bus: &dyn Bus, queue: &str) -> Option<Vec<String>> {
    let members = bus.members(&pattern(), queue).await.unwrap()?;
    let names = members.into_iter().map(|it| {
        assert!(it.address.starts_with("127.0.0.1:"), "{}", it.address);
        it.name
    });
    Some(names.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_tells_who_is_in_a_group_and_who_is_gone_is_in_none() {
    let server = NatsProcess::start();
    let asks = connected(&server).await;
    assert_eq!(members(&*asks, "schedulers").await, Some(Vec::new()));
    let other: Arc<dyn Bus> = connected(&server).await;
    let mut ears = Vec::new();
    for (name, queue) in [
        ("sys.job.cancel", None),
        ("sys.job.submit", Some("others")),
        ("sys.heartbeat", Some("schedulers")),
    ] {
        ears.push(hear(&other, name, queue).await);
    }
    assert_eq!(members(&*asks, "schedulers").await, Some(Vec::new()));
    let theirs = async_nats::ConnectOptions::new().name("cordum-bus");
    let theirs = theirs.connect(server.url()).await.unwrap();
    let group = || "schedulers".to_owned();
    let cancels = theirs.queue_subscribe("sys.job.cancel", group()).await;
    theirs.flush().await.unwrap();
    let expected = Some(vec!["cordum-bus".to_owned()]);
    assert_eq!(members(&*asks, "schedulers").await, expected);
    drop(cancels);
    let all = theirs.queue_subscribe("sys.>", group()).await;
    theirs.flush().await.unwrap();
    assert_eq!(members(&*asks, "schedulers").await, expected);
    drop(all);
    theirs.drain().await.unwrap();
    eventually("its end", async || {
        let members = members(&*asks, "schedulers").await.unwrap();
        members.is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_found_behind_a_page_of_others() {
    let server = NatsProcess::start();
    let asks = connected(&server).await;
    let mut clients = Vec::new();
    for n in 0..=500 {
        let client = async_nats::connect(server.url()).await.unwrap();
        let cancels = "sys.job.cancel";
        let ear = match n {
            500 => {
                client
                    .queue_subscribe(cancels, "schedulers".to_owned())
                    .await
            }
            _ => client.subscribe(cancels).await,
        };
        client.flush().await.unwrap();
        clients.push((client, ear.unwrap()));
    }
    let told = members(&*asks, "schedulers").await.unwrap();
    assert_eq!(told.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_of_a_cluster_tells_of_its_own() {
    let port = free_port();
    let (_dir, one) = NatsProcess::configured(&format!(
        "cluster {{ name: c, listen: \"127.0.0.1:{port}\" }}"
    ));
    let (_dir, other) = NatsProcess::configured(&format!(
        "cluster {{ name: c, listen: \"127.0.0.1:{}\", routes: [\"nats-route://127.0.0.1:{port}\"] }}",
        free_port()
    ));
    let theirs: Arc<dyn Bus> = connected(&other).await;
    let _ear = hear(&theirs, "sys.job.cancel", Some("schedulers")).await;
    let asks = connected(&one).await;
    eventually("the other server", async || {
        let told = members(&*asks, "schedulers").await?;
        (told == ["capdeck"]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_tells_is_not_told() {
    assert_eq!(members(&LocalBus::new(), "schedulers").await, None);
    // An account that may not ask keeps its line.
    let (_dir, server) = NatsProcess::configured(
        "authorization { users: [
            {user: u, password: p, permissions: {publish: {deny: [\"$SYS.>\"]}}}
        ] }
        no_auth_user: u",
    );
    let bus = connected(&server).await;
    assert_eq!(members(&*bus, "schedulers").await, None);
    let heard: Arc<dyn Bus> = bus;
    let mut ear = hear(&heard, "a", None).await;
    say(&*heard, "a", "end").await;
    soon("the end", ear.recv()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_a_leaf_node_is_not_told() {
    let port = free_port();
    let (_dir, hub) =
        NatsProcess::configured(&format!("leafnodes {{ host: 127.0.0.1, port: {port} }}"));
    let hub_bus = connected(&hub).await;
    assert_eq!(members(&*hub_bus, "schedulers").await, Some(Vec::new()));
    let (_dir, leaf) = NatsProcess::configured(&format!(
        "leafnodes {{ remotes: [{{url: \"nats-leaf://127.0.0.1:{port}\"}}] }}"
    ));
    let leaf_bus = connected(&leaf).await;
    for bus in [leaf_bus, hub_bus] {
        eventually("the other side", async || {
            let told = members(&*bus, "schedulers").await;
            told.is_none().then_some(())
        })
        .await;
    }
}
