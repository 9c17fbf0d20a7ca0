//! Jobs and the detail of one: what is told of them besides their state.

use super::*;

#[test]
fn what_came_and_what_changed_lately_is_marked() {
    // The list is shown first when the view is, so the view comes before what is new.
    let mut console = Console::play("0s link nats up | 0s submit old topic=job.a | 1s tick");
    console.user(Action::Jobs);
    let mut effects = EffectQueue::new();
    let more = script::events(
        "9s submit new topic=job.b | 9s dispatch old w1 topic=job.a | 9s progress old 10% | 10s tick",
    );
    for mut event in more.unwrap() {
        event.seq += 100;
        console.state.step(&event, &mut effects);
        console.at = event.at;
    }
    let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, 120, 36));
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("job") || line.contains("w1"))
        .collect();
    assert!(
        text.lines()
            .any(|line| line.starts_with("  +○ pending     new")),
        "{rows:#?}"
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("▌ ~● running     old")),
        "{rows:#?}"
    );
}

#[test]
fn the_detail_of_a_job_shows_its_own_packets_the_newest_first() {
    let script = "0s link nats up | 0s submit a topic=job.x | 1s submit b topic=job.x | 2s dispatch a w1 topic=job.x \
                  | 3s progress a 40% message=\"chunk 4\" | 4s tick";
    let found = lines_with(
        script,
        &[Action::Jobs, Action::Last, Action::Detail],
        &["job_request", "40%  chunk 4", "kept"],
    );
    let says: Vec<&str> = found.iter().map(|line| line.trim()).collect();
    assert_eq!(says.len(), 4, "{says:#?}");
    assert!(says[0].ends_with("3 kept, 0 with findings"), "{says:#?}");
    for (line, what) in says[1..].iter().zip([
        ["00:00:03.000  sys.job.progress", "40%  chunk 4"],
        ["00:00:02.000  worker.w1.jobs", "job_request, dispatch"],
        ["00:00:00.000  sys.job.submit", "job_request"],
    ]) {
        assert!(
            what.iter().all(|part| line.contains(part)),
            "{line} has not {what:?}"
        );
    }
}

#[test]
fn a_job_that_waits_for_its_pool_names_it_and_tells_what_is_ahead() {
    let script = "0s link nats up | 0s beat w1 pool=gpu slots=4/4 | 0s beat w2 pool=gpu slots=1/4 cpu=95 \
                  | 1s submit done topic=job.gpu.a | 2s dispatch done w1 topic=job.gpu.a | 3s succeed done w1 \
                  | 4s told j1 PENDING topic=job.gpu.a waiting=pool_overloaded | 5s told j2 PENDING topic=job.gpu.a waiting=pool_overloaded \
                  | 6s told j3 PENDING topic=job.crawl.a waiting=no_workers | 20s beat w1 pool=gpu slots=4/4 | 20s beat w2 pool=gpu slots=1/4 cpu=95 | 21s tick";
    let found = lines_with(script, &[Action::Jobs, Action::Down], &["gpu", "crawl"]);
    let says = found.join("\n");
    assert!(
        says.contains("j1       gpu.a             pool gpu overloaded: 2 of 2 over 90%"),
        "{says}"
    );
    assert!(says.contains("no live worker"), "{says}");
    assert!(
        says.contains("Pool gpu: 2 of 2 workers over 90%, 1 job ends a minute, 1 job is ahead: about 2m00s if nothing"),
        "{says}"
    );
    // Without the bus nobody tells how fast the line moves, nor who is left to move it.
    let gone = script.replace("21s tick", "21s link nats down");
    let says = lines_with(&gone, &[Action::Jobs, Action::Down], &["gpu"]).join("\n");
    assert!(
        says.contains("Pool gpu: 2 of 2 workers over 90%, 1 job is ahead"),
        "{says}"
    );
    assert!(!says.contains("about 2m"), "{says}");
    let later = format!("{gone} | 120s tick");
    let says = lines_with(&later, &[Action::Jobs, Action::Down], &["gpu"]).join("\n");
    assert!(
        says.contains("Pool gpu: its workers are not heard."),
        "{says}"
    );
}

#[test]
fn a_job_that_asks_for_what_no_worker_has_says_for_what() {
    let script = "0s link nats up | 0s beat w1 pool=ops slots=0/4 | 0s beat w2 pool=ops slots=1/4 \
                  | 1s submit done topic=job.ops.a | 2s dispatch done w1 topic=job.ops.a | 3s succeed done w1 \
                  | 4s told j1 PENDING topic=job.ops.a waiting=no_pool_mapping requires=gpu,net \
                  | 5s told j2 PENDING topic=job.ops.a waiting=no_workers labels=node.zone:eu,team:x \
                  | 6s told j3 PENDING topic=job.ops.a waiting=pool_overloaded requires=gpu labels=node.zone:us \
                  | 7s told j4 PENDING topic=job.ops.a waiting=pool_overloaded | 21s tick";
    let at = |downs: usize| {
        let mut keys = vec![Action::Jobs];
        keys.extend((0..downs).map(|_| Action::Down));
        lines_with(script, &keys, &["ops", "Waits for"]).join("\n")
    };
    let says = at(0);
    for row in [
        "j1       ops.a             no pool of its topic offers gpu, net",
        "j2       ops.a             no live worker in pool ops has node.zone=eu",
        "j3       ops.a             no room on a worker with gpu, node.zone=us",
    ] {
        assert!(says.contains(row), "{says}");
    }
    for (downs, under) in [
        "No pool of its topic offers gpu, net.",
        "Pool ops: none of 2 workers has node.zone=eu.",
        "Pool ops: none of its workers with gpu, node.zone=us has room.",
        // The first two do not wait for room.
        "Pool ops: 0 of 2 workers over 90%, 1 job ends a minute, 1 job is ahead",
    ]
    .into_iter()
    .enumerate()
    {
        let says = at(downs);
        assert!(says.contains(under), "{says}");
    }
}

#[test]
fn a_cancelled_job_tells_when_its_worker_stopped() {
    let script = "0s link nats up | 0s submit a topic=job.x | 1s dispatch a w1 topic=job.x | 2s progress a 10% \
                  | 3s cancel a for=ann reason=\"too late\" | 3s cancelled a api-gateway | 4s cancelled a w1 | 5s tick";
    let found = lines_with(script, &[Action::Jobs], &["⊘ cancelled"]);
    assert!(
        found[0].contains("worker stopped after 1s; asked by ann: t"),
        "{found:#?}"
    );
}

#[test]
fn the_detail_of_a_job_names_its_undo_and_the_key_under_which_it_runs_once() {
    let script = "0s link nats up | 0s submit a topic=job.x undo=job.x_undo | 1s tick";
    let found = lines_with(
        script,
        &[Action::Jobs, Action::Detail],
        &["rollback", "its key"],
    );
    assert!(found[0].contains("job.x_undo"), "{found:#?}");
    assert!(found[1].contains("a/undo"), "{found:#?}");
}

#[test]
fn a_word_that_a_field_never_holds_is_followed_by_what_was_meant() {
    let mut console = Console::play("0s link nats up | 0s submit a topic=job.x | 1s tick");
    console.user(Action::Jobs);
    console.user(Action::Filter);
    for c in "state:pendng".chars() {
        console.user(Action::Edit(Edit::Insert(c)));
    }
    console.user(Action::Confirm);
    let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, 120, 36));
    let says = "No job matches state:pendng. Did you mean state:pending? Esc shows all 1.";
    assert!(text.contains(says), "{text}");
}

#[test]
fn rows_that_keys_keep_in_place_for_long_are_said_to_be_held() {
    let mut console = Console::play("0s link nats up | 0s submit a topic=job.x | 1s tick");
    console.user(Action::Jobs);
    let title = |console: &mut Console| {
        let text = text_of(&console.draw(&dark(), Glyphs::UNICODE, 120, 36));
        let title = text.lines().find(|line| line.starts_with(" Jobs "));
        title.expect("the title of the jobs").to_owned()
    };
    for _ in 0..6 {
        assert!(
            !title(&mut console).contains("held"),
            "{}",
            title(&mut console)
        );
        console.at = console.at.plus(Elapsed::from_secs(1));
        console.user(Action::Down);
    }
    assert!(
        title(&mut console).contains("6s held"),
        "{}",
        title(&mut console)
    );
    console.at = console.at.plus(Elapsed::from_secs(3));
    assert!(
        !title(&mut console).contains("held"),
        "{}",
        title(&mut console)
    );
}
