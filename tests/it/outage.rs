//! The console in a pseudo terminal while a server goes away and comes back.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, LinkState, Pattern};
use capdeck::wire;
use capdeck::wire::decode::decode;
use capdeck::wire::packet::Body;

use crate::keys::Screen;
use crate::support::{Capdeck, NatsProcess, clock, free_port, link_is, soon};

const LONG: &str =
    r#"{"topic":"job.demo.echo","labels":{"mcp.action":"read","demo.seconds":"300"}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_while_nats_is_gone_is_not_sent_later() {
    let mut nats = NatsProcess::start();
    let bus = NatsBus::connect(&nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |state| *state == LinkState::Up).await;
    let cancel = Pattern::from(&wire::subject(wire::CANCEL));
    let mut cancels = bus.subscribe(&cancel, None).await.unwrap();
    let screen = Screen::capdeck(&["attach", "--nats", &nats.url()]);
    screen.shows("LIVE");

    let plane = Capdeck::new();
    let mut up = plane
        .command(&["up", "--no-traffic", "--http", "127.0.0.1:0", "--nats"])
        .arg(nats.url())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    let mut says = BufReader::new(up.stdout.take().unwrap());
    says.read_line(&mut ready).unwrap();
    let url = ready.split_once("gateway ").unwrap().1;
    let url = url.split_once(',').unwrap().0;
    let file = plane.home().join("job.json");
    std::fs::write(&file, LONG).unwrap();
    let ran = plane.run(&["submit", "-f", file.to_str().unwrap(), "--gateway", url]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    screen.press("3");
    screen.until("the job under the cursor", |text| {
        text.lines()
            .any(|line| line.starts_with('▌') && line.contains("running"))
    });
    nats.stop();
    screen.shows("NATS is gone for ");
    screen.press("X");
    screen.shows("Not sent: neither the gateway nor the bus answers.");
    assert!(!screen.text().contains("Cancel this job"));
    nats.restart();
    screen.shows("NATS is back after ");

    // The first cancel that anybody hears is the one that is asked for now.
    link_is(&bus, "a connection", |state| *state == LinkState::Up).await;
    screen.press("X");
    screen.shows("Cancel this job");
    std::thread::sleep(Duration::from_millis(600));
    screen.press("asked for afterwards");
    screen.shows("asked for afterwards");
    screen.press("\r");
    screen.press("\t\t\r");
    let heard = soon("a cancel", cancels.recv()).await.unwrap();
    up.kill().unwrap();
    up.wait().unwrap();
    match decode(&heard).unwrap().body {
        Body::JobCancel(cancel) => assert_eq!(cancel.reason, "asked for afterwards"),
        other => panic!("{other:?} is no cancel"),
    }
}

#[test]
fn with_a_dead_gateway_the_screen_is_there_and_quits() {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let mut screen = Screen::capdeck(&["attach", "--gateway", &dead]);
    screen.shows("Nothing is reachable yet");
    screen.press("3");
    screen.press("X");
    screen.shows("Not sent: neither the gateway nor the bus answers.");
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
    screen.is_restored();
}
