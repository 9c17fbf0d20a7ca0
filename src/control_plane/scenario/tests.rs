use std::fmt::Write as _;

use super::*;
use crate::bus::{Delivery, Encoding, Subject};
use crate::time::Timestamp;
use crate::wire;
use crate::wire::packet::{Body, Packet};

const HEAD: &str = r#"
name = "t"
[[pool]]
name = "crawl"
workers = 2
slots = 1
topics = ["job.crawl.*"]
[job.fetch]
topic = "job.crawl.fetch"
seconds = [1, 2]
"#;

fn read(text: &str) -> Result<Scenario, ScenarioError> {
    format::parse(
        text,
        "s.toml",
        &|_| Err(std::io::ErrorKind::NotFound.into()),
    )
}

/// What is said about HEAD followed by `text`, and the hint after an arrow.
fn check(text: &str, expected: &str) {
    let error = read(&format!("{HEAD}{text}")).expect_err(text);
    let mut said = error.to_string();
    if let Some(hint) = error.hint() {
        write!(said, " -> {hint}").expect("good test data");
    }
    assert_eq!(said, expected, "{text}");
}

#[test]
fn what_is_wrong_with_a_scenario_is_said_with_its_line_and_the_nearest_name() {
    check(
        "[[stream]]\njob = \"fetch\"\nper_minut = 3",
        "s.toml:13: there is no key `per_minut` here -> did you mean `per_minute`?",
    );
    check(
        "[[stream]]\njob = \"fecth\"\nper_minute = 3",
        "s.toml:12: there is no job `fecth` -> did you mean `fetch`?",
    );
    check(
        "[[stream]]\njob = \"fetch\"\nper_minute = -1",
        "s.toml:13: `per_minute` is -1; it goes from 0 to 60000",
    );
    check(
        "[[incident]]\nat = 1\ndo = \"dye\"\nworker = \"w-crawl-01\"",
        "s.toml:13: there is no incident `dye` -> did you mean `die`?",
    );
    check(
        "[[incident]]\nat = 1\ndo = \"die\"\nworker = \"w-crawl-3\"",
        "s.toml:14: there is no worker `w-crawl-3` -> did you mean `w-crawl-01`?",
    );
    check(
        "[[incident]]\nat = 1\ndo = \"slow\"\npool = \"crawl\"",
        "s.toml:13: `slow` needs `times`, from 1 to 1000",
    );
    check(
        "[[incident]]\nat = 1\ndo = \"die\"",
        "s.toml:13: this incident needs either `worker` or `pool`",
    );
    check(
        "[[once]]\nat = 1\njob = \"fetch\"\noutcome = \"never\"",
        "s.toml:14: there is no outcome `never`",
    );
    check(
        "[[once]]\nat = 1\njob = \"fetch\"\npayload = \"text\"",
        "s.toml:14: there is no payload `text`",
    );
    check(
        "[payload.x]\nfile = \"gone.json\"",
        "s.toml:11: cannot read payload file `gone.json`: entity not found",
    );
    check(
        "[job.a]\ntopic = \"fetch\"\nseconds = 1",
        "s.toml:12: `fetch` is not a topic: a topic is a subject that begins with `job.`",
    );
    check(
        "[job.a]\ntopic = \"job.a\"\nseconds = [3, 1]",
        "s.toml:13: a duration goes from 0 to 86400 seconds, the low end first",
    );
    check(
        "[job.a]\ntopic = \"job.a\"\nseconds = 1\nodds = { failed = 0.8, hang = 0.3 }",
        "s.toml:14: odds are shares from 0 to 1, and at most 1 together",
    );
    check(
        "[[pool]]\nname = \"crawl\"\nworkers = 1\nslots = 1",
        "s.toml:12: there are two pools `crawl`",
    );
    check(
        "[[pool]]\nname = \"a.b\"\nworkers = 1\nslots = 1",
        "s.toml:12: `a.b` cannot be part of a subject, so it cannot name a pool",
    );
    check(
        "[[pool]]\nname = \"b\"\nworkers = 0\nslots = 1",
        "s.toml:13: `workers` is 0; it goes from 1 to 5000",
    );
    check(
        "[[alert]]\nat = 1\nseverity = \"warn\"\ncomponent = \"c\"\ncode = \"d\"\nmessage = \"m\"",
        "s.toml:13: there is no severity `warn` -> did you mean `warning`?",
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let error = read("name = \"t\"\n[[pool\n")
        .expect_err("not TOML")
        .to_string();
    assert!(error.starts_with("s.toml:2: "), "{error}");
    let error = read("about = \"x\"\n").expect_err("no name").to_string();
    assert_eq!(error, "s.toml:1: missing field `name`");
}

#[test]
fn every_built_in_scenario_is_read_and_every_file_in_demo_is_built_in() {
    let mut files: Vec<String> = std::fs::read_dir("demo/scenarios")
        .expect("good test data")
        .map(|entry| {
            entry
                .expect("good test data")
                .file_name()
                .into_string()
                .expect("good test data")
        })
        .collect();
    files.sort();
    let mut names: Vec<String> = Scenario::BUILT_IN
        .iter()
        .map(|name| format!("{name}.toml"))
        .collect();
    names.sort();
    assert_eq!(files, names);
    for name in Scenario::BUILT_IN {
        let scenario = Scenario::built_in(name).expect(name);
        assert_eq!(scenario.name, *name);
        let loaded = Scenario::load(Path::new(&format!("demo/scenarios/{name}.toml")));
        assert_eq!(loaded.expect("good test data"), scenario);
    }
    assert_eq!(Scenario::built_in("other"), None);
}

#[test]
fn a_topic_that_two_pools_take_is_listed_once_with_both() {
    let text = format!(
        "{HEAD}[[pool]]\nname = \"special\"\nworkers = 1\nslots = 1\n\
         topics = [\"job.pdf\", \"job.crawl.*\"]"
    );
    let topics = read(&text).expect("good test data").topics();
    assert_eq!(
        format!("{topics:?}"),
        r#"[("job.crawl.*", ["crawl", "special"]), ("job.pdf", ["special"])]"#
    );
}

fn play(scenario: &str, seed: u64, step_ms: u64, seconds: u64) -> Vec<(Timestamp, Move)> {
    let scenario = Arc::new(Scenario::built_in(scenario).expect("good test data"));
    let start = Timestamp::from_millis(1_000_000);
    let mut plan = Plan::new(scenario, seed, start);
    let mut moves = Vec::new();
    for tick in 0..=(seconds * 1_000 / step_ms) {
        let now = start.plus(Elapsed::from_millis(tick * step_ms));
        moves.extend(plan.due(now));
    }
    moves
}

#[test]
fn one_seed_gives_the_same_moves_however_often_it_is_asked_and_another_seed_others() {
    let often = play("default", 7, 100, 120);
    let rarely = play("default", 7, 40_000, 120);
    assert!(often.len() > 200, "{}", often.len());
    assert_eq!(often, rarely);
    assert_ne!(often, play("default", 8, 100, 120));
    assert!(often.windows(2).all(|pair| pair[0].0 <= pair[1].0));
}

#[test]
fn every_packet_of_a_plan_keeps_the_contract_and_its_contexts_are_there() {
    for name in Scenario::BUILT_IN {
        for (at, one) in play(name, 1, 1_000, 300) {
            let (subject, packet) = match one {
                Move::Submit(submission) => {
                    let Body::JobRequest(request) = &submission.packet.body else {
                        panic!("{:?}", submission.packet);
                    };
                    let mut pointers = vec![request.context_ptr.clone()];
                    if let Some(undo) = &request.compensation {
                        pointers.push(undo.context_ptr.clone());
                        let key = undo
                            .meta
                            .as_ref()
                            .expect("good test data")
                            .idempotency_key
                            .clone();
                        assert_eq!(key, format!("{}/undo", request.job_id));
                    }
                    let keys: Vec<String> = submission
                        .contexts
                        .iter()
                        .map(|(key, _)| format!("redis://{key}"))
                        .collect();
                    assert_eq!(keys, pointers);
                    (wire::subject(wire::SUBMIT), submission.packet)
                }
                Move::Publish { subject, packet } => (subject, *packet),
                Move::Workers(_) | Move::EditPolicy(_) => continue,
            };
            assert_eq!(packet.sent_at, Some(at));
            assert_eq!(round_trip(&subject, &packet), packet);
        }
    }
}

fn round_trip(subject: &Subject, packet: &Packet) -> Packet {
    let payload = wire::encode::encode(subject, packet).expect("good test data");
    let delivery = Delivery {
        subject: subject.clone(),
        payload,
        encoding: Encoding::Proto,
    };
    wire::decode::decode(&delivery).expect("good test data")
}

#[test]
fn a_rate_follows_its_windows() {
    let text = format!(
        "{HEAD}[[stream]]\njob = \"fetch\"\nper_minute = 60\n\
         windows = [{{ from = 60, to = 120, per_minute = [600, 1200], every = 300 }}]"
    );
    let scenario = Arc::new(read(&text).expect("good test data"));
    let mut plan = Plan::new(scenario, 3, Timestamp::from_millis(0));
    let mut upto = |seconds: i64| plan.due(Timestamp::from_millis(seconds * 1_000)).len();
    let before = upto(60);
    let within = upto(120);
    let after = upto(180);
    let again = {
        upto(360);
        upto(420)
    };
    assert!((40..=80).contains(&before), "{before}");
    assert!((800..=1_000).contains(&within), "{within}");
    assert!((40..=80).contains(&after), "{after}");
    assert!((800..=1_000).contains(&again), "{again}");
}

#[test]
fn a_stream_that_has_ended_leaves_nothing_to_wait_for() {
    let text = format!(
        "{HEAD}[[stream]]\njob = \"fetch\"\nper_minute = 0\n\
         windows = [{{ from = 1, to = 3, per_minute = 600 }}]"
    );
    let mut plan = Plan::new(
        Arc::new(read(&text).expect("good test data")),
        3,
        Timestamp::from_millis(0),
    );
    let moves = plan.due(Timestamp::from_millis(1_000_000));
    assert!((10..=30).contains(&moves.len()), "{}", moves.len());
    assert_eq!(plan.next_at(), None);
}

#[test]
fn words_are_filled_in_and_unknown_ones_stay() {
    let text = format!(
        "{HEAD}[job.note]\ntopic = \"job.note\"\nseconds = 1\ntenants = [\"acme\"]\n\
         vary = {{ ticket = [\"OPS-1\"] }}\nlabels = {{ \"resource:{{{{ticket}}}}\" = \"{{{{tenant}}}}\" }}\n\
         payload = \"p\"\n[payload.p]\ntext = \"{{{{ticket}}}} {{{{unknown}}}} {{{{ {{{{n}}}}\"\n\
         [[once]]\nat = 0\njob = \"note\""
    );
    let scenario = Arc::new(read(&text).expect("good test data"));
    let mut plan = Plan::new(scenario, 3, Timestamp::from_millis(0));
    let moves = plan.due(Timestamp::from_millis(0));
    let [(_, Move::Submit(submission))] = moves.as_slice() else {
        panic!("{moves:?}");
    };
    let Body::JobRequest(request) = &submission.packet.body else {
        panic!("{submission:?}");
    };
    assert_eq!(request.labels["resource:OPS-1"], "acme");
    assert_eq!(submission.contexts[0].1, "OPS-1 {{unknown}} {{ 1");
}

#[test]
fn a_policy_edit_replaces_once_or_appends() {
    let replace = PolicyEdit::Replace {
        find: "a".to_owned(),
        replace: "b".to_owned(),
    };
    assert_eq!(replace.apply("xaa").as_deref(), Some("xba"));
    assert_eq!(replace.apply("x"), None);
    let append = PolicyEdit::Append {
        text: "# more".to_owned(),
    };
    assert_eq!(append.apply("x\n").as_deref(), Some("x\n# more"));
}

#[test]
fn no_job_of_a_scenario_has_an_id_that_the_plane_gives_from_the_same_seed() {
    use crate::control_plane::ledger::Ledger;
    use std::collections::BTreeSet;

    let mut ledger = Ledger::new(10, 7);
    let given: BTreeSet<String> = (0..5_000).map(|_| ledger.fresh_uuid()).collect();
    assert_eq!(given.len(), 5_000);
    let mut seen = 0;
    for (_, one) in play("default", 7, 1_000, 600) {
        if let Move::Submit(submission) = one
            && let Body::JobRequest(request) = &submission.packet.body
        {
            seen += 1;
            assert!(
                !given.contains(request.job_id.as_str()),
                "{}",
                request.job_id
            );
            assert!(!given.contains(submission.packet.trace.as_str()));
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn the_workers_of_two_planes_have_names_of_their_own() {
    let tagged = Scenario::built_in("default")
        .expect("good test data")
        .tagged("-1a2b");
    let ids: Vec<String> = tagged
        .pools
        .iter()
        .flat_map(|pool| pool.worker_ids().map(|id| id.to_string()))
        .collect();
    assert!(ids.iter().all(|id| id.ends_with("-1a2b")), "{ids:?}");
    for incident in &tagged.incidents {
        if let Happening::Workers { workers, .. } = &incident.what {
            for worker in workers {
                assert!(ids.contains(&worker.to_string()), "{worker} is in no pool");
            }
        }
    }
}
