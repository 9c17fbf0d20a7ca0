//! Constraints that ride on a yes, in the words of people.
//!
//! They come as a path and a value each, `budgets.max_runtime_ms 60000`; the names
//! are those of CAP in both spellings. What is not known by name is shown as it came.

use std::sync::Arc;

use crate::text;
use crate::time::Elapsed;
use crate::view::{Fact, Prose};

/// Constraints as facts; one fact that says so if there are none.
pub fn limits(constraints: &[Arc<str>]) -> Vec<Fact> {
    if constraints.is_empty() {
        let none = Prose::new().own("none that the plane tells");
        return vec![Fact::new("limits", none)];
    }
    let mut left: Vec<(String, &str)> = constraints
        .iter()
        .map(|line| {
            let (path, value) = line.split_once([' ', '=']).unwrap_or((line, ""));
            let name = path.rsplit('.').next().unwrap_or(path);
            (snake(name), value)
        })
        .collect();
    let mut take = |names: &[&str]| {
        let at = left.iter().position(|(name, _)| names.contains(&&**name))?;
        Some(left.remove(at))
    };
    let mut facts = Vec::new();
    let runtime = take(&["max_runtime_ms", "max_runtime_sec"]).map(|(name, value)| {
        let unit = if name.ends_with("sec") { 1_000 } else { 1 };
        match value.parse::<u64>() {
            Ok(number) => {
                Prose::new().own(format!("{} at most", time(number.saturating_mul(unit))))
            }
            Err(_) => Prose::new().outside(value).own(" at most"),
        }
    });
    let retries = take(&["max_retries"]).map(|(_, value)| counted(value, "retry", "retries"));
    let both = match (runtime, retries) {
        (Some(runtime), Some(retries)) => Some(runtime.own(", ").then(retries)),
        (runtime, retries) => runtime.or(retries),
    };
    facts.extend(both.map(|value| Fact::new("runtime", value)));
    let more: [(&'static str, &[&str], Shape); 12] = [
        (
            "at once",
            &["max_concurrent_jobs"],
            Shape::Count("job", "jobs"),
        ),
        (
            "artifacts",
            &["max_artifact_bytes"],
            Shape::Count("byte", "bytes"),
        ),
        ("tools", &["allowed_tools"], Shape::Only),
        ("commands", &["allowed_commands"], Shape::Only),
        ("network", &["network_allowlist"], Shape::Only),
        ("reads", &["fs_read_only"], Shape::Only),
        ("writes", &["fs_read_write"], Shape::Only),
        ("sandbox", &["isolated"], Shape::Says("isolated")),
        ("files", &["max_files"], Shape::Count("file", "files")),
        ("lines", &["max_lines"], Shape::Count("line", "lines")),
        ("never", &["deny_path_globs"], Shape::As),
        ("redaction", &["redaction_level"], Shape::As),
    ];
    for (label, names, shape) in more {
        let Some((_, value)) = take(names) else {
            continue;
        };
        let value = match shape {
            Shape::Count(one, many) => counted(value, one, many).own(" at most"),
            Shape::Only => Prose::new().outside(value).own(" only"),
            Shape::Says(words) if value == "true" => Prose::new().own(words),
            Shape::Says(_) | Shape::As => Prose::new().outside(value),
        };
        facts.push(Fact::new(label, value));
    }
    for (name, value) in left {
        let value = Prose::new().outside(format!("{name} {value}"));
        facts.push(Fact::new("also", value));
    }
    facts
}

#[derive(Clone, Copy)]
enum Shape {
    /// A number of things.
    Count(&'static str, &'static str),
    /// Nothing but these.
    Only,
    /// Words in place of `true`.
    Says(&'static str),
    /// As it came.
    As,
}

/// Whole seconds up to a quarter of an hour and a bit, as policies are written.
fn time(ms: u64) -> String {
    match (ms / 1_000, ms % 1_000) {
        (seconds @ 0..1_000, 0) => format!("{seconds}s"),
        _ => text::duration(Elapsed::from_millis(ms)),
    }
}

fn counted(value: &str, one: &str, many: &str) -> Prose {
    match value.parse::<u64>() {
        Ok(number) => Prose::new().own(text::count(number, one, many)),
        Err(_) => Prose::new().outside(value).own(format!(" {many}")),
    }
}

/// `maxRuntimeMs` as `max_runtime_ms`.
fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(constraints: &[&str], expected: &[&str]) {
        let constraints: Vec<Arc<str>> = constraints.iter().map(|it| Arc::from(*it)).collect();
        let facts: Vec<String> = limits(&constraints)
            .into_iter()
            .map(|fact| format!("{}: {}", fact.label, fact.value.plain()))
            .collect();
        assert_eq!(facts, expected);
    }

    #[test]
    fn limits_are_told_in_words_and_in_order() {
        check(
            &[
                "sandbox.network_allowlist jira.internal",
                "budgets.max_runtime_ms 60000",
                "toolchain.allowed_tools jira.update_ticket, jira.read",
                "budgets.max_retries 1",
            ],
            &[
                "runtime: 60s at most, 1 retry",
                "tools: jira.update_ticket, jira.read only",
                "network: jira.internal only",
            ],
        );
    }

    #[test]
    fn both_spellings_are_known_and_a_strange_limit_is_not_hidden() {
        check(
            &["max_runtime_sec 120", "budgets.maxConcurrentJobs 20"],
            &["runtime: 120s at most", "at once: 20 jobs at most"],
        );
        check(
            &["sandbox.isolated true", "moon.phase full"],
            &["sandbox: isolated", "also: phase full"],
        );
        check(&["budgets.max_retries many"], &["runtime: many retries"]);
    }

    #[test]
    fn no_limit_is_said() {
        check(&[], &["limits: none that the plane tells"]);
    }
}
