//! "Did you mean": the nearest of a few names.
//!
//! [`nearest`] finds a slip of the finger and nothing else; [`closest`] always
//! points somewhere.

/// Longer names are near nothing: what is compared is short.
const LONGEST: usize = 64;

/// The name of `names` that `given` most likely was meant to be: at most a third
/// of its letters differ, or one contains the other. `None` if none is near.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let limit = given.chars().count().div_ceil(3).max(1);
    let (mut best, mut contained) = (None, None);
    for name in names {
        let lower = name.to_lowercase();
        let distance = distance(&given, &lower);
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
        let contains = given.len() >= 3
            && !lower.is_empty()
            && (lower.contains(given.as_str()) || given.contains(&lower));
        if contains && contained.is_none() {
            contained = Some(name);
        }
    }
    best.map(|(_, name)| name).or(contained)
}

/// The one of `names` that takes the fewest changes to become `given`, however
/// many they are; the empty string if there is none.
pub fn closest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> &'a str {
    names
        .into_iter()
        .min_by_key(|name| distance(given, name))
        .unwrap_or("")
}

/// How many letters must be inserted, removed, replaced or swapped with their
/// neighbor to make `b` of `a`; `usize::MAX` if one has more than 64.
pub fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().take(LONGEST + 1).collect::<Vec<char>>();
    let (a, b) = (letters(a), letters(b));
    if a.len() > LONGEST || b.len() > LONGEST {
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
            assert_eq!(nearest(given, names), expected, "{given}");
        }
        assert_eq!(nearest("b", ["B"]), Some("B"));
        assert_eq!(nearest("anything", ["", "else"]), None);
    }

    #[test]
    fn the_closest_is_always_one_of_them() {
        assert_eq!(closest("aprove", ["reject", "approve"]), "approve");
        assert_eq!(closest("zzz", ["reject", "approve"]), "reject");
        assert_eq!(closest("x", []), "");
    }

    #[test]
    fn what_is_too_long_to_be_a_name_is_near_nothing() {
        let long = "x".repeat(1_000);
        assert_eq!(distance(&long, "x"), usize::MAX);
        assert_eq!(nearest(&long, ["y"]), None);
    }
}
