//! The tree of a trace: each job before what it asked for.
//!
//! What undoes a job stands under that job, and jobs whose parent nobody has heard of
//! in a group of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{TraceOf, members, parent_of};
use crate::ids::JobId;
use crate::state::model::Model;
use crate::state::model::jobs::Job;

/// A place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The job; `None` for the group of those whose parent was not seen.
    pub job: Option<JobId>,
    /// For each level above whether more follows there, the outermost first; its
    /// length is the depth.
    pub rails: Vec<bool>,
    /// Whether more follows on its own level.
    pub more: bool,
    /// How many nodes are below it, at any depth.
    pub below: usize,
}

/// The tree of `of`, each job before what it asked for.
pub fn tree(model: &Model, of: &TraceOf) -> Vec<Node> {
    let jobs = members(model, of);
    let known: BTreeSet<&JobId> = jobs.iter().map(|job| &job.id).collect();
    let mut children: BTreeMap<&JobId, Vec<&Arc<Job>>> = BTreeMap::new();
    let (mut roots, mut orphans) = (Vec::new(), Vec::new());
    for job in &jobs {
        match parent_of(model, job) {
            Some(parent) if known.contains(parent) && *parent != job.id => {
                children.entry(parent).or_default().push(job);
            }
            Some(parent) if *parent != job.id => orphans.push(*job),
            Some(_) | None => roots.push(*job),
        }
    }
    let order = |jobs: &mut Vec<&Arc<Job>>| {
        jobs.sort_by_key(|job| {
            let step = job.request.as_ref().map_or(0, |it| it.step_index);
            (step, job.first_seen, job.id.clone())
        });
    };
    children.values_mut().for_each(order);
    order(&mut roots);
    order(&mut orphans);
    let mut walk = Walk {
        children,
        seen: BTreeSet::new(),
        nodes: Vec::new(),
    };
    walk.grow(roots, &[]);
    // Jobs that name each other as parents hang nowhere.
    let hanging: BTreeSet<JobId> = orphans.iter().map(|job| job.id.clone()).collect();
    if !orphans.is_empty() {
        walk.group(orphans);
    }
    let lost = |job: &&Arc<Job>| !walk.seen.contains(&job.id) && !hanging.contains(&job.id);
    let circle: Vec<&Arc<Job>> = jobs.iter().copied().filter(|job| lost(job)).collect();
    for job in circle {
        if !walk.seen.contains(&job.id) {
            walk.grow(vec![job], &[]);
        }
    }
    walk.nodes
}

struct Walk<'a> {
    children: BTreeMap<&'a JobId, Vec<&'a Arc<Job>>>,
    seen: BTreeSet<JobId>,
    nodes: Vec<Node>,
}

impl<'a> Walk<'a> {
    /// Adds `jobs` with all below them, under the levels of `rails`. A chain can be
    /// as long as the trace, so it is walked without recursion.
    fn grow(&mut self, jobs: Vec<&'a Arc<Job>>, rails: &[bool]) {
        let push = |open: &mut Vec<(&'a Arc<Job>, Vec<bool>, bool)>,
                    jobs: &[&'a Arc<Job>],
                    rails: &[bool]| {
            for (at, job) in jobs.iter().enumerate().rev() {
                open.push((*job, rails.to_vec(), at + 1 < jobs.len()));
            }
        };
        let mut open = Vec::new();
        push(&mut open, &jobs, rails);
        let mut above: Vec<usize> = Vec::new();
        let base = rails.len();
        while let Some((job, rails, more)) = open.pop() {
            if !self.seen.insert(job.id.clone()) {
                continue;
            }
            above.truncate(rails.len() - base);
            for ancestor in &above {
                self.nodes[*ancestor].below += 1;
            }
            above.push(self.nodes.len());
            if let Some(children) = self.children.get(&job.id) {
                let mut deeper = rails.clone();
                deeper.push(more);
                push(&mut open, children, &deeper);
            }
            self.nodes.push(Node {
                job: Some(job.id.clone()),
                rails,
                more,
                below: 0,
            });
        }
    }

    fn group(&mut self, orphans: Vec<&'a Arc<Job>>) {
        let at = self.nodes.len();
        self.nodes.push(Node {
            job: None,
            rails: Vec::new(),
            more: false,
            below: 0,
        });
        self.grow(orphans, &[false]);
        self.nodes[at].below = self.nodes.len() - at - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::limits;
    use crate::state::model::traces::tests::{TICKET, of};
    use crate::state::model::traces::{path, undoes};
    use crate::state::script;

    /// The tree after a script, a line a node: `│` and blanks for the levels above.
    #[track_caller]
    fn check(script: &str, of: &TraceOf, expected: &[&str]) {
        let state = script::run(script).expect("a script");
        let lines: Vec<String> = tree(&state.model, of)
            .into_iter()
            .map(|node| {
                let rails = node
                    .rails
                    .iter()
                    .skip(1)
                    .map(|more| if *more { "│" } else { " " });
                let mut line: String = rails.collect();
                if !node.rails.is_empty() {
                    line.push(if node.more { '├' } else { '└' });
                }
                let name = node.job.as_ref().map_or("(parent not seen)", JobId::as_str);
                line.push_str(name);
                if node.below > 0 {
                    line.push_str(&format!(" +{}", node.below));
                }
                line
            })
            .collect();
        assert_eq!(lines, expected, "{script}");
    }

    #[test]
    fn children_stand_under_their_parent_by_step_and_unseen_parents_are_grouped() {
        check(
            TICKET,
            &of("wf"),
            &["a +3", "├b", "└c +1", " └d", "(parent not seen) +1", "└e"],
        );
        check(TICKET, &TraceOf::Trace("other".into()), &["x"]);
    }

    #[test]
    fn what_undoes_a_job_hangs_under_it_though_its_trace_is_its_own() {
        let script = "0s submit a topic=job.a trace=t workflow=wf undo=job.u | 1s succeed a w \
             | 2s submit u topic=job.u trace=u parent=a labels=saga_compensation:true,saga_workflow_id:wf";
        check(script, &of("wf"), &["a +1", "└u"]);
        let state = script::run(script).expect("a script");
        let u = state.model.jobs.get(&"u".into()).expect("a job");
        assert_eq!(undoes(&state.model, u), Some(&JobId::from("a")));
        // From the undo alone one still sees what it undoes.
        check(script, &TraceOf::Trace("u".into()), &["a +1", "└u"]);
    }

    #[test]
    fn jobs_that_are_their_own_ancestors_are_shown_once() {
        let script = "0s submit a topic=job.a trace=t parent=b | 1s submit b topic=job.b trace=t parent=a \
             | 2s submit c topic=job.c trace=t parent=c | 3s submit d topic=job.d trace=t parent=b";
        check(
            script,
            &TraceOf::Trace("t".into()),
            &["c", "a +2", "└b +1", " └d"],
        );
        let state = script::run(script).expect("a script");
        let jobs = members(&state.model, &TraceOf::Trace("t".into()));
        assert!(path(&state.model, &jobs, state.now).is_some());
    }

    #[test]
    fn a_chain_as_long_as_the_limit_is_walked() {
        let script: String = (0..limits::TRACE_JOBS + 5)
            .map(|n| {
                format!(
                    "{n}s submit j{n} topic=job.a trace=t parent=j{} |",
                    n.max(1) - 1
                )
            })
            .collect();
        let state = script::run(&script).expect("a script");
        let nodes = tree(&state.model, &TraceOf::Trace("t".into()));
        assert!(nodes.len() <= limits::TRACE_JOBS + 1);
        assert!(nodes.iter().any(|node| node.rails.len() > 100));
    }
}
