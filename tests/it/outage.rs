//! The console in a pseudo terminal while a server goes away and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capdeck::bus::nats::NatsBus;
use capdeck::bus::{Bus as _, LinkState, Pattern};
use capdeck::wire;
use capdeck::wire::decode::decode;
use capdeck::wire::packet::Body;
use serde_json::{Value, json};

use crate::keys::Screen;
use crate::running::{Running, gateway};
use crate::standin::{Answer, StandIn, open_dialog};
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
    let home = Capdeck::new();
    let log = home.home().join("capdeck/capdeck.log");
    let screen = Screen::at_home(home, &["attach", "--nats", &nats.url()], &[]);
    screen.shows("LIVE");

    let plane = Plane::on(&nats);
    plane.submit(LONG);

    screen.press("3");
    screen.until("the job under the cursor", the_job_runs);
    nats.stop();
    screen.shows("NATS is gone for ");
    screen.press("X");
    screen.shows("Not sent: NATS does not answer.");
    assert!(!screen.text().contains("Cancel this job"));
    nats.restart();
    screen.shows("NATS is back after ");
    let lines = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("the line to NATS is lost"), "{lines:#?}");
    assert!(lines[1].contains("the line to NATS is back"), "{lines:#?}");

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
    match decode(&heard).unwrap().body {
        Body::JobCancel(cancel) => assert_eq!(cancel.reason, "asked for afterwards"),
        other => panic!("{other:?} is no cancel"),
    }
}

#[test]
fn a_cancel_waits_for_the_gateway_that_is_away_although_nats_is_up() {
    let nats = NatsProcess::start();
    let dead = format!("http://127.0.0.1:{}", free_port());
    let screen = Screen::capdeck(&["attach", "--nats", &nats.url(), "--gateway", &dead]);
    screen.shows("LIVE");
    let plane = Plane::on(&nats);
    plane.submit(LONG);
    screen.press("3");
    screen.until("the job under the cursor", the_job_runs);
    screen.shows("A R X T wait for the gateway");
    assert!(!screen.text().contains("X cancel"), "{}", screen.text());
    screen.press("X");
    screen.shows("Not sent: the gateway does not answer. Press X again when it is back.");
    assert!(!screen.text().contains("Cancel this job"));
}

/// Only a whole reading asks for the second page; the rounds between do not.
#[test]
fn the_gateways_jobs_are_read_to_the_last_page_at_the_start_and_after_a_gap_of_the_bus() {
    let mut nats = NatsProcess::start();
    let gateway = StandIn::start(true);
    let (readings, rounds) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (read, round) = (Arc::clone(&readings), Arc::clone(&rounds));
    gateway.instead(move |asked, knows| {
        if asked.path == "/approvals" {
            round.fetch_add(1, Ordering::SeqCst);
        }
        if (asked.method.as_str(), asked.path.as_str()) != ("GET", "/jobs") {
            return None;
        }
        let mut record = knows.record();
        let second = asked.query.contains("cursor=7");
        if second {
            record["id"] = json!("job-on-the-second-page");
            record["state"] = json!("RUNNING");
            read.fetch_add(1, Ordering::SeqCst);
        }
        let cursor = if second { Value::Null } else { json!(7) };
        let page = json!({"items": [record], "next_cursor": cursor});
        Some(Answer::Says(200, page.to_string()))
    });
    let url = gateway.url.clone();
    let screen = Screen::capdeck(&["attach", "--nats", &nats.url(), "--gateway", &url]);
    screen.shows("LIVE");
    screen.press("3");
    screen.shows("ond-page");
    screen.until("the bus connected, and nothing to hear on it", |text| {
        let head = text.lines().next().unwrap_or_default();
        head.contains("nats ●") || head.contains("nats ◐")
    });
    // The first connection ended a gap too, which the second round from here has read.
    let connected = rounds.load(Ordering::SeqCst);
    screen.until("two rounds", |_| {
        rounds.load(Ordering::SeqCst) > connected + 1
    });
    nats.stop();
    screen.shows("NATS is gone for ");
    let before = readings.load(Ordering::SeqCst);
    nats.restart();
    screen.shows("NATS is back after ");
    screen.until("another whole reading", |_| {
        readings.load(Ordering::SeqCst) > before
    });
}

#[test]
fn with_a_dead_gateway_the_screen_is_there_and_quits() {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let mut screen = Screen::capdeck(&["attach", "--gateway", &dead]);
    screen.shows("Nothing is reachable yet");
    // The address stands before it: the cause is what there is room for.
    screen.shows("   Connection refused");
    screen.press("3");
    screen.press("X");
    screen.shows("Not sent: the gateway does not answer.");
    screen.press("q");
    assert_eq!(screen.ends().code(), Some(0));
    screen.is_restored();
}

/// A plane on a bus, with its own workers and no traffic.
struct Plane {
    capdeck: Capdeck,
    _running: Running,
    url: String,
}

impl Plane {
    fn on(nats: &NatsProcess) -> Self {
        let capdeck = Capdeck::new();
        let running = Running::start(
            capdeck
                .command(&["up", "--no-traffic", "--http", "127.0.0.1:0", "--nats"])
                .arg(nats.url()),
        );
        Self {
            capdeck,
            url: format!("http://{}", gateway(&running.ready)),
            _running: running,
        }
    }

    fn submit(&self, job: &str) {
        let file = self.capdeck.home().join("job.json");
        std::fs::write(&file, job).unwrap();
        let file = file.to_str().unwrap();
        let ran = self
            .capdeck
            .run(&["submit", "-f", file, "--gateway", &self.url]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
}

/// Whether a running job is under the cursor.
fn the_job_runs(text: &str) -> bool {
    text.lines()
        .any(|line| line.starts_with('▌') && line.contains("running"))
}

/// The rows of workers on the screen, without what is around them.
fn workers(text: &str) -> Vec<String> {
    let rows = text.lines().skip_while(|line| !line.contains("STANDING"));
    let rows = rows.skip(1).take_while(|line| !line.trim().is_empty());
    rows.map(|row| row.trim_start_matches('▌').trim().to_owned())
        .collect()
}

/// Whether the title of this pane says so.
fn title_says(text: &str, pane: &str, says: &str) -> bool {
    let title = format!(" {pane} ──");
    text.lines()
        .any(|line| line.starts_with(&title) && line.contains(says))
}

/// The color of the dark theme for what was known when its source fell silent.
const STALE: vt100::Color = vt100::Color::Rgb(0xa3, 0x9a, 0x86);

/// That for what must be acted upon.
const CRIT: vt100::Color = vt100::Color::Rgb(0xf5, 0x80, 0x80);

/// Asserts that `word` is on the screen in this color, wherever it is.
#[track_caller]
fn is_colored(screen: &Screen, word: &str, color: vt100::Color) {
    screen.look(|it| {
        let rows: Vec<String> = it.rows(0, 120).collect();
        let row = rows.iter().position(|row| row.contains(word)).unwrap();
        let before = rows[row].split_once(word).unwrap().0.chars().count();
        let place = |at: usize| u16::try_from(at).unwrap();
        for at in before..before + word.chars().count() {
            let cell = it.cell(place(row), place(at)).unwrap();
            assert_eq!(cell.fgcolor(), color, "{word} in {}", rows[row]);
        }
    });
}

/// The minute of product and screens: what is stale looks stale and has an age, what
/// stays current says so, nothing is asked of a line that is cut, and afterwards
/// everything is live again.
#[tokio::test(flavor = "multi_thread")]
async fn a_minute_without_nats_is_told_with_its_age_and_blames_no_worker() {
    let mut nats = NatsProcess::start();
    let bus = NatsBus::connect(&nats.config(), clock()).unwrap();
    link_is(&bus, "a connection", |state| *state == LinkState::Up).await;
    let cancel = Pattern::from(&wire::subject(wire::CANCEL));
    let mut cancels = bus.subscribe(&cancel, None).await.unwrap();
    let plane = Plane::on(&nats);
    let rich = [("COLORTERM", "truecolor")];
    let alone = ["attach", "--nats", &nats.url()];
    let alone = Screen::at_home(Capdeck::new(), &alone, &rich);
    let both = ["attach", "--nats", &nats.url(), "--gateway", &plane.url];
    let both = Screen::at_home(Capdeck::new(), &both, &rich);
    alone.shows("LIVE");
    both.shows("LIVE");
    plane.submit(LONG);
    for screen in [&alone, &both] {
        screen.press("3");
        screen.until("the job under the cursor", the_job_runs);
        screen.press("4");
        screen.until("live workers", |text| {
            let rows = workers(text);
            !rows.is_empty() && rows.iter().all(|row| row.starts_with("● live"))
        });
    }

    nats.stop();
    let cut = Instant::now();
    let away = |seconds| Duration::from_secs(seconds).saturating_sub(cut.elapsed());
    alone.shows("NATS is gone for ");
    alone.shows("NO LINK");
    alone.shows("Nothing else tells about jobs.");
    both.shows("NATS is gone for ");
    both.shows("LIVE");
    both.shows("Jobs and approvals stay current: the gateway is asked.");
    for screen in [&alone, &both] {
        screen.shows("Workers and progress are as of ");
        screen.until("the lamp and no rate", |text| {
            text.lines()
                .next()
                .is_some_and(|head| head.contains("nats ○") && head.contains("— pkt/s"))
        });
        is_colored(screen, "nats ○", CRIT);
    }
    // Refused by the console that has nobody to ask, and by the plane behind the other.
    alone.press("3");
    alone.until("the job under the cursor", the_job_runs);
    alone.press("X");
    alone.shows("Not sent: NATS does not answer.");
    // Nobody tells this one about jobs; the other is told by the gateway.
    alone.until("the age of the jobs", |text| {
        title_says(text, "Jobs", "s old")
    });
    is_colored(&alone, "● running", STALE);
    both.press("3");
    both.until("the job under the cursor", the_job_runs);
    open_dialog(&both, "X", "Cancel this job", "while it is away");
    both.press("\t\t\r");
    both.shows("Not cancelled: the bus is not connected ");
    alone.press("4");
    both.press("4");

    // From two beats on nobody's standing is known, and nobody is lost all the while.
    while !away(60).is_zero() {
        for screen in [&alone, &both] {
            let text = screen.text();
            assert!(!text.contains("lost since"), "{text}");
            for row in workers(&text) {
                assert!(!row.starts_with("○ lost"), "{text}");
            }
        }
        if away(41).is_zero() && !away(59).is_zero() {
            for screen in [&alone, &both] {
                screen.until("its age in the title", |text| {
                    (41..60).any(|age| title_says(text, "Workers", &format!(" {age}s old ")))
                });
                let text = screen.text();
                assert!(text.contains(" known, standing unknown since "), "{text}");
                assert!(
                    text.contains("No worker turns lost because our own line is cut."),
                    "{text}"
                );
                let rows = workers(&text);
                assert!(!rows.is_empty(), "no row is taken away: {text}");
                for row in &rows {
                    assert!(row.starts_with("? unknown"), "{text}");
                }
                is_colored(screen, "? unknown", STALE);
                let name = rows[0].split_whitespace().nth(2).unwrap();
                is_colored(screen, name, STALE);
            }
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    nats.restart();
    alone.shows("NATS is back after 1m0");
    alone.shows("What happened in between was not heard.");
    both.shows("NATS is back after 1m0");
    both.shows("What happened in between is read from the gateway; progress is not.");
    for screen in [&alone, &both] {
        screen.until("live workers", |text| {
            let rows = workers(text);
            assert!(
                !rows.iter().any(|row| row.starts_with("○ lost")),
                "a worker is blamed for our own line:\n{text}"
            );
            !rows.is_empty() && rows.iter().all(|row| row.starts_with("● live"))
        });
        screen.until("the age and the notice gone", |text| {
            !text.contains("s old") && !text.contains("NATS is ")
        });
    }
    // The first cancel that anybody hears is the one that is asked for now.
    link_is(&bus, "a connection", |state| *state == LinkState::Up).await;
    both.press("3");
    open_dialog(&both, "X", "Cancel this job", "asked for afterwards");
    both.press("\t\t\r");
    let heard = soon("a cancel", cancels.recv()).await.unwrap();
    match decode(&heard).unwrap().body {
        Body::JobCancel(cancel) => assert_eq!(cancel.reason, "asked for afterwards"),
        other => panic!("{other:?} is no cancel"),
    }
    both.shows("taken in");
}
