//! The palette: commands by name, completed, counted before they run.
//!
//! A command does what its key does, dialog included; nothing acts from the line
//! itself. Besides the actions there are `jobs FILTER`, `approvals FILTER`,
//! `workers FILTER`, `rollbacks FILTER`, `traces FILTER`, `trace ID`, `what-if FILE`, `filter EXPR`, `sort COLUMN`, `save NAME`, `view NAME` and `q`.

use super::list::SortKey;
use super::lives::can_be_asked;
use super::modal::Modal;
use super::saved::is_name;
use super::{ListId, Tone, UiState, View};
use crate::nearest::closest;
use crate::state::action::Action;
use crate::state::effect::EffectQueue;
use crate::state::model::Model;
use crate::state::model::jobs::JobState;
use crate::state::model::rollbacks;
use crate::state::model::traces::{self, TraceOf};
use crate::time::Timestamp;

/// Commands that take a filter.
const FILTERED: [(&str, View); 6] = [
    ("approvals", View::Approvals),
    ("jobs", View::Jobs),
    ("policy", View::Policy),
    ("rollbacks", View::Rollbacks),
    ("traces", View::Traces),
    ("workers", View::Workers),
];

/// Commands that say nothing without a name, and what they do with one.
const WITH_A_NAME: [(&str, &str); 5] = [
    (
        "filter",
        "filter WORDS: shows the rows that match; / shows them while it is typed.",
    ),
    (
        "save",
        "save NAME: keeps this view with its filter; view NAME shows it again.",
    ),
    ("sort", "sort COLUMN: sorts by the column."),
    (
        "trace",
        "trace ID: shows the tree of a trace, a workflow or a job.",
    ),
    (
        "view",
        "view NAME: shows a view that was kept with save NAME.",
    ),
];

/// At most this many completions are offered.
const OFFERED: usize = 8;

/// A line that the palette offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The whole line.
    pub line: String,
    /// What it does.
    pub help: String,
}

/// A line as it was understood.
#[derive(Clone, Debug, PartialEq)]
enum Command {
    Action(Action),
    Filter(Option<View>, String),
    Save(String),
    Show(String),
    Sort(String),
    Trace(String),
    Try(String),
}

/// Whether an action can be asked for by its name: fields and cursor keys cannot.
fn is_command(action: &Action) -> bool {
    !matches!(
        action,
        Action::NextField
            | Action::PreviousField
            | Action::Confirm
            | Action::Complete
            | Action::Down
            | Action::Up
            | Action::HalfPageDown
            | Action::HalfPageUp
            | Action::PageDown
            | Action::PageUp
            | Action::Left
            | Action::Right
            | Action::Palette
            | Action::Back
    )
}

fn read(line: &str) -> Result<Command, String> {
    let line = line.trim().trim_start_matches(':');
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    if word == "q" && rest.is_empty() {
        return Ok(Command::Action(Action::Quit));
    }
    if matches!(word, "save" | "view") && !rest.is_empty() {
        if !is_name(rest) {
            return Err(format!(
                "{rest} is no name: one word of letters, digits, - _ and ., at most 40."
            ));
        }
        return Ok(match word {
            "save" => Command::Save(rest.to_owned()),
            _ => Command::Show(rest.to_owned()),
        });
    }
    if word == "sort" && !rest.is_empty() {
        return Ok(Command::Sort(rest.to_owned()));
    }
    if word == "trace" && !rest.is_empty() {
        return Ok(Command::Trace(rest.to_owned()));
    }
    if word == "what-if" && !rest.is_empty() {
        return Ok(Command::Try(rest.to_owned()));
    }
    if word == "filter" && !rest.is_empty() {
        return Ok(Command::Filter(None, rest.to_owned()));
    }
    if let Some((_, view)) = FILTERED.iter().find(|(name, _)| *name == word)
        && !rest.is_empty()
    {
        return Ok(Command::Filter(Some(*view), rest.to_owned()));
    }
    // `:copy id` is `:copy-id`.
    let name = line.split_whitespace().collect::<Vec<_>>().join("-");
    match name.parse::<Action>() {
        Ok(action) if is_command(&action) => Ok(Command::Action(action)),
        Ok(_) | Err(_) => {
            if let Some((_, help)) = WITH_A_NAME.iter().find(|(word, _)| *word == name) {
                return Err((*help).to_owned());
            }
            let names = Action::named()
                .filter(|action| is_command(action))
                .filter_map(Action::name);
            Err(format!(
                "No command {word}. Did you mean {}?",
                closest(&name, names)
            ))
        }
    }
}

impl UiState {
    /// What the palette offers for its line.
    pub fn completions(&self, line: &str) -> Vec<Completion> {
        let line = line.trim_start().trim_start_matches(':');
        let (word, rest) = match line.split_once(char::is_whitespace) {
            Some((word, rest)) => (word, Some(rest)),
            None => (line, None),
        };
        if let Some(rest) = rest
            && FILTERED.iter().any(|(name, _)| *name == word)
        {
            return states(word, rest);
        }
        if let ("sort", Some(rest)) = (word, rest) {
            let keys = self.list_id().sorts().iter();
            return keys
                .filter(|key| key.name().starts_with(rest.trim()) && key.name() != rest.trim())
                .take(OFFERED)
                .map(|key| Completion {
                    line: format!("sort {}", key.name()),
                    help: key.word().to_owned(),
                })
                .collect();
        }
        if let ("view", Some(rest)) = (word, rest) {
            let kept = self.saved().iter();
            return kept
                .filter(|(name, _)| name.starts_with(rest.trim()) && &***name != rest.trim())
                .take(OFFERED)
                .map(|(name, saved)| Completion {
                    line: format!("view {name}"),
                    help: format!("{} {}", saved.view.title().to_lowercase(), saved.filter),
                })
                .collect();
        }
        let typed = line.trim_end().replace(' ', "-");
        let mut offered: Vec<Completion> = Action::named()
            .filter(|action| is_command(action))
            .filter_map(|action| Some((action.name()?, action.help())))
            .filter(|(name, _)| name.contains(&typed))
            .map(|(name, help)| Completion {
                line: name.to_owned(),
                help: help.to_owned(),
            })
            .collect();
        offered.sort_by_key(|it| !it.line.starts_with(&typed));
        offered.truncate(OFFERED);
        offered
    }

    /// What the line would touch, in a sentence; nothing changes until Enter.
    pub fn preview(&self, line: &str, model: &Model, now: Timestamp) -> String {
        match read(line) {
            Err(_) if line.trim().is_empty() => String::new(),
            Err(error) => error,
            Ok(Command::Filter(view, text)) => match view.unwrap_or(self.view()).filter(&text) {
                Err(error) => format!("Bad filter: {error}. The old filter stays."),
                Ok(filter) => {
                    let view = view.unwrap_or(self.view());
                    let (count, what) = match view {
                        View::Approvals => (
                            model
                                .approvals
                                .by_cost(&model.jobs, now)
                                .into_iter()
                                .filter(|row| filter.matches_approval(row, model, now))
                                .count(),
                            "approvals",
                        ),
                        View::Workers => (
                            model
                                .workers
                                .shown(now, &model.links.hearing)
                                .filter(|row| filter.matches_worker(row, model, now))
                                .count(),
                            "workers",
                        ),
                        View::Policy => (
                            model
                                .policy
                                .rows()
                                .iter()
                                .filter(|row| filter.matches(*row, now))
                                .count(),
                            "rules",
                        ),
                        View::Rollbacks => (
                            rollbacks::stacks(model, now)
                                .into_iter()
                                .filter(|row| filter.matches_rollback(row, model, now))
                                .count(),
                            "rollbacks",
                        ),
                        View::Overview | View::Jobs | View::Traces => (
                            model
                                .jobs
                                .by_attention()
                                .filter(|row| filter.matches_job(row, now))
                                .count(),
                            "jobs",
                        ),
                    };
                    format!("Preview: {count} {what}; nothing changes until Enter.")
                }
            },
            Ok(Command::Sort(name)) => match self.sort_key(&name) {
                Ok(key) => format!("Sorts {}.", key.word()),
                Err(error) => error,
            },
            Ok(Command::Trace(id)) => match TraceOf::named(model, &id) {
                Some(of) => {
                    let jobs = traces::members(model, &of).len();
                    format!("{jobs} jobs of {}.", of.name())
                }
                None if can_be_asked(model) => format!("Asks the plane for {id}."),
                None => format!("No trace, workflow or job is known as {id}."),
            },
            Ok(Command::Try(path)) => {
                format!("Asks what {path} would have decided; nothing is published.")
            }
            Ok(Command::Save(name)) => match (self.cannot_save(), self.saved().get(&*name)) {
                (Some(reason), _) => reason,
                (None, Some(saved)) => {
                    format!(
                        "{name} is kept already, for {}; Enter replaces it.",
                        saved.filter
                    )
                }
                (None, None) => format!("Keeps {} as {name}.", self.current().filter_text),
            },
            Ok(Command::Show(name)) => match self.saved().get(&*name) {
                Some(saved) => format!("{} with {}.", saved.view.title(), saved.filter),
                None => format!("No view is kept as {name}."),
            },
            Ok(Command::Action(Action::Cancel)) => {
                let count = self.cancel_targets(model).len();
                format!("Preview: opens the dialog for {count} jobs; nothing changes until Enter.")
            }
            Ok(Command::Action(action)) => match self.refusal(&action, model) {
                Some(reason) => reason,
                None => format!("{}.", action.help()),
            },
        }
    }

    /// What the present list would be sorted by under `name`.
    fn sort_key(&self, name: &str) -> Result<SortKey, String> {
        let keys = self.list_id().sorts();
        let open = self.review.is_some() || self.detail.is_some();
        if open || keys.len() < 2 {
            return Err("What is shown here has one order.".to_owned());
        }
        keys.iter()
            .copied()
            .find(|key| key.name() == name)
            .ok_or_else(|| {
                let nearest = closest(name, keys.iter().map(|key| key.name()));
                format!("No column {name} here. Did you mean {nearest}?")
            })
    }

    pub(super) fn clamp_choice(&mut self) {
        let Some(Modal::Palette(palette)) = self.modals.last() else {
            return;
        };
        let last = self
            .completions(palette.line.value())
            .len()
            .saturating_sub(1);
        if let Some(Modal::Palette(palette)) = self.modals.last_mut() {
            palette.chosen = palette.chosen.min(last);
        }
    }

    /// `Tab`: takes the chosen completion.
    pub(super) fn complete(&mut self) {
        let Some(Modal::Palette(palette)) = self.modals.last() else {
            return;
        };
        let offered = self.completions(palette.line.value());
        let Some(taken) = offered.into_iter().nth(palette.chosen) else {
            return;
        };
        if let Some(Modal::Palette(palette)) = self.modals.last_mut() {
            palette.line = palette.line.clone().holding(&taken.line);
            palette.chosen = 0;
            palette.error = None;
        }
    }

    /// `Enter` in the palette.
    pub(super) fn run_command(
        &mut self,
        model: &mut Model,
        now: Timestamp,
        effects: &mut EffectQueue,
    ) {
        let Some(Modal::Palette(palette)) = self.modals.last() else {
            return;
        };
        let line = palette.line.value().to_owned();
        let chosen = self
            .completions(&line)
            .into_iter()
            .nth(palette.chosen)
            .filter(|_| palette.chosen > 0);
        let line = chosen.map_or(line, |chosen| chosen.line);
        if line.trim().is_empty() {
            self.modals.pop();
            return;
        }
        match read(&line) {
            Err(error) => {
                if let Some(Modal::Palette(palette)) = self.modals.last_mut() {
                    palette.error = Some(error);
                }
            }
            Ok(command) => {
                self.modals.pop();
                match command {
                    Command::Action(action) => self.press(&action, model, now, effects),
                    Command::Sort(name) => match self.sort_key(&name) {
                        Ok(key) => {
                            let id = self.list_id();
                            self.list_mut(id).sort_by(id, key);
                        }
                        Err(error) => self.say(Tone::Warning, error, now),
                    },
                    Command::Trace(id) => self.open_trace(&id, model, now),
                    Command::Try(path) => self.try_candidate(&path, model, effects, now),
                    Command::Save(name) => self.save(&name, effects, now),
                    Command::Show(name) => self.show_saved(&name, model, now),
                    Command::Filter(view, text) => {
                        if let Some(view) = view {
                            self.show_view(view, model);
                            // A view's filter is that of its first list.
                            self.rollback_pane = 0;
                        }
                        if self.list_id() == ListId::Pressure {
                            self.show_view(View::Jobs, model);
                        }
                        let before = self.current().filter_text.clone();
                        match self.set_filter(&text) {
                            Some(error) => self.say(Tone::Warning, error, now),
                            None => self.filter_was(before, now),
                        }
                    }
                }
            }
        }
    }
}

/// `jobs st` offers the states that `state:` takes.
fn states(word: &str, rest: &str) -> Vec<Completion> {
    let typed = rest.trim();
    if word != "jobs" {
        return Vec::new();
    }
    JobState::ALL
        .iter()
        .map(|state| format!("state:{}", state.name().to_ascii_lowercase()))
        .filter(|term| term.starts_with(typed) && term != typed)
        .take(OFFERED)
        .map(|term| Completion {
            line: format!("{word} {term}"),
            help: "jobs in this state".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_action_by_name_or_a_view_with_a_filter() {
        assert_eq!(read(":copy id"), Ok(Command::Action(Action::CopyId)));
        assert_eq!(read("q"), Ok(Command::Action(Action::Quit)));
        assert_eq!(
            read("jobs state:pending topic:job.gpu.*"),
            Ok(Command::Filter(
                Some(View::Jobs),
                "state:pending topic:job.gpu.*".to_owned()
            ))
        );
        assert_eq!(
            read("aprove"),
            Err("No command aprove. Did you mean approve?".to_owned())
        );
        assert!(read("confirm").is_err());
    }

    #[test]
    fn completions_begin_with_what_was_typed() {
        let ui = UiState::default();
        let lines: Vec<String> = ui
            .completions("re")
            .into_iter()
            .map(|it| it.line)
            .take(3)
            .collect();
        assert_eq!(lines, ["reverse", "reload", "repaint"]);
        assert_eq!(
            ui.completions("jobs state:run")[0].line,
            "jobs state:running"
        );
    }
}
