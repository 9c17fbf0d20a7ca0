//! The keys that work now, for the last row of the screen.
//!
//! Made from the key table and from the state's own reasons, so that the footer
//! never offers a key that would be refused.

use crate::state::State;
use crate::state::action::Action;
use crate::state::event::{LinkState, Source};
use crate::state::ui::review::Met;
use crate::state::ui::{ListId, View, WorkersAs};
use crate::text;
use crate::tui::keymap::{Keymap, Mode};
use crate::view::missing::first_run;

/// A key and what it does here, in a word or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHint {
    /// The key.
    pub key: String,
    /// What it does.
    pub says: String,
}

/// The keys that work now, the most useful first, and what cannot work and why.
pub fn hints(state: &State, keymap: &Keymap) -> (Vec<KeyHint>, String) {
    let ui = &state.ui;
    let marks = ui.current().state.marks().len();
    let marked = |verb: &str| {
        if marks > 0 {
            format!("{verb} {marks}")
        } else {
            verb.to_owned()
        }
    };
    let wanted: Vec<(Action, String)> = if ui.frozen().is_none() && first_run(state).is_some() {
        vec![
            (Action::Reload, "try now".to_owned()),
            (Action::Palette, "command".to_owned()),
            (Action::Help, "help".to_owned()),
            (Action::Close, "quit".to_owned()),
        ]
    } else if let Some(reviews) = ui.reviews() {
        let (_, of) = reviews.place();
        vec![
            (Action::Down, "scroll".to_owned()),
            (Action::NextMatch, format!("next of {of}")),
            (Action::PreviousMatch, "previous".to_owned()),
            (Action::Approve, "approve".to_owned()),
            (Action::Reject, "reject".to_owned()),
            (Action::Reveal, "reveal secrets".to_owned()),
            (Action::Right, "facts".to_owned()),
            (Action::Reload, "read again".to_owned()),
            (Action::Back, "back to the queue".to_owned()),
            (Action::Help, "help".to_owned()),
        ]
    } else if ui.detail().is_some() {
        vec![
            (Action::Right, "pane".to_owned()),
            (Action::Down, "scroll".to_owned()),
            (Action::Cancel, "cancel".to_owned()),
            (Action::Reload, "read again".to_owned()),
            (Action::CopyId, "copy id".to_owned()),
            (Action::Workers, "its worker".to_owned()),
            (Action::Traces, "its trace".to_owned()),
            (Action::Explain, "explain".to_owned()),
            (Action::Back, "back".to_owned()),
            (Action::Help, "help".to_owned()),
        ]
    } else {
        let mut keys = match ui.view() {
            View::Overview => vec![
                (
                    Action::Open,
                    if ui.list_id() == ListId::Pressure {
                        "cause chain".to_owned()
                    } else {
                        "open".to_owned()
                    },
                ),
                (Action::Right, "pane".to_owned()),
                (Action::Review, "review".to_owned()),
            ],
            View::Approvals => vec![
                if marks > 0 {
                    (Action::Review, format!("review {marks} marked"))
                } else {
                    (Action::Open, "review".to_owned())
                },
                (Action::Mark, "mark".to_owned()),
                (Action::Cancel, marked("cancel")),
                (Action::Sort, "sort".to_owned()),
                (Action::Filter, "filter".to_owned()),
            ],
            View::Jobs => vec![
                (Action::Open, "detail".to_owned()),
                (Action::Mark, "mark".to_owned()),
                (Action::Cancel, marked("cancel")),
                (Action::Sort, "sort".to_owned()),
                (Action::Filter, "filter".to_owned()),
                (Action::CopyId, "copy id".to_owned()),
            ],
            View::Policy => vec![
                (Action::Open, "its jobs".to_owned()),
                (Action::WhatIf, "what if".to_owned()),
                (Action::Sort, "sort".to_owned()),
                (Action::Filter, "filter".to_owned()),
                (Action::Reload, "read again".to_owned()),
            ],
            View::Rollbacks => vec![
                (
                    Action::Open,
                    if ui.list_id() == ListId::Rollbacks {
                        "its steps".to_owned()
                    } else {
                        "the job".to_owned()
                    },
                ),
                (Action::Right, "pane".to_owned()),
                (Action::Retry, "retry".to_owned()),
                (Action::Sort, "sort".to_owned()),
                (Action::Filter, "filter".to_owned()),
            ],
            View::Traces => vec![
                (Action::Open, "the job".to_owned()),
                (Action::Left, "fold".to_owned()),
                (Action::Right, "unfold".to_owned()),
                (Action::Cancel, "cancel".to_owned()),
                (Action::Filter, "filter".to_owned()),
            ],
            View::Workers => vec![
                (Action::Open, "its jobs".to_owned()),
                (
                    Action::ByPool,
                    if ui.workers_as() == WorkersAs::Pools {
                        "table".to_owned()
                    } else {
                        "by pool".to_owned()
                    },
                ),
                (
                    Action::HeatMap,
                    if ui.workers_as() == WorkersAs::HeatMap {
                        "table".to_owned()
                    } else {
                        "heat map".to_owned()
                    },
                ),
                (Action::Sort, "sort".to_owned()),
                (Action::Filter, "filter".to_owned()),
                (Action::Cancel, "cancel its jobs".to_owned()),
            ],
        };
        if ui.frozen().is_some() {
            keys.insert(0, (Action::Live, "live".to_owned()));
        }
        if marks > 0 {
            keys.push((Action::Back, "clear marks".to_owned()));
        }
        if let Some(left) = ui.undo_left(state.now) {
            keys.insert(0, (Action::Undo, format!("undo {}", text::age(left))));
        }
        keys.push((Action::Palette, "command".to_owned()));
        keys.push((Action::Help, "help".to_owned()));
        keys
    };
    let keys = wanted
        .into_iter()
        .filter(|(action, _)| ui.refusal(action, &state.model).is_none())
        .filter_map(|(action, says)| {
            let key = keymap.label(Mode::View, &action)?;
            Some(KeyHint { key, says })
        })
        .collect();
    (keys, cannot(state))
}

/// What cannot work, and why, in a few words.
fn cannot(state: &State) -> String {
    let ui = &state.ui;
    let links = &state.model.links;
    if ui.manners.read_only {
        return "read only: A R X T are off".to_owned();
    }
    if ui.frozen().is_some() {
        return "A R X T are off while frozen".to_owned();
    }
    let bus = links.of(Source::Bus).is_up();
    let gateway = links.of(Source::Gateway);
    if links.only_store() {
        return "A R X T need a gateway".to_owned();
    }
    if bus && gateway.state == LinkState::Absent {
        return "A R T need a gateway".to_owned();
    }
    // A cancel too goes through the gateway where there is one.
    if !gateway.is_up() {
        return match gateway.state {
            LinkState::Absent => "A R X T wait for a server".to_owned(),
            _ => "A R X T wait for the gateway".to_owned(),
        };
    }
    if ui.review().is_some() && ui.refusal(&Action::Approve, &state.model).is_some() {
        let gate = ui.gate(&state.model);
        let never = gate
            .iter()
            .any(|it| it.blocks_approval && it.met == Met::Never);
        return if never {
            "A cannot work here".to_owned()
        } else {
            "A approve: not yet".to_owned()
        };
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::effect::EffectQueue;
    use crate::state::event::{Event, Stamped};
    use crate::state::script;

    #[test]
    fn keys_that_would_be_refused_are_not_offered() {
        let (keys, cannot) = hints(&State::default(), &Keymap::default());
        let keys: Vec<String> = keys
            .into_iter()
            .map(|hint| format!("{} {}", hint.key, hint.says))
            .collect();
        assert_eq!(keys, ["l pane", ": command", "? help"]);
        assert_eq!(cannot, "A R X T wait for a server");
    }

    #[test]
    fn what_no_server_here_can_ever_do_is_not_waited_for() {
        for (script, says) in [
            ("0s link redis up", "A R X T need a gateway"),
            ("0s link nats up | 0s link redis up", "A R T need a gateway"),
            ("0s link nats up", "A R T need a gateway"),
            (
                "0s link nats up | 0s link gateway down",
                "A R X T wait for the gateway",
            ),
            (
                "0s link nats down | 0s link gateway down",
                "A R X T wait for the gateway",
            ),
        ] {
            let state = script::run(script).expect("a script");
            assert_eq!(hints(&state, &Keymap::default()).1, says, "{script}");
        }
    }

    #[test]
    fn while_nothing_was_ever_reached_the_keys_are_those_of_that_screen() {
        let says = |script: &str| {
            let state = script::run(script).expect("a script");
            let keys = hints(&state, &Keymap::default()).0.into_iter();
            let keys: Vec<String> = keys.map(|it| format!("{} {}", it.key, it.says)).collect();
            keys.join(", ")
        };
        let none = "0s link nats down | 0s link gateway down";
        assert_eq!(says(none), "r try now, : command, ? help, q quit");
        let came = says(&format!("{none} | 1s link gateway up"));
        assert!(!came.contains("try now"), "{came}");
    }

    #[test]
    fn while_the_gateway_is_away_no_view_offers_a_cancel() {
        let script = "0s link nats up | 0s link gateway up | 0s submit a topic=job.x \
            | 0s dispatch a w1 topic=job.x";
        let offers = |script: &str| {
            let mut state = script::run(script).expect("a script");
            let jobs = Stamped {
                seq: 1_000,
                at: state.now,
                value: Event::User(Action::Jobs),
            };
            state.step(&jobs, &mut EffectQueue::new());
            let keys = hints(&state, &Keymap::default()).0;
            keys.iter().any(|hint| hint.key == "X")
        };
        assert!(offers(script));
        assert!(!offers(&format!("{script} | 1s link gateway down")));
    }
}
