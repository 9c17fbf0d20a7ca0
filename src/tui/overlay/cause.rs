//! `Enter` on a pool of the overview: what blocks it, one sentence a link.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Front, scrolled};
use crate::ids::PoolName;
use crate::state::action::Drawn;
use crate::tui::screen::prose;
use crate::tui::widget::words::Words;
use crate::view::cause;

const WIDTH: u16 = 84;

pub(super) fn draw(
    front: &Front<'_>,
    pool: &PoolName,
    scroll: usize,
    area: Rect,
    buf: &mut Buffer,
) -> Drawn {
    let width = usize::from(WIDTH.min(area.width.saturating_sub(6)));
    let chain = cause::chain(front.state, pool);
    let mut lines = Vec::new();
    for (at, link) in chain.iter().enumerate() {
        // Each link stands under the one that it explains.
        let indent = at.min(3) * 2;
        for line in prose::words(link).wrap(width.saturating_sub(indent)) {
            lines.push(Words::new().gap(indent).then(line));
        }
    }
    if lines.is_empty() {
        lines.push(Words::new().muted("This pool is no longer known."));
    }
    let titles = (
        "Cause chain",
        "",
        "j k scroll   Enter its workers   Esc close",
    );
    scrolled(front, area, buf, WIDTH, titles, &lines, scroll)
}
