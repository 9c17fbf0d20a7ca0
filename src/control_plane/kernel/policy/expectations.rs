//! What people expect of a policy, as files that are kept beside it.
//!
//! A file is YAML, or JSON, with a list `cases`: each has a `name`, a `job` as it
//! would be submitted, what to `expect` (a `decision`, and where it matters the
//! `rule` and the `reason`), and `at`, the seconds since the first case, where
//! rates matter. The cases of a file are asked in order under the same counts.

use super::fields::Reader;
use super::{MAX_POLICY_BYTES, MAX_PROBLEMS, Place, PolicyError, Problem};
use crate::control_plane::kernel::document::{self, Node, Value};
use crate::control_plane::kernel::{Decision, Verdict};
use crate::time::Elapsed;

const FILE: &[&str] = &["cases"];
const CASE: &[&str] = &["name", "at", "job", "expect"];
const EXPECT: &[&str] = &["decision", "rule", "reason"];
/// The latest second of a case: a year.
const LATEST_S: i64 = 366 * 86_400;

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Where it begins in the file.
    pub place: Place,
    /// What it is about; empty if the file does not say.
    pub name: String,
    /// When it is asked, counted from the first case.
    pub at: Elapsed,
    /// The job as JSON, in any form in which one is submitted.
    pub job: serde_json::Value,
    /// What should come of it.
    pub expected: Expected,
}

/// What should come of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The decision.
    pub decision: Decision,
    /// Which rule decides, `Some(None)` for no rule; `None` if any may.
    pub rule: Option<Option<String>>,
    /// The reason; `None` if any will do.
    pub reason: Option<String>,
}

impl Expected {
    /// Whether this is what came of it.
    pub fn is(&self, verdict: &Verdict) -> bool {
        let rule = self.rule.as_ref();
        self.decision == verdict.decision
            && rule.is_none_or(|rule| *rule == verdict.rule_id)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| *reason == verdict.reason)
    }
}

/// Reads a file of cases.
///
/// # Errors
/// [`PolicyError`] with every problem found, each with its place.
pub fn read(text: &str) -> Result<Vec<Case>, PolicyError> {
    let mut reader = Reader {
        of: Some("a file of cases"),
        ..Reader::default()
    };
    if text.len() > MAX_POLICY_BYTES {
        let says = format!("the file is longer than {MAX_POLICY_BYTES} bytes");
        reader.problem(Place::default(), "", says);
    } else {
        match document::read(text) {
            Ok(root) => {
                let cases = reader.cases(&root);
                if reader.problems.is_empty() {
                    return Ok(cases);
                }
            }
            Err(error) => {
                reader.problem(error.place, "", format!("this is not YAML: {}", error.says));
            }
        }
    }
    let mut problems: Vec<Problem> = reader.problems;
    problems.sort_by_key(|problem| problem.place);
    problems.truncate(MAX_PROBLEMS);
    Err(PolicyError { problems })
}

impl Reader {
    fn cases(&mut self, root: &Node) -> Vec<Case> {
        let entries = self.entries(root, "", FILE, &[]);
        let Some(entry) = entries.first() else {
            self.problem(root.place, "cases", "is missing");
            return Vec::new();
        };
        let Some(nodes) = self.list(&entry.node, "cases") else {
            return Vec::new();
        };
        let mut at = Elapsed::default();
        let mut cases = Vec::with_capacity(nodes.len());
        for node in nodes {
            if let Some(case) = self.case(node, at) {
                at = case.at;
                cases.push(case);
            }
        }
        cases
    }

    fn case(&mut self, node: &Node, before: Elapsed) -> Option<Case> {
        let mut name = String::new();
        let mut at = before;
        let (mut job, mut expected) = (None, None);
        for entry in self.entries(node, "cases", CASE, &[]) {
            let field = format!("cases.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "name" => name = self.text(node, &field).unwrap_or_default(),
                "at" => {
                    let seconds = self.count(node, &field, LATEST_S)?;
                    at = Elapsed::from_secs(u64::try_from(seconds).unwrap_or_default());
                    if at < before {
                        self.problem(node.place, &field, "is earlier than the case before it");
                    }
                }
                "job" => job = Some(json(node)),
                "expect" => expected = self.expected(node),
                _ => {}
            }
        }
        if matches!(node.value, Value::Map(_)) && job.is_none() {
            self.problem(node.place, "cases.job", "is missing");
        }
        if matches!(node.value, Value::Map(_)) && expected.is_none() && self.problems.is_empty() {
            self.problem(node.place, "cases.expect.decision", "is missing");
        }
        Some(Case {
            place: node.place,
            name,
            at,
            job: job?,
            expected: expected?,
        })
    }

    fn expected(&mut self, node: &Node) -> Option<Expected> {
        let (mut decision, mut rule, mut reason) = (None, None, None);
        for entry in self.entries(node, "cases.expect", EXPECT, &[]) {
            let field = format!("cases.expect.{}", entry.key);
            let node = &entry.node;
            match entry.key.as_str() {
                "decision" => decision = self.decision(node, &field),
                "rule" => {
                    let id = self.text(node, &field)?;
                    rule = Some(Some(id).filter(|id| !id.is_empty()));
                }
                "reason" => reason = self.text(node, &field),
                _ => {}
            }
        }
        Some(Expected {
            decision: decision?,
            rule,
            reason,
        })
    }
}

/// YAML as the JSON that says the same.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => text.as_str().into(),
        Value::Plain {
            flag: Some(flag), ..
        } => (*flag).into(),
        Value::Plain {
            written, number, ..
        } => match number.map(i64::try_from) {
            Some(Ok(number)) => number.into(),
            Some(Err(_)) | None => match written.parse::<f64>() {
                Ok(number) => number.into(),
                Err(_) => written.as_str().into(),
            },
        },
        Value::List(nodes) => nodes.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json(&entry.node)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match read(text) {
            Ok(cases) => format!("accepted: {cases:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_case_says_what_is_asked_when_and_what_should_come_of_it() {
        let cases = read(
            "cases:
  - name: one
    job: {topic: job.a, labels: {env: prod, n: '1'}, deadline_ms: 1000, allow_retrieval: true}
    expect: {decision: Require-Approval, rule: r, reason: look}
  - {at: 7, job: {topic: job.b, risk_tags: [x]}, expect: {decision: deny, rule: }}
  - {job: {topic: job.b}, expect: {decision: ALLOW}}
",
        )
        .expect("cases");
        assert_eq!(
            cases[0].job.to_string(),
            r#"{"topic":"job.a","labels":{"env":"prod","n":"1"},"deadline_ms":1000,"allow_retrieval":true}"#
        );
        let told: Vec<String> = cases
            .iter()
            .map(|case| {
                let (line, at, expected) = (case.place.line, case.at.as_secs(), &case.expected);
                let decision = expected.decision.name();
                format!(
                    "{line} {at} {decision} {:?} {:?}",
                    expected.rule, expected.reason
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"2 0 REQUIRE_APPROVAL Some(Some("r")) Some("look")"#,
                "5 7 DENY Some(None) None",
                "6 7 ALLOW None None",
            ]
        );
    }

    #[test]
    fn json_is_read_too() {
        let cases =
            read(r#"{"cases": [{"job": {"topic": "job.a"}, "expect": {"decision": "deny"}}]}"#);
        assert_eq!(cases.expect("cases").len(), 1);
    }

    #[test]
    fn what_is_no_case_is_told_with_its_place() {
        for (text, expected) in [
            ("", "line 1, column 1: cases is missing"),
            (
                "cases: 1",
                "line 1, column 8: cases must be a list, not a number",
            ),
            (
                "case: []",
                "line 1, column 1: case is not a field of a file of cases; did you mean `cases`?\n  \
                 line 1, column 1: cases is missing",
            ),
            (
                "cases: [{expect: {decision: allow}}]",
                "line 1, column 9: cases.job is missing",
            ),
            (
                "cases: [{job: {}}]",
                "line 1, column 9: cases.expect.decision is missing",
            ),
            (
                "cases: [{job: {}, expect: {decision: alow}}]",
                "line 1, column 38: cases.expect.decision `alow` is not one of allow, deny, \
                 require_approval, throttle, allow_with_constraints; did you mean `allow`?",
            ),
            (
                "cases: [{at: 2, job: {}, expect: {decision: deny}}, {at: 1, job: {}, expect: {decision: deny}}]",
                "line 1, column 58: cases.at is earlier than the case before it",
            ),
        ] {
            assert_eq!(refused(text), expected, "{text}");
        }
    }
}
