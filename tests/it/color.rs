//! How many colors a real terminal is sent, by what its environment says of it.

use std::collections::BTreeSet;

use crate::keys::Screen;
use crate::support::Capdeck;

/// What the first screen is told to look like.
struct Sent {
    /// Kinds of color: `true`, `256`, `16`.
    colors: BTreeSet<&'static str>,
    /// Attributes by number, such as 7 for reversed.
    attributes: BTreeSet<u16>,
    screen: Screen,
}

/// Starts capdeck in `environment` and reads every SGR sequence of its first screens.
fn sent(environment: &[(&str, &str)], flags: &[&str]) -> Sent {
    let arguments = [&["demo", "--seed", "7", "--http", "127.0.0.1:0"], flags].concat();
    let screen = Screen::at_home(Capdeck::new(), &arguments, environment);
    screen.shows("LIVE");
    screen.press("3");
    screen.until("a job under the cursor", |text| {
        text.contains("attention first") && text.lines().any(|line| line.starts_with('▌'))
    });
    let mut colors = BTreeSet::new();
    let mut attributes = BTreeSet::new();
    for sequence in screen.raw().split("\x1b[").skip(1) {
        let end = sequence.find(|c: char| !(c.is_ascii_digit() || ";:".contains(c)));
        let Some(end) = end.filter(|end| sequence[*end..].starts_with('m')) else {
            continue;
        };
        let numbers = sequence[..end].split([';', ':']);
        let mut numbers = numbers.map(|number| number.parse::<u16>().unwrap_or(0));
        while let Some(number) = numbers.next() {
            match number {
                38 | 48 | 58 => match numbers.next() {
                    Some(2) => {
                        colors.insert("true");
                        numbers.nth(2);
                    }
                    Some(5) => {
                        colors.insert("256");
                        numbers.next();
                    }
                    other => panic!("{other:?} in {sequence:?}"),
                },
                30..=37 | 40..=47 | 90..=97 | 100..=107 => {
                    colors.insert("16");
                }
                1..=9 => {
                    attributes.insert(number);
                }
                _ => {}
            }
        }
    }
    Sent {
        colors,
        attributes,
        screen,
    }
}

#[track_caller]
fn check(environment: &[(&str, &str)], flags: &[&str], colors: &[&'static str]) -> Sent {
    let sent = sent(environment, flags);
    let expected: BTreeSet<&str> = colors.iter().copied().collect();
    assert_eq!(sent.colors, expected, "{environment:?} {flags:?}");
    sent
}

/// Whether the row under the cursor is reversed, and no other row of the list.
#[track_caller]
fn the_bar_is_reversed(screen: &Screen) {
    screen.look(|it| {
        let reversed = |row: u16| {
            let blank = (0..120).filter(|column| {
                it.cell(row, *column)
                    .is_some_and(|cell| cell.contents().trim().is_empty() && cell.inverse())
            });
            blank.count() > 10
        };
        let rows: Vec<u16> = (0..36).filter(|row| reversed(*row)).collect();
        let cursor = it.rows(0, 120).position(|row| row.starts_with('▌'));
        let cursor = cursor.and_then(|row| u16::try_from(row).ok());
        assert_eq!(rows, Vec::from_iter(cursor), "{}", it.contents());
    });
}

#[test]
fn a_terminal_gets_the_colors_that_its_environment_tells_of() {
    check(&[("COLORTERM", "truecolor")], &[], &["true"]);
    check(&[("TERM", "xterm-256color")], &[], &["256"]);
    let plain = check(&[("TERM", "xterm")], &[], &["16"]);
    assert!(plain.attributes.contains(&7), "{:?}", plain.attributes);
    the_bar_is_reversed(&plain.screen);
}

#[test]
fn no_color_leaves_attributes_and_the_bar_is_still_reversed() {
    for environment in [
        &[("NO_COLOR", "1"), ("COLORTERM", "truecolor")][..],
        &[("TERM", "dumb")],
    ] {
        let sent = check(environment, &[], &[]);
        assert!(sent.attributes.contains(&1), "{:?}", sent.attributes);
        assert!(sent.attributes.contains(&7), "{:?}", sent.attributes);
        the_bar_is_reversed(&sent.screen);
    }
}

#[test]
fn the_flag_wins_over_the_environment() {
    let plain = [("NO_COLOR", "1")];
    check(&plain, &["--color", "true"], &["true"]);
    check(&plain, &["--color", "256"], &["256"]);
    check(&plain, &["--color", "16"], &["16"]);
    let rich = [("COLORTERM", "truecolor")];
    check(&rich, &["--color", "none"], &[]);
}
