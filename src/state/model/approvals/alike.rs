//! Which approvals are alike: enough to be decided together, or to learn from.
//!
//! Together means that one yes can be meant for all of them, so what is not known
//! is never taken to be the same. To learn from is weaker: what both tell must agree.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Approval, ApprovalStatus, Approvals};
use crate::state::model::jobs::Request;
use crate::text;
use crate::time::Timestamp;

/// What a job would do, as its labels and topic tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhatRuns {
    /// The tool or capability, else the topic.
    pub what: Option<Arc<str>>,
    /// The system it would do it on.
    pub system: Option<Arc<str>>,
    /// The part of the system.
    pub namespace: Option<Arc<str>>,
    /// The thing there.
    pub resource: Option<Arc<str>>,
}

impl WhatRuns {
    /// What `request` would do.
    pub fn of(request: &Request) -> Self {
        let label = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| request.label(name))
                .filter(|value| !value.is_empty())
                .map(Arc::from)
        };
        let topic = request
            .topic
            .as_ref()
            .map(|topic| Arc::from(topic.strip_prefix("job.").unwrap_or(topic)));
        Self {
            what: label(&["mcp.tool", "tool"])
                .or_else(|| request.capability.clone())
                .or(topic),
            system: declared(request, "system").or_else(|| label(&["mcp.server", "system"])),
            namespace: declared(request, "namespace").or_else(|| label(&["namespace"])),
            resource: declared(request, "resource")
                .or_else(|| label(&["mcp.resource", "resource"])),
        }
    }

    /// Whether anything is declared that it touches.
    pub fn declares_blast_radius(&self) -> bool {
        self.system.is_some() || self.namespace.is_some() || self.resource.is_some()
    }

    /// The action, without the thing it is done to: `update_ticket on jira`.
    fn action(&self) -> Option<String> {
        let what = self.what.as_deref()?;
        Some(match self.system.as_deref() {
            Some(system) => format!("{what} on {system}"),
            None => what.to_owned(),
        })
    }
}

/// What a request declares to touch by labels such as `system:jira`, whatever
/// their value; several are joined. CAP gateways read the blast radius from these.
fn declared(request: &Request, kind: &str) -> Option<Arc<str>> {
    let named: Vec<&str> = request
        .labels
        .iter()
        .filter_map(|(key, _)| key.strip_prefix(kind)?.strip_prefix(':'))
        .filter(|name| !name.is_empty())
        .collect();
    (!named.is_empty()).then(|| Arc::from(named.join(", ")))
}

impl Approval {
    /// What the job would do; nothing known if the plane does not show the request.
    pub fn what_runs(&self) -> WhatRuns {
        let request = self.fact.job.request.as_ref();
        request.map_or_else(WhatRuns::default, WhatRuns::of)
    }

    /// Who asked: the actor, else the principal, else whom the plane names.
    pub fn requester(&self) -> Option<Arc<str>> {
        let request = self.fact.job.request.as_ref();
        request
            .and_then(|request| request.actor.clone().or_else(|| request.principal.clone()))
            .or_else(|| self.fact.submitted_by.clone())
    }

    /// Whether `operator` asked for the job, as far as the plane tells. Newer
    /// gateways name both the key and the principal: `apikey:…|principal:ann`.
    pub fn is_asked_by(&self, operator: &str) -> bool {
        let Some(by) = self.fact.submitted_by.as_deref() else {
            return false;
        };
        let names = |by: &str| by == operator || by.strip_prefix("principal:") == Some(operator);
        !operator.is_empty() && (by == operator || by.split('|').any(names))
    }

    /// The part that keeps this approval from being decided together with `other`;
    /// `None` if they share rule, tenant, action and snapshot.
    pub fn unlike(&self, other: &Self) -> Option<Unlike> {
        let parts = |approval: &Self| {
            let verdict = approval.fact.job.verdict.as_ref();
            let request = approval.fact.job.request.as_ref();
            let owned = |text: &Option<Arc<str>>| text.as_deref().map(str::to_owned);
            [
                ("rule", verdict.and_then(|it| owned(&it.rule_id))),
                ("tenant", request.and_then(|it| owned(&it.tenant))),
                ("action", approval.what_runs().action()),
                ("snapshot", verdict.and_then(|it| owned(&it.snapshot))),
            ]
        };
        let pairs = parts(self).into_iter().zip(parts(other));
        pairs
            .into_iter()
            .find(|((_, own), (_, other))| own.is_none() || own != other)
            .map(|((part, own), (_, other))| Unlike { part, own, other })
    }

    /// Whether a decision about `other` says something about this one: the same
    /// rule, and the same topic and action where both tell them.
    fn resembles(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        let rule = |it: &Self| {
            it.fact
                .job
                .verdict
                .as_ref()
                .and_then(|it| it.rule_id.clone())
        };
        if rule(self).is_none() || rule(self) != rule(other) {
            return false;
        }
        let (Some(own), Some(others)) = (&self.fact.job.request, &other.fact.job.request) else {
            return true;
        };
        if !agree(&own.topic, &others.topic) {
            return false;
        }
        // A list gives no labels, and without them the tool is not known.
        let labels = |it: &Request| it.complete || !it.labels.is_empty();
        if !labels(own) || !labels(others) {
            return true;
        }
        let (own, others) = (WhatRuns::of(own), WhatRuns::of(others));
        agree(&own.what, &others.what) && agree(&own.system, &others.system)
    }
}

/// What differs between approvals that are to be decided together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlike {
    /// Rule, tenant, action or snapshot.
    pub part: &'static str,
    /// Its own; `None` is not known.
    pub own: Option<String>,
    /// That of the others.
    pub other: Option<String>,
}

impl Unlike {
    /// What differs, in words: "its rule is a, the others have b".
    pub fn words(&self) -> String {
        let short = |value: &str| match self.part {
            "snapshot" => text::digest(value),
            _ => value.to_owned(),
        };
        let name = |value: &Option<String>| value.as_deref().map_or("unknown".to_owned(), short);
        match &self.own {
            None => format!("its {} is unknown", self.part),
            Some(own) => format!(
                "its {} is {}, the others have {}",
                self.part,
                short(own),
                name(&self.other)
            ),
        }
    }
}

/// How approvals like one that waits have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precedents {
    /// A person said yes.
    pub approved: u32,
    /// A person said no.
    pub rejected: u32,
    /// Ended without a person: expired, invalidated, repaired.
    pub without_a_person: u32,
    /// The last decision of a person.
    pub last: Option<Precedent>,
}

/// One decision of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precedent {
    /// When, by the plane's clock; `None` if it does not say.
    pub at: Option<Timestamp>,
    /// Whether it was a yes.
    pub approved: bool,
    /// Who decided.
    pub by: Option<Arc<str>>,
}

impl Approvals {
    /// How the known approvals like `approval` have ended.
    pub fn precedents(&self, approval: &Approval) -> Precedents {
        let mut found = Precedents::default();
        let mut last: Option<&Arc<Approval>> = None;
        for ended in self.iter().filter(|it| it.id() != approval.id()) {
            let count = match ended.fact.status {
                ApprovalStatus::Pending => continue,
                ApprovalStatus::Approved => &mut found.approved,
                ApprovalStatus::Rejected => &mut found.rejected,
                ApprovalStatus::Expired
                | ApprovalStatus::Invalidated
                | ApprovalStatus::Repaired => &mut found.without_a_person,
            };
            if !approval.resembles(ended) {
                continue;
            }
            *count += 1;
            let key = |it: &Approval| (it.fact.resolved_at, Reverse(it.id().clone()));
            if ended.fact.status.is_by_a_person()
                && last.is_none_or(|before| key(before) < key(ended))
            {
                last = Some(ended);
            }
        }
        found.last = last.map(|it| Precedent {
            at: it.fact.resolved_at,
            approved: it.fact.status == ApprovalStatus::Approved,
            by: it.fact.resolved_by.clone(),
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;

    const QUEUE: &str = r#"
        0s approval w topic=job.mcp.update_ticket rule=r1 tenant=acme labels=mcp.tool:update_ticket,mcp.server:jira snapshot=v1:aaaaaaaaaaaaaaaa
        0s approval same topic=job.mcp.update_ticket rule=r1 tenant=acme labels=mcp.tool:update_ticket,mcp.server:jira,mcp.resource:OPS-2 snapshot=v1:aaaaaaaaaaaaaaaa
        0s approval rule topic=job.mcp.update_ticket rule=r2 tenant=acme labels=mcp.tool:update_ticket,mcp.server:jira snapshot=v1:aaaaaaaaaaaaaaaa
        0s approval tenant topic=job.mcp.update_ticket rule=r1 tenant=orbit labels=mcp.tool:update_ticket,mcp.server:jira snapshot=v1:aaaaaaaaaaaaaaaa
        0s approval action topic=job.mcp.update_ticket rule=r1 tenant=acme labels=mcp.tool:update_ticket,mcp.server:github snapshot=v1:aaaaaaaaaaaaaaaa
        0s approval snapshot topic=job.mcp.update_ticket rule=r1 tenant=acme labels=mcp.tool:update_ticket,mcp.server:jira snapshot=v2:bbbbbbbbbbbbbbbb
        0s approval untold topic=job.mcp.update_ticket rule=r1 labels=mcp.tool:update_ticket,mcp.server:jira snapshot=v1:aaaaaaaaaaaaaaaa
    "#;

    /// Approvals of a script, told one by one.
    fn told(script: &str) -> Approvals {
        let mut approvals = Approvals::default();
        for event in script::events(script).expect("a script") {
            if let crate::state::event::Event::Approvals(facts) = &event.value {
                for fact in facts {
                    approvals.tell(fact, event.at);
                }
            }
        }
        approvals
    }

    fn check(id: &str, expected: Option<&str>) {
        let approvals = told(QUEUE);
        let of = |id: &str| approvals.get(&id.into()).expect("told");
        let words = of(id).unlike(of("w")).map(|unlike| unlike.words());
        assert_eq!(words.as_deref(), expected, "{id}");
    }

    #[test]
    fn approvals_are_alike_in_rule_tenant_action_and_snapshot() {
        check("same", None);
        check("rule", Some("its rule is r2, the others have r1"));
        check("tenant", Some("its tenant is orbit, the others have acme"));
        check(
            "action",
            Some("its action is update_ticket on github, the others have update_ticket on jira"),
        );
        check(
            "snapshot",
            Some("its snapshot is v2:bbbb…bbbb, the others have v1:aaaa…aaaa"),
        );
    }

    #[test]
    fn what_is_not_known_is_never_the_same() {
        check("untold", Some("its tenant is unknown"));
        let approvals = told(QUEUE);
        let untold = approvals.get(&"untold".into()).expect("told");
        assert!(untold.unlike(untold).is_some());
    }

    #[test]
    fn decisions_about_the_same_rule_and_action_are_precedents() {
        let approvals = told(
            r"
            0s approval w topic=job.mcp.update rule=r1 labels=mcp.tool:update,mcp.server:jira
            1s approval a topic=job.mcp.update rule=r1 partial=1 status=approved who=ann
            3s approval b topic=job.mcp.update rule=r1 labels=mcp.tool:update,mcp.server:jira status=rejected who=bob
            4s approval c topic=job.mcp.update rule=r1 labels=mcp.tool:delete,mcp.server:jira status=approved who=eve
            5s approval d topic=job.mcp.other rule=r1 status=approved who=eve
            6s approval e topic=job.mcp.update rule=r2 status=approved who=eve
            7s approval f topic=job.mcp.update rule=r1 partial=1 status=expired
            ",
        );
        let waiting = approvals.get(&"w".into()).expect("told");
        assert_eq!(
            approvals.precedents(waiting),
            Precedents {
                approved: 1,
                rejected: 1,
                without_a_person: 1,
                last: Some(Precedent {
                    at: Some(Timestamp::from_millis(script::START.as_millis() + 3_000)),
                    approved: false,
                    by: Some("bob".into()),
                }),
            }
        );
    }

    #[test]
    fn what_a_job_touches_is_read_from_the_names_of_its_labels() {
        let labels = [
            "system:jira",
            "resource:OPS-1",
            "resource:OPS-2",
            "resource:",
            "app",
        ];
        let request = Request {
            labels: labels
                .into_iter()
                .map(|key| (Arc::from(key), Arc::from("true")))
                .collect(),
            ..Request::default()
        };
        let declared = |kind| declared(&request, kind);
        assert_eq!(declared("system").as_deref(), Some("jira"));
        assert_eq!(declared("resource").as_deref(), Some("OPS-1, OPS-2"));
        assert_eq!(declared("namespace"), None);
    }

    #[test]
    fn an_approval_is_yours_by_name_or_by_principal() {
        let by = |by: &str| Approval {
            fact: super::super::ApprovalFact {
                submitted_by: Some(by.into()),
                ..super::super::ApprovalFact::default()
            },
            since: script::START,
            told_at: script::START,
            revision: 0,
        };
        assert!(by("ann").is_asked_by("ann"));
        assert!(by("apikey:00ff|principal:ann").is_asked_by("ann"));
        assert!(!by("apikey:00ff|principal:anna").is_asked_by("ann"));
        assert!(!by("").is_asked_by(""));
    }
}
