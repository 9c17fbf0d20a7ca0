//! What a script tells of policy: its rules and its kernel, and what a candidate would change.

use std::sync::Arc;

use super::{Step, instant};
use crate::ids::JobId;
use crate::state::model::jobs::Decision;
use crate::state::model::policy::{Breaker, Kernel, Log, PolicyFact, Rule};
use crate::state::model::what_if::{Flip, WhatIf};
use crate::state::shared::text;
use crate::time::Elapsed;

impl Step<'_> {
    /// `rules deny-pii:DENY,allow:ALLOW log=allow:ALLOW:500 snapshots=s2,s1 breaker=open
    /// failures=3 tries=30s answers=no p99=6 fails=open broken="line 3"`.
    pub(super) fn rules(&self, rules: &str) -> Result<PolicyFact, String> {
        let decision = |name: &str| Decision::read(name).ok_or(format!("no decision `{name}`"));
        let mut fact = PolicyFact {
            rules: (!rules.is_empty()).then(Vec::new),
            unmatched: self.value("unmatched").and_then(Decision::read),
            snapshots: self.list("snapshots"),
            ..PolicyFact::default()
        };
        for rule in rules.split(',').filter(|it| !it.is_empty()) {
            let (id, does) = rule.split_once(':').ok_or("a rule is id:DECISION")?;
            fact.rules.get_or_insert_default().push(Rule {
                id: Arc::from(id),
                decision: Some(decision(does)?),
                reason: None,
            });
        }
        if let Some(log) = self.value("log") {
            let mut kept = Log::default();
            for line in log.split(',') {
                let parts: Vec<&str> = line.split(':').collect();
                let [id, does, count] = parts.as_slice() else {
                    return Err("a log is rule:DECISION:count".to_owned());
                };
                let count: u64 = count.parse().map_err(|_| "no count")?;
                kept.counts.entry(text(id)).or_default()[decision(does)? as usize] += count;
                kept.read += usize::try_from(count).unwrap_or(0);
            }
            kept.since = self.value("since").map(instant).transpose()?;
            fact.log = Some(kept);
        }
        let millis = |key| -> Result<Option<Elapsed>, String> {
            let ms = self.number(key)?;
            Ok(ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Elapsed::from_millis))
        };
        let count = |key| -> Result<Option<u64>, String> {
            Ok(self.number(key)?.and_then(|it| u64::try_from(it).ok()))
        };
        let loaded_at = self.value("loaded").map(instant).transpose()?;
        fact.kernel = self.value("answers").map(|answers| Kernel {
            answers: Some(answers == "yes"),
            error: self.optional("error"),
            address: self.optional("address"),
            fails_open: self.value("fails").map(|it| it == "open"),
            broken: self.optional("broken"),
            loaded_at,
            ..Kernel::default()
        });
        if let Some(kernel) = &mut fact.kernel {
            kernel.p50 = millis("p50")?;
            kernel.p99 = millis("p99")?;
            if let Some(state) = self.value("breaker") {
                kernel.breaker = Some(Breaker {
                    state: Arc::from(state),
                    failures: count("failures")?,
                    threshold: Some(3),
                    tries_at: self.value("tries").map(instant).transpose()?,
                });
            }
        }
        Ok(fact)
    }

    /// What a candidate would change: `flips=WAS:WOULD_BE:rule:job+job:reason:tag+tag,…`.
    pub(super) fn tried(&self, file: &str) -> Result<WhatIf, String> {
        let count = |key| -> Result<u64, String> {
            Ok(u64::try_from(self.number(key)?.unwrap_or(0)).unwrap_or(0))
        };
        let flips = self.list("flips");
        let flips = flips.iter().map(|flip| {
            let parts: Vec<&str> = flip.split(':').collect();
            let [was, would_be, rule, jobs, reason, tags] = parts.as_slice() else {
                return Err("a flip is WAS:WOULD_BE:rule:jobs:reason:tags".to_owned());
            };
            let several = |names: &str| -> Vec<String> {
                let names = names.split('+').filter(|name| !name.is_empty());
                names.map(str::to_owned).collect()
            };
            Ok(Flip {
                was: Decision::read(was),
                would_be: Decision::read(would_be),
                rule_id: text(rule),
                reason: text(reason.trim_matches('"')),
                jobs: several(jobs).into_iter().map(JobId::from).collect(),
                tags: several(tags).into_iter().map(Arc::from).collect(),
            })
        });
        let flips = flips.collect::<Result<Vec<_>, String>>()?;
        let unknown = count("unknown")?;
        let stays = count("stays")?;
        let flipped: u64 = flips.iter().map(|flip| flip.jobs.len() as u64).sum();
        Ok(WhatIf {
            file: Arc::from(file),
            considered: stays + unknown + flipped,
            stays,
            unknown,
            without_verdict: count("unjudged")?,
            flips,
        })
    }
}
