//! The whole screen, from the state: one pure function of what is known, the
//! look, and the size.
//!
//! A screen chooses a layout for its area, asks the view for the rows that fit,
//! and hands them to widgets. Nothing is remembered between frames; what a frame
//! showed is returned as [`Drawn`]. Start at [`draw`].

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::state::State;
use crate::state::action::Drawn;
use crate::state::ui::{View, WorkersAs};
use crate::tui::glyph::Glyphs;
use crate::tui::hints::KeyHint;
use crate::tui::theme::{Role, Theme};
use crate::tui::widget::Pen;
use crate::view::missing;

mod approvals;
mod frame;
mod heat;
mod job;
mod jobs;
mod minimum;
mod missing_screen;
mod overview;
mod payload;
pub(super) mod policy;
mod pools;
pub(in crate::tui) mod prose;
mod review;
mod rollbacks;
pub(super) mod signs;
mod traces;
mod what_if;
mod workers;

/// The smallest screen that shows anything but its own size.
pub const LEAST: (u16, u16) = (40, 12);

/// Under this width the minimum layout is drawn.
const NARROW: u16 = 60;

/// Where one is: the deployment's name and how dangerous it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// As the header shows it, such as `PROD eu-1` or `demo 127.0.0.1:8081`.
    pub name: String,
    /// The ground of that block: [`Role::Frame`] where it is dangerous.
    pub ground: Role,
    /// The addresses of bus, gateway and store, for the first-run screen; without secrets.
    pub addresses: [Option<String>; 3],
}

impl Default for Context {
    fn default() -> Self {
        Self {
            name: "local".to_owned(),
            ground: Role::Panel,
            addresses: [None, None, None],
        }
    }
}

/// What the last row says when nothing has just happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The keys that work now, the most useful first.
    pub keys: Vec<KeyHint>,
    /// What cannot work now, and why.
    pub cannot: String,
}

/// Everything that a frame is made of.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What is known and looked at.
    pub state: &'a State,
    /// Where one is.
    pub context: &'a Context,
    /// The keys that work now.
    pub hints: &'a Hints,
    /// How roles look.
    pub theme: &'a Theme,
    /// Which signs can be drawn.
    pub glyphs: Glyphs,
}

impl<'a> Scene<'a> {
    fn pen(&self) -> Pen<'a> {
        Pen::new(self.theme, self.glyphs)
    }
}

/// Draws the whole screen into `area`; says what it showed.
pub fn draw(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Drawn {
    let area = area.intersection(buf.area);
    let pen = scene.pen();
    pen.ground(buf, area, Role::Bg);
    if area.is_empty() {
        return Drawn::default();
    }
    if area.width < LEAST.0 || area.height < LEAST.1 {
        minimum::too_small(scene, area, buf);
        return Drawn::default();
    }
    if area.width < NARROW {
        return minimum::draw(scene, area, buf);
    }
    let body = frame::draw(scene, area, buf);
    if scene.state.ui.frozen().is_none()
        && let Some(servers) = missing::first_run(scene.state)
    {
        missing_screen::first_run(scene, &servers, body, buf);
        return Drawn::default();
    }
    let ui = &scene.state.ui;
    if ui.review().is_some() {
        return review::draw(scene, body, buf);
    }
    if ui.detail().is_some() {
        return job::draw(scene, body, buf);
    }
    match (ui.view(), ui.workers_as()) {
        (View::Jobs, _) => jobs::draw(scene, body, buf),
        (View::Rollbacks, _) => rollbacks::draw(scene, body, buf),
        (View::Policy, _) => policy::draw(scene, body, buf),
        (View::Traces, _) => traces::draw(scene, body, buf),
        (View::Workers, WorkersAs::Table) => workers::draw(scene, body, buf),
        (View::Workers, WorkersAs::Pools) => pools::draw(scene, body, buf),
        (View::Workers, WorkersAs::HeatMap) => heat::draw(scene, body, buf),
        (View::Overview, _) => overview::draw(scene, body, buf),
        (View::Approvals, _) => approvals::draw(scene, body, buf),
    }
}
