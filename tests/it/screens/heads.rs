//! What titles, heads, notices and footers say, and that they say it whole.

use capdeck::state::ui::ListId;

use super::*;

/// The columns of a list at 200 columns, each with the name that `:sort` takes.
#[track_caller]
fn check_columns(keys: &str, script: &str, id: ListId, columns: &[(&str, &str)]) {
    let mut console = Console::play(script);
    console.press(keys);
    let text = text_of(&console.paint(200, 60));
    let has_all = |line: &&str| columns.iter().all(|(head, _)| line.contains(head));
    let head = text.lines().find(has_all);
    let mut left = head
        .unwrap_or_else(|| panic!("no such head: {text}"))
        .to_owned();
    for (head, sort) in columns {
        left = left.replacen(head, "", 1);
        let mut sorts = id.sorts().iter();
        assert!(
            sorts.any(|key| key.name() == *sort),
            "{head} is shown and {id:?} is not sorted by {sort}"
        );
    }
    assert_eq!(
        left.trim(),
        "",
        "{id:?} shows a column that is not named here"
    );
}

#[test]
fn every_column_that_a_list_shows_is_one_that_it_is_sorted_by() {
    check_columns(
        "approvals",
        LIVE,
        ListId::Approvals,
        &[
            ("WAIT", "age"),
            ("SLA", "sla"),
            ("HELD", "held"),
            ("ACTION", "topic"),
            ("RULE", "rule"),
            ("RISK", "risk"),
            ("UNDO", "undo"),
            ("REQUESTER", "requester"),
            ("STATE", "state"),
            ("…JOB", "name"),
            ("TENANT", "tenant"),
            ("RESOURCE", "resource"),
            ("SNAPSHOT", "snapshot"),
        ],
    );
    check_columns(
        "jobs",
        LIVE,
        ListId::Jobs,
        &[
            ("STATE", "state"),
            ("…JOB", "name"),
            ("job.TOPIC", "topic"),
            ("PROGRESS, LAST WORD, OR WHY IT WAITS", "progress"),
            ("WORKER", "worker"),
            ("AGE", "age"),
            ("VERDICT", "verdict"),
            ("TRY", "tries"),
            ("TENANT", "tenant"),
            ("RULE", "rule"),
        ],
    );
    check_columns(
        "workers",
        LIVE,
        ListId::Workers,
        &[
            ("STANDING", "attention"),
            ("WORKER", "name"),
            ("POOL", "pool"),
            ("REG", "region"),
            ("PRESSURE", "pressure"),
            ("CPU", "cpu"),
            ("MEM", "memory"),
            ("GPU", "gpu"),
            ("SLOTS", "slots"),
            ("BEAT", "heard"),
            ("SLOT", "slots"),
            ("MOVE", "attention"),
            ("PROGRESS, LAST WORD", "progress"),
            ("HEARD", "heard"),
        ],
    );
    check_columns(
        "workers | by-pool",
        LIVE,
        ListId::Pools,
        &[
            ("POOL", "name"),
            ("LIVE", "live"),
            ("LATE", "late"),
            ("LOST", "lost"),
            ("DRAIN", "draining"),
            ("ZOMBIE", "zombie"),
            ("SLOTS", "slots"),
            ("CPU", "cpu"),
            ("MEM", "memory"),
            ("GPU", "gpu"),
            ("WORST PRESSURE", "pressure"),
            ("OLDEST BEAT", "heard"),
        ],
    );
}

#[test]
fn the_panes_beside_others_too_are_sorted_by_what_they_show() {
    // Their heads share a row with those of other panes.
    for (keys, script, id, columns) in [
        (
            "policy",
            format!("{LIVE}\n200s rules a:ALLOW,b:DENY"),
            ListId::Rules,
            &[
                ("#", "attention"),
                ("RULE", "name"),
                ("DOES", "verdict"),
                ("ALLOW", "allow"),
                ("LIMIT", "limit"),
                ("ASK", "ask"),
                ("THROTTLE", "throttle"),
                ("DENY", "deny"),
            ][..],
        ),
        (
            "rollbacks",
            SAGAS.to_owned(),
            ListId::Rollbacks,
            &[
                ("STATE", "state"),
                ("WORKFLOW", "name"),
                ("UNDONE", "undone"),
            ],
        ),
        (
            "rollbacks",
            SAGAS.to_owned(),
            ListId::DeadLetters,
            &[
                ("…JOB", "name"),
                ("REASON CODE", "reason"),
                ("AGE", "updated"),
            ],
        ),
    ] {
        let mut console = Console::play(&script);
        console.press(keys);
        let text = text_of(&console.paint(200, 60));
        let has_all = |line: &str| columns.iter().all(|(head, _)| line.contains(head));
        assert!(text.lines().any(has_all), "{id:?}: {text}");
        for (head, sort) in columns {
            let mut sorts = id.sorts().iter();
            assert!(sorts.any(|key| key.name() == *sort), "{id:?}: {head}");
        }
    }
}

#[test]
fn the_head_of_the_jobs_is_whole_at_every_width() {
    let mut heads = std::collections::BTreeSet::new();
    for columns in 60..=200 {
        let mut console = Console::play(LIVE);
        console.press("jobs");
        let text = text_of(&console.paint(columns, 36));
        let line = text.lines().find(|line| line.contains("…JOB"));
        let line = line.unwrap_or_else(|| panic!("no head: {text}"));
        let named = line.replacen("…JOB", "", 1);
        assert!(!named.contains('…'), "{columns}: {line}");
        let from = named.find("PROGRESS").expect("a head");
        let head = named[from..].split("  ").next().expect("a head");
        heads.insert(head.trim_end().to_owned());
    }
    let heads: Vec<String> = heads.into_iter().collect();
    assert!(heads.contains(&"PROGRESS, LAST WORD, OR WHY IT WAITS".to_owned()));
    assert!(heads.contains(&"PROGRESS, OR WHY IT WAITS".to_owned()));
}

#[test]
fn the_title_of_filtered_jobs_counts_each_thing_once() {
    let all =
        "0s link nats up | 1s submit a topic=job.a risk=prod | 1s submit b topic=job.b | 2s tick";
    let found = lines_with(all, &[Action::Jobs], &[" Jobs ─"]);
    assert!(found[0].contains("1-2 of 2"), "{found:?}");
    let mut console = Console::play(all);
    console.press("jobs | filter | \"risk:prod\" | confirm");
    let text = text_of(&console.paint(120, 36));
    assert!(text.contains(" 1 of 2 match risk:prod, "), "{text}");
    let many: String = (0..90)
        .map(|n| format!("| 1s submit p{n} topic=job.a risk=prod"))
        .collect();
    let mut console = Console::play(&format!("{all}{many} | 3s tick"));
    console.press("jobs | filter | \"risk:prod\" | confirm");
    let text = text_of(&console.paint(120, 36));
    assert!(
        text.contains(" of 91, of 92 known, match risk:prod"),
        "{text}"
    );
}

#[test]
fn what_came_of_an_action_is_whole_although_one_row_does_not_hold_it() {
    let id = "6f1c02d4-8a57-4e0b-b3a9-77d0e41b9f2c";
    let mut console = Console::play(&format!(
        "0s link nats up | 1s dispatch {id} w1 topic=job.a | 2s tick"
    ));
    console.press("jobs | cancel");
    console.at = console.at.plus(Elapsed::from_secs(1));
    console.user(Action::NextField);
    console.user(Action::NextField);
    console.user(Action::Confirm);
    let text = text_of(&console.paint(80, 24));
    let twin = format!("\n capdeck cancel {id} --reason ''\n");
    assert!(text.contains(&twin), "one row that can be copied: {text}");
    // Where it fits it stays in one.
    let text = text_of(&console.paint(120, 24));
    assert!(
        text.contains(&format!("ms.  capdeck cancel {id}")),
        "{text}"
    );
}

/// An approval under review while the gateway goes.
const REVIEWED: &str = "0s link nats up | 0s link gateway up | 0s policy v1:ab \
    | 1s approval a topic=job.k8s labels=mcp.tool:restart,mcp.server:k8s risk=prod rule=r1 \
      snapshot=v1:ab hash=h deadline=900s | 2s tick";

#[test]
fn a_review_says_how_old_the_planes_word_is_while_it_gives_none() {
    let mut console = Console::play(REVIEWED);
    console.press("approvals | review");
    let text = text_of(&console.paint(120, 36));
    for says in [
        "✓ current",
        "✓ matches",
        "✓ policy current",
        "✓ request unchanged",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    console.press("link gateway down reason=gone");
    console.at = console.at.plus(Elapsed::from_secs(40));
    console.press("tick now");
    let text = text_of(&console.paint(120, 36));
    for says in [
        "s old   waits ",
        "? was current",
        "? matched",
        "policy not known now",
        "request not known now",
        "A R X T wait for the gateway",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    for says in [
        "✓ current",
        "✓ matches",
        "policy current",
        "unchanged",
        "not yet",
    ] {
        assert!(!text.contains(says), "{says}: {text}");
    }
}

#[test]
fn an_approval_that_ends_while_it_is_on_the_screen_says_how_and_no_longer_counts() {
    let two = format!("{REVIEWED} | 2s approval b topic=job.b deadline=900s");
    let two = two.replace("| 2s tick |", "|");
    let mut console = Console::play(&format!("{two} | 3s tick"));
    console.press("approvals");
    let waiting = |console: &mut Console| {
        let text = text_of(&console.paint(120, 36));
        let title = text
            .lines()
            .find(|line| line.contains("Waiting for a person"));
        let count = title.and_then(|line| line.split("── ").nth(1)?.split(',').next());
        count.map(str::to_owned).unwrap_or_else(|| panic!("{text}"))
    };
    assert_eq!(waiting(&mut console), "2");
    console.press(
        "approval a topic=job.k8s status=approved by=ann;approval b topic=job.b deadline=900s",
    );
    assert_eq!(waiting(&mut console), "1");
    let text = text_of(&console.paint(120, 36));
    let row = text.lines().find(|line| line.contains("✓ approved"));
    let row = row.unwrap_or_else(|| panic!("{text}"));
    assert!(!text.contains("resolved"), "{text}");
    assert!(row.contains("—"), "no deadline counts on: {row}");
}

#[test]
fn two_servers_that_are_gone_do_not_contradict_each_other() {
    let script = "0s link nats up | 0s link gateway up | 1s submit a topic=job.a \
        | 36s link gateway down reason=gone | 45s link nats down reason=gone | 60s tick";
    let text = {
        let mut console = Console::play(script);
        console.press("jobs");
        text_of(&console.paint(120, 36))
    };
    for says in [
        "Workers and progress are as of 00:00:45Z",
        "Approvals and verdicts are as of 00:00:36Z",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
    assert!(!text.contains("Everything is as of"), "{text}");
}

#[test]
fn rules_stand_in_their_order_from_the_first_frame() {
    let heard = "0s link gateway up | 1s told a RUNNING decision=ALLOW rule=busy \
        | 1s told b RUNNING decision=ALLOW rule=busy | 1s told c DENIED decision=DENY rule=rare | 20s tick";
    let mut console = Console::play(heard);
    console.at = console.at.plus(Elapsed::from_secs(1));
    // The question is under way: it is answered below.
    let mut effects = EffectQueue::new();
    console.seq += 1;
    let event = Stamped {
        seq: console.seq,
        at: console.at,
        value: Event::User(Action::Policy),
    };
    console.state.step(&event, &mut effects);
    let text = text_of(&console.paint(120, 36));
    assert!(text.contains("Asking the gateway for policy"), "{text}");
    assert!(!text.contains("busy"), "{text}");
    for value in script::events("0s rules idle:DENY,rare:DENY,busy:ALLOW")
        .unwrap()
        .into_iter()
        .map(|event| event.value)
        .chain(
            effects
                .drain()
                .map(|(id, _)| Event::Outcome(id, Outcome::Done(None))),
        )
    {
        console.seq += 1;
        let event = Stamped {
            seq: console.seq,
            at: console.at,
            value,
        };
        console.state.step(&event, &mut EffectQueue::new());
    }
    let text = text_of(&console.paint(120, 36));
    let places: Vec<_> = ["idle", "rare", "busy"]
        .iter()
        .map(|id| text.find(id))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{text}"
    );
}

/// A deployment with more to show than a small window holds.
fn pools(pools: usize, more: &str) -> String {
    let beats: String = (0..pools)
        .map(|n| format!("| 1s beat w{n} pool=pool{n} slots=1/4 "))
        .collect();
    format!("0s link nats up | 0s link gateway up {beats}{more} | 2s tick")
}

#[test]
fn the_overview_leaves_no_row_blank_while_it_hides_a_pool() {
    let waits = "| 1s approval a topic=job.pool0.x | 1s approval b topic=job.pool1.x";
    for (columns, rows, more, least) in [
        (60, 16, "", 3),
        (60, 16, waits, 2),
        (80, 24, "", 7),
        (80, 24, waits, 7),
    ] {
        let mut console = Console::play(&pools(7, more));
        let text = text_of(&console.paint(columns, rows));
        let shown = (0..7)
            .filter(|n| text.contains(&format!("pool{n} ")))
            .count();
        assert!(shown >= least, "{columns}x{rows}: {shown} pools: {text}");
        // The screen is full, or nothing is hidden.
        let blank = text.lines().filter(|line| line.trim().is_empty()).count();
        assert!(
            shown == 7 || blank == 0,
            "{columns}x{rows}: {blank} blank: {text}"
        );
    }
}

#[test]
fn the_lamp_of_a_server_that_is_gone_is_whole_at_every_width() {
    let script = "0s link nats up | 0s link gateway up | 0s link redis up | 1s submit a topic=job.a \
        | 2s link nats down reason=gone | 3s link gateway down reason=gone \
        | 4s link redis down reason=gone | 200s tick";
    for columns in 60..=130 {
        let mut console = Console::play(script);
        let text = text_of(&console.paint(columns, 20));
        let head = text.lines().next().unwrap_or_default();
        assert_eq!(head.matches('○').count(), 3, "{columns}: {head}");
        assert!(
            head.contains("NO LINK") && head.contains("eu-1"),
            "{columns}: {head}"
        );
        assert!(
            head.contains("◆ 0") && head.contains("▲ 0"),
            "{columns}: {head}"
        );
    }
}

#[test]
fn a_queue_that_gets_shorter_says_when_it_will_be_gone() {
    let each = |count: usize, event: &dyn Fn(usize) -> String| -> String {
        (0..count).map(|at| format!(" | {}", event(at))).collect()
    };
    let mut console = Console::play(&format!(
        "0s link nats up | 0s pool gpu topics=job.gpu | 0s beat w1 pool=gpu slots=2/12{}{} \
         | 110s beat w1 pool=gpu slots=2/12",
        each(8, &|at| format!("1s submit j{at} topic=job.gpu")),
        each(5, &|at| format!("100s succeed j{at} w1"))
    ));
    let text = text_of(&console.paint(120, 36));
    assert!(text.contains("drains 36s"), "{text}");
    console.press("down | open");
    let text = text_of(&console.paint(120, 36));
    assert!(
        text.contains("no queue in 36s if nothing changes"),
        "{text}"
    );
}
