//! Trying a candidate policy: its file is read here, and the gateway says what it
//! would have decided.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::effects::{Outside, console, failed, outcome_of};
use crate::ids::JobId;
use crate::state::effect::Outcome;
use crate::state::event::Event;
use crate::state::limits;
use crate::state::model::jobs::Decision;
use crate::state::model::what_if::{Flip, WhatIf};
use crate::state::shared::text;

/// The longest policy that is sent, 2 MiB: what gateways take as a body.
const MAX_POLICY: u64 = 2 << 20;

impl Outside {
    pub(super) async fn try_policy(&self, path: &str) -> Outcome {
        let Some(gateway) = &self.sources.gateway else {
            return failed("decisions are replayed by a gateway, and none is configured");
        };
        let from = path.to_owned();
        let content = match tokio::task::spawn_blocking(move || read(Path::new(&from))).await {
            Ok(Ok(content)) => content,
            Ok(Err(why)) => return failed(&format!("cannot read {path}: {why}")),
            Err(_) => return failed(&format!("cannot read {path}")),
        };
        match gateway.status().await {
            Ok(status) if status.replays_policy() => {}
            Ok(_) => {
                return console(
                    "no_policy_replay",
                    "this gateway does not replay decisions; capdeck policy diff OLD NEW asks it job by job",
                );
            }
            Err(error) => return outcome_of(&error),
        }
        match gateway.replay(&content, limits::TRIED).await {
            Ok(answer) => {
                let what_if = what_if(path, &answer);
                self.answer(Event::Tried(Box::new(what_if))).await;
                Outcome::Done(None)
            }
            Err(error) => outcome_of(&error),
        }
    }
}

/// The text of a policy file, or why there is none.
fn read(path: &Path) -> Result<String, String> {
    // Before it is opened: opening a pipe waits for whoever writes into it.
    let kind = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !kind.is_file() {
        return Err("it is not a file".to_owned());
    }
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut content = String::new();
    let read = file.take(MAX_POLICY + 1).read_to_string(&mut content);
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err("it is not UTF-8 text".to_owned())
        }
        Err(error) => Err(error.to_string()),
        Ok(len) if len as u64 > MAX_POLICY => Err("it is longer than 2 MiB".to_owned()),
        Ok(_) => Ok(content),
    }
}

/// The end of a path, as a person names a file.
fn file_name(path: &str) -> &str {
    let name = Path::new(path).file_name().and_then(|name| name.to_str());
    name.unwrap_or(path)
}

fn what_if(path: &str, answer: &Value) -> WhatIf {
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let flips = answer.get("flips").and_then(Value::as_array);
    WhatIf {
        file: Arc::from(file_name(path)),
        considered: number("considered"),
        stays: number("stays"),
        unknown: number("unknown"),
        without_verdict: number("without_verdict"),
        flips: flips
            .into_iter()
            .flatten()
            .take(limits::FLIPS)
            .map(flip)
            .collect(),
    }
}

fn flip(flip: &Value) -> Flip {
    let word = |name: &str| flip.get(name).and_then(Value::as_str);
    let list = |name: &str| -> Vec<&str> {
        let items = flip.get(name).and_then(Value::as_array);
        let items = items.into_iter().flatten();
        let most = limits::TRIED as usize;
        items.filter_map(Value::as_str).take(most).collect()
    };
    Flip {
        was: word("was").and_then(Decision::read),
        would_be: word("would_be").and_then(Decision::read),
        rule_id: word("rule_id").and_then(text),
        reason: word("reason").and_then(text),
        jobs: list("jobs").into_iter().map(JobId::from).collect(),
        tags: list("risk_tags").into_iter().map(Arc::from).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_read_with_what_it_has() {
        let answer = json!({
            "considered": 5, "stays": 2, "unknown": 1,
            "flips": [
                {"was": "REQUIRE_APPROVAL", "would_be": "ALLOW", "rule_id": "known", "reason": "r1 is removed",
                 "jobs": ["a", "b"], "risk_tags": ["pii"]},
                {"was": 7}
            ]
        });
        let read = what_if("policies/next.yaml", &answer);
        assert_eq!(
            (&*read.file, read.considered, read.flipped()),
            ("next.yaml", 5, 2)
        );
        let first = &read.flips[0];
        assert!(first.loses_a_person());
        assert_eq!(first.rule_id.as_deref(), Some("known"));
        assert_eq!(read.flips[1], Flip::default());
    }

    #[test]
    fn what_is_no_file_of_text_is_said_to_be_none() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(read(dir.path()), Err("it is not a file".to_owned()));
        let path = dir.path().join("bytes");
        std::fs::write(&path, [0xff, 0xfe]).expect("written");
        assert_eq!(read(&path), Err("it is not UTF-8 text".to_owned()));
        let gone = read(&dir.path().join("gone")).expect_err("gone");
        assert!(gone.contains("No such file"), "{gone}");
        std::fs::write(&path, "x".repeat(MAX_POLICY as usize + 1)).expect("written");
        assert_eq!(read(&path), Err("it is longer than 2 MiB".to_owned()));
    }
}
