//! `capdeck render`: one frame of a view as text, with colors, or as a picture,
//! from a demo that runs on a virtual clock: same seed and instant, same frame.
//!
//! It hears the bus of that demo and reads what its gateway would answer, in the same
//! events as a console that is attached to both.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::cli::{CliError, print, themes};
use crate::control_plane::simulation::Simulation;
use crate::headless::json;
use crate::runtime::answers::{self, Answers, PolicyAnswers};
use crate::runtime::event_of;
use crate::state::State;
use crate::state::action::Action;
use crate::state::effect::{Effect, EffectQueue, Outcome};
use crate::state::event::{Event, LinkState, Source, Stamped};
use crate::state::limits::LETTERS;
use crate::state::model::jobs::Job;
use crate::time::{Elapsed, Timestamp};
use crate::tui::glyph::Glyphs;
use crate::tui::keymap::Keymap;
use crate::tui::screen::Context;
use crate::tui::theme::{self, Depth, Role, Theme};
use crate::tui::{Look, paint};
use crate::view::approvals::{self, Standing};

mod writing;

use writing::{as_ansi, as_svg, as_text};

/// The largest picture, in cells across or down.
const LARGEST: u16 = 500;

/// Jobs that the gateway of the demo lists.
const JOBS: usize = 500;

/// Why answers of the demo can be read.
const OURS: &str = "the demo answers as gateways do";

/// What `capdeck render` takes.
#[derive(Debug, clap::Args)]
pub(super) struct RenderArgs {
    /// What to draw
    view: Which,
    /// Columns and rows
    #[arg(long, default_value = "120x40", value_name = "COLUMNSxROWS", value_parser = size)]
    size: (u16, u16),
    /// How to write it
    #[arg(short, long, default_value = "text")]
    output: Output,
    /// The color theme
    #[arg(long, default_value = theme::DEFAULT)]
    theme: String,
    /// Only ASCII signs
    #[arg(long)]
    ascii: bool,
    /// The seed of the demo
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    demo: u64,
    /// How long the demo has run, such as 20s or 5m
    #[arg(long, default_value = "20s", value_parser = elapsed)]
    at: Elapsed,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Which {
    Overview,
    /// The queue of approvals
    Approvals,
    /// The review of the first approval that can be decided
    Review,
    Jobs,
    /// The detail of the first job
    Job,
    Workers,
    Pools,
    Heat,
    Policy,
    Rollbacks,
    /// The trace or workflow of the most jobs
    Traces,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Output {
    Text,
    Ansi,
    Svg,
}

fn size(given: &str) -> Result<(u16, u16), String> {
    let sides = given.split_once('x');
    let side = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|side| (1..=LARGEST).contains(side))
    };
    sides
        .and_then(|(columns, rows)| Some((side(columns)?, side(rows)?)))
        .ok_or_else(|| format!("a size is columns x rows, such as 120x40, at most {LARGEST} each"))
}

fn elapsed(given: &str) -> Result<Elapsed, String> {
    let read = |unit: char, seconds: u64| {
        let number = given.strip_suffix(unit)?.parse::<u64>().ok()?;
        number.checked_mul(seconds).filter(|all| *all <= 3_600)
    };
    read('s', 1)
        .or_else(|| read('m', 60))
        .map(Elapsed::from_secs)
        .ok_or_else(|| "a time is a number and s or m, at most an hour".to_owned())
}

/// Draws one frame and writes it.
pub(super) fn run(args: &RenderArgs) -> Result<(), CliError> {
    let (theme, warnings) =
        Theme::choose(None, Some(&args.theme), Depth::True).map_err(themes::as_cli_error)?;
    for warning in warnings {
        print::note(&format!("warning: {warning}"));
    }
    let buf = frame(args, &theme)?;
    let out = match args.output {
        Output::Text => as_text(&buf),
        Output::Ansi => as_ansi(&buf),
        Output::Svg => as_svg(&buf, &theme),
    };
    print::out(out.as_bytes());
    Ok(())
}

/// The frame that `args` asks for.
fn frame(args: &RenderArgs, theme: &Theme) -> Result<Buffer, CliError> {
    let mut demo = Simulation::demo(args.demo);
    let start = demo.now();
    demo.run_until(args.at);
    let heard = demo.take_heard();
    let mut console = Console {
        state: State::default(),
        seq: 0,
        end: demo.now(),
        demo,
    };
    console.step(start, Event::Link(Source::Bus, LinkState::Up));
    console.step(start, Event::Link(Source::Gateway, LinkState::Up));
    for heard in heard {
        console.step(heard.at, event_of(&heard.delivery));
    }
    let (columns, rows) = args.size;
    console.now(Event::User(Action::Resize { columns, rows }));
    console.ask_gateway();
    console.now(Event::Tick);
    let actions: &[Action] = match args.view {
        // Entered, a view is in the order of now.
        Which::Overview => &[Action::Jobs, Action::Overview],
        Which::Approvals | Which::Review => &[Action::Approvals],
        Which::Jobs => &[Action::Jobs],
        Which::Job => &[Action::Jobs, Action::Open],
        Which::Workers => &[Action::Workers],
        Which::Pools => &[Action::Workers, Action::ByPool],
        Which::Heat => &[Action::Workers, Action::HeatMap],
        Which::Policy => &[Action::Policy],
        Which::Rollbacks => &[Action::Rollbacks],
        Which::Traces => &[Action::Jobs],
    };
    for action in actions {
        console.now(Event::User(action.clone()));
    }
    match args.view {
        Which::Review => console.review_first_ready(args)?,
        Which::Traces => console.open_largest_trace(),
        _ => {}
    }
    let look = Look {
        themes: vec![theme.clone()],
        glyphs: if args.ascii {
            Glyphs::ASCII
        } else {
            Glyphs::UNICODE
        },
        keymap: Keymap::default(),
        context: Context {
            name: format!("demo {}", args.demo),
            ground: Role::Panel,
            ..Context::default()
        },
        json: json::subject,
    };
    let area = Rect::new(0, 0, columns, rows);
    let mut buf = Buffer::empty(area);
    // The second frame knows how many rows the first one could show.
    for _ in 0..2 {
        buf = Buffer::empty(area);
        let drawn = paint(&console.state, &look, area, &mut buf);
        console.now(Event::User(Action::Drawn(drawn)));
    }
    Ok(buf)
}

/// A state that is fed from a demo, and what that demo answers.
struct Console {
    state: State,
    seq: u64,
    end: Timestamp,
    demo: Simulation,
}

impl Console {
    fn now(&mut self, value: Event) {
        self.step(self.end, value);
    }

    /// One event, and all that follows from what it asks for.
    fn step(&mut self, at: Timestamp, value: Event) {
        let mut waiting = VecDeque::from([value]);
        while let Some(value) = waiting.pop_front() {
            let event = Stamped {
                seq: self.seq,
                at,
                value,
            };
            self.seq += 1;
            let mut effects = EffectQueue::new();
            self.state.step(&event, &mut effects);
            for (id, effect) in effects.drain() {
                let (answer, outcome) = self.answer(&effect);
                waiting.extend(answer);
                waiting.push_back(Event::Outcome(id, outcome));
            }
        }
    }

    fn answer(&self, effect: &Effect) -> (Option<Event>, Outcome) {
        let answer = match effect {
            Effect::ReadPayload { job, pointer } => {
                let stored = |key: &str| self.demo.payload(key).map(AsRef::as_ref);
                Some(answers::payload(job, pointer, self.end, stored))
            }
            Effect::ReadJob(job) => {
                let detail = self.demo.job_answer(job);
                detail.map(|detail| answers::job(detail).expect(OURS))
            }
            Effect::ReadPolicy => {
                let all = PolicyAnswers {
                    status: self.demo.status_answer(),
                    rules: self.demo.rules_answer(),
                    snapshots: self.demo.snapshots_answer(),
                    decisions: self.demo.decision_log_answer(usize::MAX),
                };
                Some(answers::policy(all, self.end).expect(OURS))
            }
            Effect::Refresh
            // A picture is of a bus on which all was heard.
            | Effect::ReadTrace { .. }
            | Effect::ReadLives { .. }
            | Effect::Explain { .. }
            | Effect::Try { .. }
            | Effect::JudgeCompensation { .. } => None,
            Effect::Cancel { .. }
            | Effect::Decide { .. }
            | Effect::Retry { .. }
            | Effect::LogReveal { .. }
            | Effect::KeepView { .. }
            | Effect::CopyText(_)
            | Effect::CopyJson
            | Effect::Bell
            | Effect::Suspend
            | Effect::Repaint
            | Effect::Quit => {
                let reason = Arc::from("a picture changes nothing");
                return (None, Outcome::Failed { reason });
            }
        };
        (answer, Outcome::Done(None))
    }

    /// What an attached console hears from its gateway in one round.
    fn ask_gateway(&mut self) {
        let all = Answers {
            jobs: self.demo.jobs_answer(JOBS),
            snapshots: self.demo.snapshots_answer(),
            approvals: self.demo.approvals_answer(),
            workers: self.demo.workers_answer(),
            pools: self.demo.pools_answer(),
            dead_letters: self.demo.dead_letters_answer(LETTERS),
        };
        let events = answers::round(all, |job| self.demo.job_answer(job)).expect(OURS);
        for event in events {
            self.now(event);
        }
    }

    /// Moves to the first job of the trace or workflow that has the most, and opens that.
    fn open_largest_trace(&mut self) {
        let jobs = &self.state.model.jobs;
        let size = |job: &Job| {
            let workflow = job.request.as_ref();
            let workflow = workflow.and_then(|request| request.workflow_id.as_deref());
            let steps = workflow.map_or(0, |id| jobs.of_workflow(id).count());
            let trace = job.trace.as_ref();
            steps.max(trace.map_or(0, |id| jobs.of_trace(id).count()))
        };
        let largest = jobs
            .by_attention()
            .enumerate()
            .max_by_key(|(place, job)| (size(job), Reverse(*place)));
        let place = largest.map_or(0, |(place, _)| place);
        for _ in 0..place {
            self.now(Event::User(Action::Down));
        }
        self.now(Event::User(Action::Traces));
    }

    /// Moves to the first approval that can be decided, and opens it.
    fn review_first_ready(&mut self, args: &RenderArgs) -> Result<(), CliError> {
        let queue = approvals::approvals(&self.state, usize::from(u16::MAX));
        let first = queue
            .rows
            .iter()
            .position(|row| row.standing == Standing::Ready);
        let Some(place) = first else {
            return Err(CliError::refused(anyhow::anyhow!(
                "cannot draw a review, seed {}: no approval can be decided at that instant",
                args.demo
            ))
            .hint("choose another one with --at, such as --at 20s"));
        };
        for _ in 0..place {
            self.now(Event::User(Action::Down));
        }
        self.now(Event::User(Action::Review));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn sizes_and_times_are_read_or_refused_with_words() {
        assert_eq!(size("120x40"), Ok((120, 40)));
        assert!(size("120").is_err());
        assert!(size("0x40").is_err());
        assert_eq!(elapsed("20s"), Ok(Elapsed::from_secs(20)));
        assert_eq!(elapsed("5m"), Ok(Elapsed::from_secs(300)));
        assert!(elapsed("20").is_err());
        assert!(elapsed("").is_err());
        assert!(elapsed("99m").is_err());
    }

    fn after(seconds: u64, view: Which, size: (u16, u16)) -> Result<String, CliError> {
        let (theme, _) = Theme::choose(None, None, Depth::True).expect("the default theme");
        let args = RenderArgs {
            view,
            size,
            output: Output::Text,
            theme: theme::DEFAULT.to_owned(),
            ascii: false,
            demo: 1,
            at: Elapsed::from_secs(seconds),
        };
        frame(&args, &theme).map(|buf| as_text(&buf))
    }

    fn drawn(view: Which, size: (u16, u16)) -> String {
        after(20, view, size).expect("there is something to draw")
    }

    fn holds(frame: &str, words: &[&str]) {
        for word in words {
            assert!(frame.contains(word), "{word:?} is not in\n{frame}");
        }
    }

    #[test]
    fn the_queue_shows_what_waits_with_rule_time_left_and_standing() {
        let frame = drawn(Which::Approvals, (120, 36));
        holds(
            &frame,
            &["gateway ●", "◆ 2 approvals", "approval-prod-write"],
        );
        holds(
            &frame,
            &["9m40s", "≠ moved", "✓ ready", "da11bd47", "1ef9ccb4"],
        );
        let frame = drawn(Which::Approvals, (80, 24));
        holds(&frame, &["Waiting for a person", "da11bd47", "1ef9ccb4"]);
    }

    #[test]
    fn the_review_is_of_the_first_approval_that_can_be_decided_with_its_payload_read() {
        for size in [(120, 36), (80, 24)] {
            let frame = drawn(Which::Review, size);
            holds(
                &frame,
                &["Review 2 of 2", "agent-7", "update_ticket on jira"],
            );
            holds(
                &frame,
                &["\"ticket\": \"OPS-1163\"", "227 bytes", "✓ matches"],
            );
            holds(&frame, &["✓ policy current", "✓ payload seen", "○ note"]);
        }
        // The gateway does not tell when it was sent; the bus did.
        let frame = drawn(Which::Review, (120, 36));
        holds(&frame, &["sent       14:00:11Z, deadline"]);
    }

    #[test]
    fn jobs_say_what_they_wait_for_and_what_policy_said() {
        let frame = drawn(Which::Jobs, (120, 36));
        holds(&frame, &["waits for a person", "throttled by", "limits"]);
        assert!(!frame.contains("unknown why"), "{frame}");
        holds(
            &drawn(Which::Overview, (120, 36)),
            &["Decisions", "constrained"],
        );
    }

    #[test]
    fn the_same_seed_and_instant_is_the_same_frame() {
        for view in Which::value_variants() {
            assert_eq!(drawn(*view, (120, 36)), drawn(*view, (120, 36)));
        }
    }

    #[test]
    fn a_review_of_nothing_is_refused_with_words() {
        let refused = after(0, Which::Review, (80, 24)).expect_err("nothing waits yet");
        let says = refused.to_string();
        assert!(says.contains("no approval can be decided"), "{says}");
    }
}
