//! Parts of a payload that look like secrets, so that a review can mask them.
//!
//! A guess, and a generous one: what is masked can be revealed, what is shown
//! cannot be taken back. It looks for the prefixes that token issuers use, for
//! values of fields named like secrets, and for private keys.

use std::ops::Range;

/// Beginnings that issuers give their tokens.
const PREFIXES: [&str; 18] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "AKIA",
    "ASIA",
    "AIza",
    "eyJ",
    "npm_",
];
/// Names of fields whose value is secret; compared without case, dashes and underscores.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "credential",
    "credentials",
    "clientsecret",
    "accesstoken",
    "refreshtoken",
    "bearer",
];
/// Shorter values of a secret's field are words such as `none`.
const SHORTEST: usize = 6;
/// At most this many; the rest of such a payload is one secret anyway.
const MOST: usize = 1_000;

/// Byte ranges of `text` that look like secrets, in order, not overlapping.
pub fn secrets_in(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, token) in tokens(text) {
        let secret = PREFIXES
            .iter()
            .any(|prefix| token.starts_with(prefix) && token.len() >= prefix.len() + 12);
        if secret || is_value_of_a_secret(text, start, token) {
            found.push(start..start + token.len());
        }
        if found.len() >= MOST {
            break;
        }
    }
    for (start, _) in text.match_indices("-----BEGIN ") {
        let block = &text[start..];
        let head = block.lines().next().unwrap_or("");
        if head.contains("PRIVATE KEY") {
            let end = block.find("-----END ").and_then(|end| {
                block[end + 9..]
                    .find("-----")
                    .map(|tail| end + 9 + tail + 5)
            });
            found.push(start..start + end.unwrap_or(block.len()));
        }
    }
    merged(found)
}

/// Runs of characters that tokens are made of.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.+/=~".contains(c);
    let mut from = 0;
    std::iter::from_fn(move || {
        let start = from + text.get(from..)?.find(part)?;
        let rest = &text[start..];
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        from = start + len;
        Some((start, &rest[..len]))
    })
}

/// Whether what stands before the token is a secret's name and a sign such as `": "`.
fn is_value_of_a_secret(text: &str, start: usize, token: &str) -> bool {
    // `key=value` is one run of token characters; then the value is behind the sign.
    if let Some((name, value)) = token.split_once('=') {
        return value.len() >= SHORTEST && is_secret_name(name);
    }
    if token.len() < SHORTEST || token == "Bearer" {
        return false;
    }
    let before = text[..start].trim_end_matches(['"', '\'', ' ', '\\']);
    let before = before
        .strip_suffix("Bearer")
        .map_or(before, |rest| rest.trim_end_matches(['"', '\'', ' ', '\\']));
    let Some(before) = before.strip_suffix([':', '=']) else {
        return false;
    };
    let before = before.trim_end_matches(['"', '\'', ' ', '\\']);
    let name = before
        .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .map_or(before, |at| {
            let after = before[at..].chars().next().map_or(1, char::len_utf8);
            &before[at + after..]
        });
    is_secret_name(name)
}

fn is_secret_name(name: &str) -> bool {
    let name: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    NAMES.iter().any(|it| name.ends_with(it))
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            Some(_) | None => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found: Vec<&str> = secrets_in(text).into_iter().map(|at| &text[at]).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn tokens_are_known_by_their_beginning_or_by_the_name_of_their_field() {
        check(
            "use ghp_abcdefghijklmnop0123 now",
            &["ghp_abcdefghijklmnop0123"],
        );
        check(r#"{"api_key": "0123456789abcdef"}"#, &["0123456789abcdef"]);
        check(
            r#"{"Authorization":"Bearer abcdef123456"}"#,
            &["abcdef123456"],
        );
        check(
            "DB_PASSWORD=hunter2hunter2",
            &["DB_PASSWORD=hunter2hunter2"],
        );
        check(
            r#"{"token_count": 123456, "prompt": "close the ticket"}"#,
            &[],
        );
        check(r#"{"token": null, "secret": "no"}"#, &[]);
        check("sk-short", &[]);
        check("", &[]);
    }

    #[test]
    fn a_private_key_is_one_secret_to_its_end() {
        let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----";
        check(&format!("key:\n{key}\ndone"), &[key]);
        check(
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            &[],
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_searched_and_ranges_are_in_order(text in "(?s).{0,200}") {
            let mut end = 0;
            for range in secrets_in(&text) {
                assert!(range.start >= end && range.end > range.start);
                assert!(text.get(range.clone()).is_some());
                end = range.end;
            }
        }
    }
}
