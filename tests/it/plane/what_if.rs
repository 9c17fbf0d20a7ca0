//! A candidate policy against a plane that has decided: in the console, by key, and
//! from the command line.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{FIRST_POLICY, Up, http, id_of, production_write};
use crate::keys::Screen;
use crate::support::Capdeck;

/// The first policy without the rule that asks a person.
fn without_a_person(up: &Up) -> PathBuf {
    let next = FIRST_POLICY.replace("decision: require_approval", "decision: allow");
    assert_ne!(next, FIRST_POLICY);
    let path = up.policy.with_file_name("policy-next.yaml");
    std::fs::write(&path, next).unwrap();
    path
}

fn snapshots(up: &Up) -> Value {
    let (status, told) = http(up.addr, "GET", "/api/v1/policy/snapshots", None);
    assert_eq!(status, 200);
    told
}

fn read(path: &str) -> Value {
    json!({"topic": path, "labels": {"mcp.action": "read"}})
}

#[test]
fn a_candidate_is_tried_by_key_and_what_loses_a_person_is_said_while_nothing_changes() {
    let up = Up::start();
    let held = id_of(&up.submit(&production_write()).1);
    for _ in 0..3 {
        up.submit(&read("job.mcp-bridge.read.x"));
    }
    let before = snapshots(&up);
    let next = without_a_person(&up);
    let gateway = format!("http://{}", up.addr);
    let mut screen = Screen::capdeck(&["attach", "--gateway", &gateway]);
    screen.shows("LIVE");
    screen.press("5");
    screen.shows("Rules, first match wins");
    screen.until("the key in the footer", |text| text.contains("P what if"));
    screen.press("P");
    screen.shows("what-if");
    screen.press(next.to_str().unwrap());
    screen.shows("Asks what");
    screen.press("\r");
    screen.shows("policy-next.yaml on the last 4 decisions  1 flip, 3 stay, 0 unknown");
    screen.shows("1 of the 1 loses a human decision. It carries the tag prod.");
    screen.shows("Nothing was published.");
    let tail = &held[held.len() - 8..];
    screen.until("the flip under the cursor", |text| {
        text.lines().any(|line| {
            line.starts_with('▌')
                && line.contains("◆ require_approval")
                && line.contains("✓ allow")
                && line.trim_end().ends_with(tail)
        })
    });
    screen.press("\r");
    screen.shows("Jobs of this flip");
    screen.shows(&held);
    screen.press("\x1b");
    screen.until("the window closed", |text| {
        !text.contains("Jobs of this flip")
    });

    std::fs::write(&next, "rules:\n  - id: r1\n    decision: permits\n").unwrap();
    screen.press("r");
    screen.shows("policy-next.yaml line 3, column 15: rule `r1`: decision `permits` is not one of");
    // What the good file would change is still there.
    screen.shows("1 flip, 3 stay");

    // Esc clears one thing at a time: what the footer says, then the pane.
    screen.press("\x1b");
    screen.until("the keys again", |text| {
        !text.contains("Reading policy again")
    });
    screen.press("\x1b");
    screen.until("the pane closed", |text| !text.contains("1 flip, 3 stay"));
    screen.press("\x03");
    assert_eq!(screen.ends().code(), Some(0));
    assert_eq!(snapshots(&up), before);
    assert_eq!(up.job(&held)["state"], "APPROVAL_REQUIRED");
    let (_, log) = http(up.addr, "GET", "/api/v1/governance/decisions", None);
    let asked = log["items"].as_array().unwrap().iter();
    let of_it = asked.filter(|it| it["job_id"] == json!(held)).count();
    assert_eq!(of_it, 1, "a replay records nothing: {log}");
    assert_eq!(up.terminate().code, 0);
}

/// What the help of `policy diff` makes with curl and jq.
fn log_of_pages(up: &Up) -> PathBuf {
    let (_, log) = http(up.addr, "GET", "/api/v1/governance/decisions", None);
    let jobs = log["items"].as_array().unwrap().iter();
    let jobs: BTreeSet<&str> = jobs.map(|it| it["job_id"].as_str().unwrap()).collect();
    let pages = jobs.into_iter().map(|id| {
        let (_, page) = http(up.addr, "GET", &format!("/api/v1/jobs/{id}"), None);
        page.to_string()
    });
    let file = up.policy.with_file_name("decisions.jsonl");
    std::fs::write(&file, pages.collect::<Vec<_>>().join("\n")).unwrap();
    file
}

#[test]
fn the_decisions_of_a_gateway_are_compared_job_by_job() {
    let up = Up::start();
    let held = id_of(&up.submit(&production_write()).1);
    up.submit(&read("job.mcp-bridge.read.x"));
    assert_eq!(up.approve(&held).0, 200);
    let next = without_a_person(&up);
    let gateway = format!("http://{}", up.addr);
    let diff = |old: &Path, new: &Path, gateway: &str| {
        let paths = [old, new].map(|path| path.to_str().unwrap());
        Capdeck::new().run(&["policy", "diff", paths[0], paths[1], "--gateway", gateway])
    };
    let ran = diff(&up.policy, &next, &gateway);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(
        ran.stdout
            .contains("policy-next.yaml on the last 2 decisions  1 flip, 1 stay, 0 unknown"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains(&held[held.len() - 8..]),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.stderr, "error: 1 of 2 recorded decisions flips\n");
    let same = diff(&up.policy, &up.policy, &gateway);
    assert_eq!((same.code, &*same.stderr), (0, ""), "{}", same.stdout);
    // That a person let it go on is no decision of policy, and cannot flip.
    up.waits_in(&held, "SUCCEEDED");
    let (_, log) = http(up.addr, "GET", "/api/v1/governance/decisions", None);
    let mut log = log["items"].as_array().unwrap().iter();
    assert!(log.any(|it| it["reason"] == "approval granted"));
    let body = json!({ "content": FIRST_POLICY });
    let (_, same) = http(up.addr, "POST", "/api/v1/policy/replay", Some(&body));
    assert_eq!(
        (&same["considered"], &same["flips"]),
        (&json!(2), &json!([]))
    );
    // The pages of jobs, one a line, are what a file of decisions may hold.
    let pages = log_of_pages(&up);
    let paths = [&up.policy, &next, &pages].map(|path| path.to_str().unwrap());
    let of_pages = [
        "policy",
        "diff",
        paths[0],
        paths[1],
        "--decisions",
        paths[2],
    ];
    let ran = Capdeck::new().run(&of_pages);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    let says = "on the last 2 decisions  1 flip, 1 stay, 0 unknown";
    assert!(ran.stdout.contains(says), "{}", ran.stdout);
    let away = diff(&up.policy, &next, "http://127.0.0.1:1");
    assert_eq!(away.code, 3, "{}", away.stderr);
    assert_eq!(up.terminate().code, 0);
}
