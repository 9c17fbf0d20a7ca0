//! "Did you mean": the nearest of a few names.

/// The name of `names` that `given` most likely was meant to be: at most a third
/// of its letters differ, or one contains the other. `None` if none is near.
pub(in crate::control_plane) fn nearest<'a>(given: &str, names: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    let limit = given.chars().count().div_ceil(3).max(1);
    names
        .iter()
        .map(|name| (distance(&given, name), *name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
        .or_else(|| {
            names.iter().copied().find(|name| {
                given.len() >= 3 && (name.contains(given.as_str()) || given.contains(name))
            })
        })
}

/// How many letters must be inserted, removed, replaced or swapped with their
/// neighbour. Names are short; what is longer than 64 letters is near nothing.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_its_name_and_a_stranger_none() {
        let names = ["allow", "permit", "deny", "block", "require_approval"];
        for (given, expected) in [
            ("permits", Some("permit")),
            ("alow", Some("allow")),
            ("dney", Some("deny")),
            ("approval", Some("require_approval")),
            ("Require-Aproval", Some("require_approval")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, &names), expected, "{given}");
        }
    }
}
