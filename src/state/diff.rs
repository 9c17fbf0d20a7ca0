//! Which lines of a text are not as they were.

/// Cells of the table that the comparison may fill, 4 MB. Texts that differ in
/// more than that are changed as a whole between their equal head and tail.
const CELLS: usize = 1 << 20;

/// The lines of `new` that differ from `old`, by number from 0, in order. Where
/// lines only went, the line after them counts as changed, or else the last one.
pub fn changed_lines(old: &str, new: &str) -> Vec<usize> {
    let (old, new) = (lines(old), lines(new));
    let shorter = old.len().min(new.len());
    let head = (0..shorter).take_while(|at| old[*at] == new[*at]).count();
    let tail = (1..=shorter - head)
        .take_while(|back| old[old.len() - back] == new[new.len() - back])
        .count();
    let (was, is) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let last = new.len().saturating_sub(1);
    let mut changed: Vec<usize> = if was.len().saturating_mul(is.len()) > CELLS {
        (0..is.len()).collect()
    } else {
        not_common(was, is)
    };
    changed
        .iter_mut()
        .for_each(|at| *at = (*at + head).min(last));
    changed.dedup();
    changed
}

/// The lines of a text; the break at the very end opens no line.
pub fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.len() > 1 && lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

/// The lines of `is` that are in no longest common subsequence with `was`, and
/// those before which something went; `is.len()` if something went at the end.
fn not_common(was: &[&str], is: &[&str]) -> Vec<usize> {
    let wide = is.len() + 1;
    // At `row * wide + column`: how many lines are common from there on.
    let mut common = vec![0_u32; (was.len() + 1) * wide];
    for row in (0..was.len()).rev() {
        for column in (0..is.len()).rev() {
            common[row * wide + column] = if was[row] == is[column] {
                common[(row + 1) * wide + column + 1] + 1
            } else {
                common[(row + 1) * wide + column].max(common[row * wide + column + 1])
            };
        }
    }
    let mut changed = Vec::new();
    let (mut row, mut column, mut went) = (0, 0, false);
    while row < was.len() || column < is.len() {
        if row < was.len() && column < is.len() && was[row] == is[column] {
            if std::mem::take(&mut went) {
                changed.push(column);
            }
            row += 1;
            column += 1;
        } else if row < was.len()
            && (column == is.len()
                || common[(row + 1) * wide + column] >= common[row * wide + column + 1])
        {
            went = true;
            row += 1;
        } else {
            // What came stands for what went before it.
            went = false;
            changed.push(column);
            column += 1;
        }
    }
    if went {
        changed.push(is.len());
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters are lines.
    fn check(old: &str, new: &str, expected: &[usize]) {
        let text = |letters: &str| {
            let lines: Vec<String> = letters.chars().map(String::from).collect();
            lines.join("\n") + "\n"
        };
        let changed = changed_lines(&text(old), &text(new));
        assert_eq!(changed, expected, "{old} {new}");
    }

    #[test]
    fn lines_that_came_or_are_others_now_are_changed() {
        check("abcd", "abcd", &[]);
        check("abcd", "aXcd", &[1]);
        check("abcd", "abXYcd", &[2, 3]);
        check("abcd", "abcdX", &[4]);
        check("abcdef", "aXcdYf", &[1, 4]);
    }

    #[test]
    fn lines_that_went_mark_the_one_after_them() {
        check("abcd", "acd", &[1]);
        check("abcd", "abc", &[2]);
        check("abcdef", "adf", &[1, 2]);
    }

    #[test]
    fn nothing_in_common_is_all_changed() {
        check("ab", "XYZ", &[0, 1, 2]);
        assert_eq!(changed_lines("", "a\nb"), [0, 1]);
        assert_eq!(changed_lines("a", ""), [0]);
    }

    #[test]
    fn texts_too_long_to_be_compared_are_changed_between_head_and_tail() {
        let old: String = (0..3_000).map(|at| format!("{at}\n")).collect();
        let new: String = (0..3_000).map(|at| format!("n{at}\n")).collect();
        let changed = changed_lines(&format!("h\n{old}t\n"), &format!("h\n{new}t\n"));
        assert_eq!(changed, (1..=3_000).collect::<Vec<_>>());
    }

    proptest::proptest! {
        #[test]
        fn what_is_not_marked_was_there_before(old in "[abc\n]{0,40}", new in "[abc\n]{0,40}") {
            let changed = changed_lines(&old, &new);
            let (old_lines, new_lines) = (lines(&old), lines(&new));
            // What is left of the new text is in the old one, in order.
            let mut before = old_lines.iter();
            for (at, line) in new_lines.iter().enumerate() {
                if !changed.contains(&at) {
                    proptest::prop_assert!(before.any(|it| it == line), "{line:?}");
                }
            }
            proptest::prop_assert_eq!(changed.is_empty(), old_lines == new_lines);
        }
    }
}
