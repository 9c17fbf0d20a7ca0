//! Where the user has been: `-` the view before, `[` back, `]` forward.

use crate::state::ui::View;
use crate::state::ui::list::Subject;

/// Places kept; older ones are forgotten.
const PLACES: usize = 50;

/// A view with what was open in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The view.
    pub view: View,
    /// What its detail or review shows, if one is open.
    pub open: Option<Subject>,
}

/// The places behind and ahead of the present one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    behind: Vec<Place>,
    ahead: Vec<Place>,
}

impl History {
    /// Remembers `left`, the place that is being left for a new one.
    pub fn leave(&mut self, left: Place) {
        self.ahead.clear();
        if self.behind.last() != Some(&left) {
            self.behind.push(left);
        }
        if self.behind.len() > PLACES {
            self.behind.remove(0);
        }
    }

    /// The place before `here`.
    pub fn back(&mut self, here: Place) -> Option<Place> {
        let place = self.behind.pop()?;
        self.ahead.push(here);
        Some(place)
    }

    /// The place that [`History::back`] left.
    pub fn forward(&mut self, here: Place) -> Option<Place> {
        let place = self.ahead.pop()?;
        self.behind.push(here);
        Some(place)
    }

    /// The last place whose view differs from that of `here`.
    pub fn last_view(&self, here: &Place) -> Option<Place> {
        self.behind
            .iter()
            .rev()
            .find(|place| place.view != here.view)
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_and_forward_undo_each_other_and_a_new_place_forgets_the_way_ahead() {
        let place = |view| Place { view, open: None };
        let mut history = History::default();
        history.leave(place(View::Overview));
        history.leave(place(View::Jobs));
        let here = place(View::Workers);
        assert_eq!(history.last_view(&here), Some(place(View::Jobs)));
        assert_eq!(history.back(here.clone()), Some(place(View::Jobs)));
        assert_eq!(history.forward(place(View::Jobs)), Some(here.clone()));
        assert_eq!(history.back(here), Some(place(View::Jobs)));
        history.leave(place(View::Jobs));
        assert_eq!(history.forward(place(View::Approvals)), None);
    }
}
