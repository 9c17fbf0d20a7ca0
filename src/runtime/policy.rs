//! What is asked about policy: rules, snapshots, the kernel's health, decisions, and
//! why a job is judged as it is. Asked for only while somebody looks at it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::effects::{Outside, failed, outcome_of};
use super::facts;
use crate::gateway_client::types::{JobDetail, List, LoggedDecision, Rules, Status};
use crate::gateway_client::{GatewayClient, GatewayError};
use crate::ids::JobId;
use crate::state::effect::Outcome;
use crate::state::event::Event;
use crate::state::limits;
use crate::state::model::jobs::Decision;
use crate::state::model::policy::{
    Breaker, Explanation, FactTrace, Kernel, Log, PolicyFact, Rule, RuleTrace, is_grant,
};
use crate::state::shared::{Text, text};
use crate::time::{Elapsed, Timestamp};
use crate::wire::packet::{ActorType, JobRequest, WireEnum as _};

/// Pages of 500 decisions that are read in one round.
const PAGES: usize = 4;

impl Outside {
    pub(super) async fn read_policy(&self) -> Outcome {
        let Some(gateway) = &self.sources.gateway else {
            return failed("policy is told by a gateway, and none is configured");
        };
        match self.policy_fact(gateway).await {
            Ok(fact) => {
                self.answer(Event::PolicyTold(Box::new(fact))).await;
                Outcome::Done(None)
            }
            Err(error) => outcome_of(&error),
        }
    }

    async fn policy_fact(&self, gateway: &GatewayClient) -> Result<PolicyFact, GatewayError> {
        // The one that every generation has tells whether the gateway answers at all.
        let status = gateway.status().await?;
        let rules = told(gateway.rules().await)?;
        let snapshots = told(gateway.snapshots().await)?.unwrap_or_default();
        let mut tally: Option<Tally> = None;
        let mut cursor = None;
        for _ in 0..PAGES {
            let page = gateway.logged_decisions(cursor.as_deref()).await;
            let Some(page) = told(page)? else { break };
            let tally = tally.get_or_insert_default();
            tally.log.since = page.record_since.or(tally.log.since);
            tally.count(&page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || page.items.is_empty() {
                break;
            }
        }
        let log = tally.map(|tally| Log {
            more: cursor.is_some(),
            ..tally.log
        });
        Ok(fact_of(
            &status,
            rules.as_ref(),
            &snapshots,
            log,
            self.clock.now(),
        ))
    }

    pub(super) async fn explain(&self, job: &JobId) -> Outcome {
        let Some(gateway) = &self.sources.gateway else {
            return failed("policy is explained by a gateway, and none is configured");
        };
        let detail = match gateway.job(job).await {
            Ok(detail) => detail,
            Err(error) => return outcome_of(&error),
        };
        let stored = facts::stored_request(detail.request.as_ref());
        let question = match &stored {
            Some(request) => question_of(request),
            None => question_of_record(&detail),
        };
        match gateway.explain(&question).await {
            Ok(answer) => {
                let explained = explanation(job, &answer, stored.is_some());
                self.answer(Event::Explained(Box::new(explained))).await;
                Outcome::Done(None)
            }
            Err(error) => outcome_of(&error),
        }
    }
}

/// What a gateway's answers tell of policy.
pub(super) fn fact_of(
    status: &Status,
    rules: Option<&Rules>,
    snapshots: &[String],
    log: Option<Log>,
    now: Timestamp,
) -> PolicyFact {
    PolicyFact {
        unmatched: rules.and_then(|rules| Decision::read(&rules.default_decision)),
        rules: rules.map(rules_of),
        snapshots: snapshots
            .iter()
            .take(limits::SNAPSHOTS)
            .map(|it| Arc::from(it.as_str()))
            .collect(),
        kernel: kernel_of(status, now),
        log,
    }
}

/// The log of one page of decisions, which is all there is.
pub(super) fn log_of(page: &List<LoggedDecision>) -> Log {
    let mut tally = Tally::default();
    tally.log.since = page.record_since;
    tally.count(&page.items);
    tally.log
}

/// What was told; `None` where the gateway has no such route or our key may not ask.
fn told<T>(answer: Result<T, GatewayError>) -> Result<Option<T>, GatewayError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(
            GatewayError::NotFound { .. }
            | GatewayError::Forbidden { .. }
            | GatewayError::KernelDown { .. }
            | GatewayError::BadRequest { .. },
        ) => Ok(None),
        Err(GatewayError::Other {
            status: 405 | 500..=599,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn rules_of(rules: &Rules) -> Vec<Rule> {
    let rules = rules.items.iter().filter(|rule| !rule.id.is_empty());
    rules
        .take(limits::RULES)
        .map(|rule| {
            let decision = Decision::read(&rule.decision);
            // An allow that has constraints is a constrained one.
            let limited = rule
                .constraints
                .as_ref()
                .is_some_and(|it| it.as_object().is_some_and(|members| !members.is_empty()));
            Rule {
                id: Arc::from(rule.id.as_str()),
                decision: match decision {
                    Some(Decision::Allow) if limited => Some(Decision::AllowWithConstraints),
                    other => other,
                },
                reason: text(&rule.reason),
            }
        })
        .collect()
}

/// A log of decisions while it is read, the newest first.
///
/// Each evaluation is a record, and a job is evaluated when it is submitted, before it
/// goes to a worker, and every few seconds while it is throttled. What an operator asks
/// of a rule is how many jobs it decided about, so a job counts once for a rule.
#[derive(Default)]
struct Tally {
    log: Log,
    /// At most as many as there are records on [`PAGES`].
    counted: BTreeSet<(JobId, Text)>,
}

impl Tally {
    fn count(&mut self, decisions: &[LoggedDecision]) {
        for decision in decisions {
            self.log.read += 1;
            let Some(verdict) = Decision::read(&decision.verdict) else {
                continue;
            };
            let grant = decision.check == "approval" || is_grant(verdict, Some(&decision.reason));
            if verdict == Decision::Unavailable || grant {
                continue;
            }
            let rule = text(&decision.matched_rule);
            let job = &decision.job_id;
            if !job.is_empty() && !self.counted.insert((job.clone(), rule.clone())) {
                continue;
            }
            let counts = &mut self.log.counts;
            if counts.len() < limits::RULES || counts.contains_key(&rule) {
                counts.entry(rule).or_default()[verdict as usize] += 1;
            }
        }
    }
}

fn kernel_of(status: &Status, now: Timestamp) -> Option<Kernel> {
    let kernel = status.kernel.as_ref();
    let policy = status.policy.as_ref();
    let breaker = status
        .circuit_breakers
        .as_ref()
        .and_then(|all| all.get("input"));
    if kernel.is_none() && policy.is_none() && breaker.is_none() && status.fail_mode.is_empty() {
        return None;
    }
    let member = |value: Option<&Value>, name: &str| value.and_then(|it| it.get(name)).cloned();
    let words = |value: Option<Value>| -> Text { text(value?.as_str()?) };
    let millis = |name: &str| {
        let ms = member(kernel, name)?.as_f64()?;
        (ms >= 0.0).then(|| Elapsed::from_millis(ms.round() as u64))
    };
    Some(Kernel {
        answers: member(kernel, "ok").and_then(|it| it.as_bool()),
        error: words(member(kernel, "error")),
        address: words(member(kernel, "address")),
        p50: millis("p50_ms"),
        p99: millis("p99_ms"),
        asked_per_minute: member(kernel, "asked_per_minute").and_then(|it| it.as_u64()),
        breaker: breaker.map(|it| breaker_of(it, now)),
        fails_open: match status.fail_mode.as_str() {
            "open" => Some(true),
            "closed" => Some(false),
            _ => None,
        },
        bypassed: status.input_fail_open_total,
        broken: words(member(policy, "broken")),
        loaded_at: member(policy, "loaded_at").and_then(|it| match it.as_str() {
            Some(text) => Timestamp::parse_rfc3339(text),
            None => Timestamp::from_any_unit(it.as_i64()?),
        }),
    })
}

fn breaker_of(breaker: &Value, now: Timestamp) -> Breaker {
    let number = |name: &str| breaker.get(name).and_then(Value::as_u64);
    let state = breaker.get("state").and_then(Value::as_str);
    let left = number("cooldown_remaining_ms").filter(|left| *left > 0);
    Breaker {
        state: Arc::from(
            state
                .unwrap_or_default()
                .to_ascii_lowercase()
                .replace('-', "_"),
        ),
        failures: number("failures"),
        threshold: number("fail_threshold"),
        tries_at: left.map(|left| now.plus(Elapsed::from_millis(left))),
    }
}

pub(super) fn actor_type(kind: ActorType) -> String {
    match kind {
        ActorType::Unspecified => String::new(),
        kind => kind.name().to_ascii_lowercase(),
    }
}

/// The question about a stored request, in the words of `POST /policy/explain`.
fn question_of(request: &JobRequest) -> Value {
    let meta = request.meta.clone().unwrap_or_default();
    json!({
        "job_id": request.job_id.as_str(),
        "topic": request.topic,
        "tenant": request.tenant().unwrap_or_default(),
        "workflow_id": request.workflow_id,
        "principal_id": request.principal_id,
        "labels": request.labels,
        "meta": {
            "tenant_id": meta.tenant_id,
            "actor_id": meta.actor_id,
            "actor_type": actor_type(meta.actor_type),
            "capability": meta.capability,
            "risk_tags": meta.risk_tags,
            "requires": meta.requires,
            "pack_id": meta.pack_id,
        },
    })
}

/// The same from what a gateway tells of a job whose stored request it keeps to itself.
fn question_of_record(detail: &JobDetail) -> Value {
    let record = &detail.record;
    json!({
        "job_id": record.id.as_str(),
        "topic": record.topic,
        "tenant": record.tenant,
        "workflow_id": detail.workflow_id,
        "principal_id": record.principal,
        "labels": detail.labels,
        "meta": {
            "tenant_id": record.tenant,
            "actor_id": record.actor_id,
            "actor_type": record.actor_type.to_ascii_lowercase(),
            "capability": record.capability,
            "risk_tags": record.risk_tags,
            "requires": record.requires,
            "pack_id": record.pack_id,
        },
    })
}

/// A text of an answer under either spelling of its name.
pub(super) fn one(value: &Value, names: [&str; 2]) -> Text {
    let found = names.iter().find_map(|name| value.get(name));
    text(found?.as_str()?)
}

/// An answer of either spelling; `rules` is told by our gateway alone.
fn explanation(job: &JobId, answer: &Value, stored: bool) -> Explanation {
    let rules = answer.get("rules").and_then(Value::as_array);
    Explanation {
        job: job.clone(),
        decision: one(answer, ["decision", "decision"]).and_then(|it| Decision::read(&it)),
        rule_id: one(answer, ["ruleId", "rule_id"]),
        reason: one(answer, ["reason", "reason"]),
        snapshot: one(answer, ["policySnapshot", "policy_snapshot"]),
        rules: rules
            .into_iter()
            .flatten()
            .take(limits::RULES)
            .map(|rule| RuleTrace {
                id: one(rule, ["id", "rule_id"]).unwrap_or_default(),
                decision: one(rule, ["decision", "decision"]).and_then(|it| Decision::read(&it)),
                outcome: one(rule, ["outcome", "outcome"]),
                facts: facts_of(rule),
            })
            .collect(),
        stored,
    }
}

fn facts_of(rule: &Value) -> Vec<FactTrace> {
    let facts = rule.get("facts").and_then(Value::as_array);
    let word = |fact: &Value, name: &str| fact.get(name).and_then(Value::as_str).and_then(text);
    facts
        .into_iter()
        .flatten()
        .take(limits::LABELS)
        .map(|fact| FactTrace {
            field: word(fact, "field").unwrap_or_default(),
            wanted: word(fact, "wanted"),
            seen: word(fact, "seen"),
            holds: fact.get("holds").and_then(Value::as_bool).unwrap_or(false),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_either_generation_tells_what_it_tells() {
        let now = Timestamp::from_millis(1_000_000);
        let status = |value: Value| -> Status { serde_json::from_value(value).expect("a status") };
        assert_eq!(kernel_of(&status(json!({})), now), None);
        let newer = status(json!({"circuit_breakers": {"input": {
            "state": "OPEN", "failures": 3, "fail_threshold": 3, "cooldown_remaining_ms": 21_000
        }}}));
        let kernel = kernel_of(&newer, now).expect("a kernel");
        let breaker = kernel.breaker.expect("a breaker");
        assert!(breaker.is_open());
        assert_eq!(breaker.tries_at, Some(Timestamp::from_millis(1_021_000)));
        assert_eq!((kernel.answers, kernel.fails_open), (None, None));
        let ours = status(json!({
            "kernel": {"ok": false, "error": "no answer in 2s", "address": "http://k:50051",
                "p50_ms": 3, "p99_ms": 600, "asked_per_minute": 294},
            "policy": {"broken": "line 3", "loaded_at": "2026-01-01T00:00:00Z"},
            "fail_mode": "open",
            "input_fail_open_total": 4
        }));
        let kernel = kernel_of(&ours, now).expect("a kernel");
        assert_eq!(kernel.answers, Some(false));
        assert_eq!(kernel.error.as_deref(), Some("no answer in 2s"));
        assert_eq!(kernel.address.as_deref(), Some("http://k:50051"));
        assert_eq!(kernel.broken.as_deref(), Some("line 3"));
        assert_eq!((kernel.fails_open, kernel.bypassed), (Some(true), Some(4)));
        let millis = |it: Option<Elapsed>| it.map(Elapsed::as_millis);
        assert_eq!(
            (millis(kernel.p50), millis(kernel.p99)),
            (Some(3), Some(600))
        );
        assert_eq!(kernel.asked_per_minute, Some(294));
        let micros = status(json!({"policy": {"loaded_at": 1_767_225_600_000_000_i64}}));
        let in_micros = kernel_of(&micros, now).expect("a kernel").loaded_at;
        assert!(kernel.loaded_at.is_some());
        assert_eq!(kernel.loaded_at, in_micros);
    }

    #[test]
    fn an_explanation_is_read_with_and_without_its_rules() {
        let job = JobId::from("j1");
        let bare = json!({"decision": "DECISION_TYPE_REQUIRE_HUMAN", "reason": "prod", "ruleId": "r1",
            "policySnapshot": "v1:ab", "constraints": null});
        let read = explanation(&job, &bare, true);
        assert_eq!(read.decision, Some(Decision::RequireApproval));
        assert_eq!((read.rule_id.as_deref(), read.rules.len()), (Some("r1"), 0));
        let whole = json!({"decision": "DENY", "rules": [{"id": "r1", "decision": "deny", "outcome": "decides",
            "facts": [{"field": "labels.env", "wanted": "prod", "seen": "stage", "holds": false}, 7]}]});
        let read = explanation(&job, &whole, false);
        let fact = &read.rules[0].facts[0];
        assert_eq!(
            (&*fact.field, fact.seen.as_deref(), fact.holds),
            ("labels.env", Some("stage"), false)
        );
        assert!(!read.stored);
    }

    fn page(items: Vec<LoggedDecision>) -> List<LoggedDecision> {
        List {
            items,
            unreadable: 0,
            next_cursor: None,
            bare: false,
            record_since: None,
        }
    }

    #[test]
    fn a_log_counts_verdicts_by_rule_and_an_outage_is_no_rules_doing() {
        let logged = |rule: &str, verdict: &str| LoggedDecision {
            matched_rule: rule.to_owned(),
            verdict: verdict.to_owned(),
            ..LoggedDecision::default()
        };
        let log = log_of(&page(vec![
            logged("r1", "constrain"),
            logged("r1", "constrain"),
            logged("", "deny"),
            logged("", "unavailable"),
        ]));
        assert_eq!(log.read, 4);
        assert_eq!(
            log.counts[&text("r1")][Decision::AllowWithConstraints as usize],
            2
        );
        assert_eq!(log.counts[&None].iter().sum::<u64>(), 1);
    }

    /// Records of `job rule verdict check reason`, the newest first; rule, outcomes and hits.
    #[track_caller]
    fn counted(records: &str, expected: &str) {
        let records: Vec<LoggedDecision> = records
            .split('|')
            .map(|record| {
                let mut words = record.split_whitespace();
                let mut word = || words.next().expect("a word").to_owned();
                let (job, rule, verdict, check) = (word(), word(), word(), word());
                LoggedDecision {
                    job_id: JobId::from(job),
                    matched_rule: rule,
                    verdict,
                    check: check.replace('-', ""),
                    reason: words.collect::<Vec<_>>().join(" "),
                    ..LoggedDecision::default()
                }
            })
            .collect();
        let read = records.len();
        let log = log_of(&page(records));
        let rows: Vec<String> = log
            .counts
            .iter()
            .flat_map(|(rule, counts)| {
                let rule = rule.as_deref().unwrap_or("(none)");
                let named = Decision::ALL.iter().zip(counts);
                let hit = named.filter(|(_, count)| **count > 0);
                hit.map(move |(decision, count)| format!("{rule} {decision} {count}"))
            })
            .collect();
        assert_eq!(rows.join(", "), expected);
        assert_eq!(log.read, read);
    }

    #[test]
    fn a_job_counts_once_for_a_rule_however_often_policy_was_asked() {
        counted(
            "j3 read allow dispatch | j2 read allow dispatch | j1 read allow dispatch \
             | j3 read allow submit | j2 read allow submit | j1 read allow submit",
            "read ALLOW 3",
        );
        counted(
            "j1 slow throttle - | j1 slow throttle - | j2 slow throttle -",
            "slow THROTTLE 2",
        );
        counted(
            "j1 read allow dispatch | j1 slow throttle dispatch",
            "read ALLOW 1, slow THROTTLE 1",
        );
    }

    #[test]
    fn a_yes_of_a_person_is_no_hit_of_the_rule_that_asked() {
        let ours = "j1 hold allow approval approval granted | j1 hold require_approval submit prod";
        counted(ours, "hold REQUIRE_APPROVAL 1");
        let foreign = "j1 hold allow - approval granted | j1 hold require_approval - prod";
        counted(foreign, "hold REQUIRE_APPROVAL 1");
        counted("j1 hold allow - prod", "hold ALLOW 1");
    }
}
