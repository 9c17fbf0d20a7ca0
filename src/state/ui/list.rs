//! A list with a cursor, marks and an order.
//!
//! The cursor is an id, never a row number: rows may come, go and change places,
//! and a key still means the row that was read. When that row goes, nothing is
//! under the cursor until a key moves; it never slides to a neighbour. Which rows
//! are on the screen is a pure function of cursor, row count and height
//! ([`offset`]), so nothing here is drawn state. Start at [`ListState::reorder`].

use std::collections::BTreeSet;
use std::ops::Range;

use crate::time::{Elapsed, Timestamp};

mod sort;
mod subject;

pub use sort::SortKey;
pub use subject::Subject;

/// The order of rows is computed at most this often, and not within this time of
/// a key, so that rows stand still while they are read.
pub const REORDER_EVERY: Elapsed = Elapsed::from_millis(2_000);

/// A list without rows is computed at most this often.
const EMPTY_EVERY: Elapsed = Elapsed::from_millis(250);

/// Where the cursor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Cursor {
    /// No row has been shown yet; the first one gets the cursor.
    #[default]
    Fresh,
    /// On a row.
    On(Subject),
    /// The row that had it is gone; a key starts again near its place.
    Gone,
}

/// A list: its order, cursor and marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListState {
    cursor: Cursor,
    /// Place of the cursor in `order`, or where it was when its row went.
    index: usize,
    /// Screen line that the cursor keeps while rows move around it.
    line: usize,
    order: Vec<Subject>,
    ordered_at: Option<Timestamp>,
    shifted_at: Option<Timestamp>,
    marks: BTreeSet<Subject>,
    /// How many rows were marked when the marks were last touched by a key.
    marked: usize,
    /// Whether a key changed the filter, so that a hidden row lets the cursor go.
    refiltered: bool,
    /// When the rows were listed for the first time.
    listed_since: Option<Timestamp>,
    /// The row under the cursor, and since when it is there.
    arrived: Option<(Subject, Timestamp)>,
    /// Rows that came above the window since a key last moved in it.
    new_above: usize,
    /// Whether it had the keyboard, or another view put the cursor on a row of it.
    visited: bool,
}

impl ListState {
    pub(super) const fn untouched() -> Self {
        Self {
            cursor: Cursor::Fresh,
            index: 0,
            line: 0,
            order: Vec::new(),
            ordered_at: None,
            shifted_at: None,
            marks: BTreeSet::new(),
            marked: 0,
            refiltered: false,
            listed_since: None,
            arrived: None,
            new_above: 0,
            visited: false,
        }
    }

    /// The row under the cursor.
    pub fn selected(&self) -> Option<&Subject> {
        match &self.cursor {
            Cursor::On(subject) => Some(subject),
            Cursor::Fresh | Cursor::Gone => None,
        }
    }

    /// Place of the row under the cursor among [`ListState::order`], from 0.
    pub fn selected_index(&self) -> Option<usize> {
        self.selected().map(|_| self.index)
    }

    /// All rows that pass the filter, in order.
    pub fn order(&self) -> &[Subject] {
        &self.order
    }

    /// When the rows were listed for the first time: what came later is new.
    pub fn listed_since(&self) -> Option<Timestamp> {
        self.listed_since
    }

    /// Since when the cursor is on its row; `None` without one.
    pub fn arrived_at(&self) -> Option<Timestamp> {
        let (subject, at) = self.arrived.as_ref()?;
        (self.selected() == Some(subject)).then_some(*at)
    }

    /// Rows that came above a window of `height` since a key last moved in it.
    pub fn new_above(&self, height: usize) -> usize {
        self.new_above.min(self.window(height).start)
    }

    /// When the order was last computed.
    pub fn ordered_at(&self) -> Option<Timestamp> {
        self.ordered_at
    }

    /// The rows on a screen that shows `height` of them.
    pub fn window(&self, height: usize) -> Range<usize> {
        let start = offset(self.index, self.line, self.order.len(), height);
        start..self.order.len().min(start + height)
    }

    /// The marked rows.
    pub fn marks(&self) -> &BTreeSet<Subject> {
        &self.marks
    }

    /// How many of the rows a person marked have gone since.
    pub fn marks_gone(&self) -> usize {
        self.marked.saturating_sub(self.marks.len())
    }

    /// When the row under the cursor last went or changed its line by itself.
    pub fn shifted_at(&self) -> Option<Timestamp> {
        self.shifted_at
    }

    /// Lets the guard after a shift start again: a key was ignored.
    pub(super) fn shift(&mut self, now: Timestamp) {
        self.shifted_at = Some(now);
    }

    /// Whether the order may be computed again now. Where there are no rows, none can
    /// move under a hand, so the first ones come at once.
    pub fn may_reorder(&self, now: Timestamp, last_key: Option<Timestamp>) -> bool {
        if self.order.is_empty() {
            return self
                .ordered_at
                .is_none_or(|at| now.since(at) >= EMPTY_EVERY);
        }
        let long_ago = |at: Option<Timestamp>| at.is_none_or(|at| now.since(at) >= REORDER_EVERY);
        long_ago(self.ordered_at) && (self.ordered_at.is_none() || long_ago(last_key))
    }

    /// Notes that it has the keyboard: from now on its cursor stays on its row.
    pub(super) fn visit(&mut self) {
        self.visited = true;
    }

    /// Lets a list that never had the keyboard begin at its first row again, however
    /// many rows came above.
    pub(super) fn stay_at_top(&mut self) {
        if !self.visited {
            self.cursor = Cursor::Fresh;
        }
    }

    /// Asks for a new order at the next chance, without waiting: the filter or the
    /// sort key changed by a key.
    pub fn invalidate(&mut self) {
        self.ordered_at = None;
    }

    /// As [`ListState::invalidate`], after a key changed the filter: the cursor goes
    /// to the first match when its own row is no match.
    pub fn refilter(&mut self) {
        self.refiltered = true;
        self.invalidate();
    }

    /// Takes a new order. `exists` says whether a row that the filter hides still
    /// exists: under the cursor it stays, so that a job can be seen to end. `holds`
    /// says whether the row under the cursor keeps its neighbors although the new
    /// order has it elsewhere: it ended there.
    pub fn reorder(
        &mut self,
        mut order: Vec<Subject>,
        exists: impl Fn(&Subject) -> bool,
        holds: impl Fn(&Subject) -> bool,
        height: usize,
        now: Timestamp,
    ) {
        let start_before = self.window(height).start;
        let line_before = self.index - start_before.min(self.index);
        let mut gone = false;
        if std::mem::take(&mut self.refiltered)
            && self
                .selected()
                .is_none_or(|subject| !order.contains(subject))
        {
            self.cursor = Cursor::Fresh;
        }
        if self.cursor == Cursor::Fresh
            && let Some(first) = order.first()
        {
            (self.cursor, self.index, self.line) = (Cursor::On(first.clone()), 0, 0);
        }
        if let Cursor::On(subject) = &self.cursor {
            if holds(subject) {
                order.retain(|row| row != subject);
                self.index = self.beside_neighbor(&order);
                order.insert(self.index, subject.clone());
            } else if let Some(index) = order.iter().position(|row| row == subject) {
                self.index = index;
            } else if exists(subject) {
                self.index = self.index.min(order.len());
                order.insert(self.index, subject.clone());
            } else {
                self.cursor = Cursor::Gone;
                gone = true;
            }
        }
        let had_rows = !self.order.is_empty();
        self.index = self.index.min(order.len().saturating_sub(1));
        self.order = order;
        let start = self.window(height).start;
        if had_rows {
            self.new_above = (self.new_above + start)
                .saturating_sub(start_before)
                .min(start);
        }
        self.listed_since.get_or_insert(now);
        self.arrive(now);
        let line = self.index - start.min(self.index);
        if gone || (had_rows && self.selected().is_some() && line != line_before) {
            self.shifted_at = Some(now);
        }
        self.ordered_at = Some(now);
        self.marks.retain(exists);
    }

    /// The place after the row that stood above the cursor, in `order`.
    fn beside_neighbor(&self, order: &[Subject]) -> usize {
        let above = self.index.checked_sub(1).and_then(|at| self.order.get(at));
        above
            .and_then(|above| order.iter().position(|row| row == above))
            .map_or(self.index.min(order.len()), |at| at + 1)
    }

    /// Notes since when the cursor is where it is.
    fn arrive(&mut self, now: Timestamp) {
        let selected = match &self.cursor {
            Cursor::On(subject) => Some(subject),
            Cursor::Fresh | Cursor::Gone => None,
        };
        if selected != self.arrived.as_ref().map(|(subject, _)| subject) {
            self.arrived = selected.map(|subject| (subject.clone(), now));
        }
    }

    /// Forgets rows that are gone without computing a new order: called on every
    /// change, so that a key never acts on what no longer exists.
    pub fn forget(&mut self, exists: impl Fn(&Subject) -> bool, now: Timestamp) {
        if self.selected().is_some_and(|subject| !exists(subject)) {
            self.cursor = Cursor::Gone;
            self.shifted_at = Some(now);
        }
        self.arrive(now);
        self.marks.retain(|subject| exists(subject));
    }

    /// Moves the cursor by `rows`, negative is up, on a screen of `height` rows.
    pub fn move_by(&mut self, rows: i64, height: usize) {
        if self.order.is_empty() {
            return;
        }
        let from = match self.cursor {
            // The first key after a row went takes the place it had.
            Cursor::Gone => return self.select_index(self.index, height),
            Cursor::Fresh | Cursor::On(_) => self.index,
        };
        let rows = isize::try_from(rows).unwrap_or(if rows < 0 { isize::MIN } else { isize::MAX });
        self.select_index(from.saturating_add_signed(rows), height);
    }

    /// Puts the cursor on the row at `index`, or on the last one.
    pub fn select_index(&mut self, index: usize, height: usize) {
        let window = self.window(height);
        let index = index.min(self.order.len().saturating_sub(1));
        let Some(subject) = self.order.get(index) else {
            return;
        };
        self.line = index
            .saturating_sub(window.start)
            .min(height.saturating_sub(1));
        self.index = index;
        self.cursor = Cursor::On(subject.clone());
        self.new_above = 0;
    }

    /// Puts the cursor on `subject` if it is in the list.
    pub fn select(&mut self, subject: &Subject, height: usize) -> bool {
        match self.order.iter().position(|row| row == subject) {
            Some(index) => {
                self.select_index(index, height);
                true
            }
            None => false,
        }
    }

    /// Puts the cursor on `subject` although no order has been computed yet: the
    /// subject of another view.
    pub fn aim(&mut self, subject: Subject) {
        self.cursor = Cursor::On(subject);
        self.visited = true;
        self.invalidate();
    }

    /// Marks the row under the cursor, or takes its mark away. Says whether there was a row.
    pub fn toggle_mark(&mut self) -> bool {
        let Some(subject) = self.selected().cloned() else {
            return false;
        };
        if !self.marks.remove(&subject) {
            self.marks.insert(subject);
        }
        self.marked = self.marks.len();
        true
    }

    /// Marks `marks` again and nothing else; those that are gone go with the next order.
    pub fn restore_marks(&mut self, marks: BTreeSet<Subject>) {
        self.marked = marks.len();
        self.marks = marks;
    }

    /// Takes the marks of rows away that `stays` does not hold for.
    pub(super) fn retain_marks(&mut self, stays: impl Fn(&Subject) -> bool) {
        self.marks.retain(stays);
    }

    /// Takes all marks away.
    pub fn clear_marks(&mut self) {
        self.marks.clear();
        self.marked = 0;
    }
}

/// The number of the first row on the screen, from 0.
///
/// The cursor at row `index` of `rows` stays on screen line `line` as long as a
/// screen of `height` lines stays full.
pub fn offset(index: usize, line: usize, rows: usize, height: usize) -> usize {
    index
        .saturating_sub(line.min(height.saturating_sub(1)))
        .min(rows.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &str) -> Vec<Subject> {
        ids.chars()
            .filter(|c| *c != ' ')
            .map(|c| Subject::Job(c.to_string().into()))
            .collect()
    }

    /// The screen of four rows: `>` before the cursor, `*` after a mark.
    fn screen(list: &ListState) -> String {
        let mut text = String::new();
        for at in list.window(4) {
            let row = &list.order()[at];
            if list.selected() == Some(row) {
                text.push('>');
            }
            text.push_str(row.id());
            if list.marks().contains(row) {
                text.push('*');
            }
        }
        text
    }

    /// Runs a script of keys `j k G m` and new orders on a screen of four rows.
    fn check(script: &str, expected: &str) {
        let mut list = ListState::default();
        let mut now = Timestamp::from_millis(0);
        for word in script.split('|').map(str::trim) {
            now = now.plus(REORDER_EVERY);
            match word {
                "j" => list.move_by(1, 4),
                "k" => list.move_by(-1, 4),
                "G" => list.move_by(i64::MAX, 4),
                "m" => assert!(list.toggle_mark()),
                order => {
                    let (order, hidden) = order.split_once('+').unwrap_or((order, ""));
                    let all = rows(&format!("{order}{hidden}"));
                    list.reorder(rows(order), |row| all.contains(row), |_| false, 4, now);
                }
            }
        }
        assert_eq!(screen(&list), expected, "{script}");
    }

    #[test]
    fn the_cursor_stays_on_its_id_while_rows_move() {
        check("abcdef | j | j", "ab>cd");
        check("abcdef | j | j | fcbade", "f>cba");
    }

    #[test]
    fn the_cursor_keeps_its_screen_line_while_rows_enter_above() {
        check("abcdef | j | xyzabcdef", "a>bcd");
        check("abcdefgh | G | k | abcdefghij", "ef>gh");
    }

    #[test]
    fn the_cursor_never_slides_to_a_neighbour() {
        check("abcd | j | acd", "acd");
        check("abcd | j | acd | j", "a>cd");
        check("abcd | G | abc", "abc");
    }

    #[test]
    fn a_row_that_the_filter_hides_stays_while_it_is_under_the_cursor() {
        check("abcd | j | acd+b", "a>bcd");
        check("abcd | j | acd+b | j | acd+b", "a>cd");
    }

    #[test]
    fn marks_leave_with_their_ids() {
        check("abcd | m | j | m | bcd", ">b*cd");
        let mut list = ListState::default();
        let now = Timestamp::from_millis(0);
        list.reorder(rows("ab"), |_| true, |_| false, 4, now);
        list.toggle_mark();
        list.move_by(1, 4);
        list.toggle_mark();
        list.forget(|row| row.id() == "b", now);
        assert_eq!((list.marks().len(), list.marks_gone()), (1, 1));
    }

    #[test]
    fn a_shift_under_the_cursor_is_known_and_one_around_it_is_not() {
        let mut list = ListState::default();
        let at = Timestamp::from_millis;
        list.reorder(rows("abcdefgh"), |_| true, |_| false, 4, at(1));
        list.move_by(3, 4);
        list.reorder(rows("xabcdefgh"), |_| true, |_| false, 4, at(2));
        assert_eq!(list.shifted_at(), None, "the cursor keeps its line");
        list.reorder(rows("dxabcefgh"), |_| true, |_| false, 4, at(3));
        assert_eq!(list.shifted_at(), Some(at(3)), "it had to move to the top");
        list.reorder(rows("xabcefgh"), |row| row.id() != "d", |_| false, 4, at(4));
        assert_eq!(list.shifted_at(), Some(at(4)), "its row went");
    }

    #[test]
    fn rows_that_come_above_the_window_are_counted_until_a_key_moves() {
        let mut list = ListState::default();
        let at = Timestamp::from_millis;
        let order = |list: &mut ListState, ids: &str, now| {
            list.reorder(rows(ids), |_| true, |_| false, 4, at(now));
        };
        order(&mut list, "abcdefgh", 1);
        list.move_by(6, 4);
        order(&mut list, "abcdefgh", 2);
        assert_eq!(list.new_above(4), 0);
        order(&mut list, "xyzabcdefgh", 3);
        assert_eq!(list.new_above(4), 3);
        order(&mut list, "zabcdefgh", 4);
        assert_eq!(list.new_above(4), 1);
        list.move_by(1, 4);
        assert_eq!(list.new_above(4), 0);
    }

    #[test]
    fn a_row_that_ends_under_the_cursor_keeps_its_neighbors_until_the_cursor_leaves() {
        let mut list = ListState::default();
        let at = Timestamp::from_millis;
        let ended = |row: &Subject| row.id() == "b";
        list.reorder(rows("abcd"), |_| true, |_| false, 4, at(1));
        list.move_by(1, 4);
        list.reorder(rows("acdb"), |_| true, ended, 4, at(2));
        assert_eq!(screen(&list), "a>bcd");
        list.reorder(rows("xacdb"), |_| true, ended, 4, at(3));
        assert_eq!(list.order(), rows("xabcd"));
        assert_eq!(screen(&list), "a>bcd");
        list.move_by(1, 4);
        list.reorder(rows("xacdb"), |_| true, |_| false, 4, at(4));
        assert_eq!(list.order(), rows("xacdb"));
        assert_eq!(screen(&list), "xa>cd");
    }

    #[test]
    fn it_is_known_since_when_the_cursor_is_on_its_row() {
        let mut list = ListState::default();
        let at = Timestamp::from_millis;
        list.reorder(rows("ab"), |_| true, |_| false, 4, at(1));
        assert_eq!(
            (list.listed_since(), list.arrived_at()),
            (Some(at(1)), Some(at(1)))
        );
        list.move_by(1, 4);
        assert_eq!(list.arrived_at(), None, "the next event tells");
        list.forget(|_| true, at(5));
        list.forget(|_| true, at(9));
        assert_eq!(list.arrived_at(), Some(at(5)));
    }

    #[test]
    fn order_waits_for_quiet_hands() {
        let mut list = ListState::default();
        let at = Timestamp::from_millis;
        assert!(list.may_reorder(at(0), Some(at(0))));
        list.reorder(rows("ab"), |_| true, |_| false, 4, at(0));
        assert!(!list.may_reorder(at(1_999), None));
        assert!(list.may_reorder(at(2_000), None));
        assert!(!list.may_reorder(at(5_000), Some(at(4_000))));
        list.invalidate();
        assert!(list.may_reorder(at(5_000), Some(at(5_000))));
        list.reorder(rows(""), |_| false, |_| false, 4, at(6_000));
        assert!(!list.may_reorder(at(6_249), None));
        assert!(
            list.may_reorder(at(6_250), Some(at(6_250))),
            "no row can move"
        );
    }

    #[test]
    fn any_window_lies_within_the_rows() {
        for rows in 0..7 {
            for height in 0..5 {
                for index in 0..=rows {
                    for line in 0..6 {
                        let start = offset(index, line, rows, height);
                        assert!(start <= rows);
                        if index < rows && height > 0 {
                            assert!((start..start + height).contains(&index));
                        }
                    }
                }
            }
        }
    }
}
