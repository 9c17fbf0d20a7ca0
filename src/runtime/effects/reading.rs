//! What is read for the model: payloads, the pages of jobs, the jobs of a trace. Nothing
//! here changes anything outside.

use std::sync::Arc;

use super::{Outside, before_sending, failed};
use crate::gateway_client::GatewayError;
use crate::ids::JobId;
use crate::runtime::records::{self, Depth, Troubles};
use crate::runtime::{backfill, facts};
use crate::state::effect::{Outcome, Refusal, Refuser};
use crate::state::event::Event;
use crate::state::model::approvals::{Content, Payload};
use crate::state::model::jobs::JobFact;
use crate::wire::pointer::Pointer;

impl Outside {
    pub(super) async fn payload(&self, job: &JobId, pointer: &str) -> Payload {
        let at = self.clock.now();
        let unreadable = |why: String| {
            let mut payload = facts::payload(job, pointer, at, 0, None);
            payload.content = Content::Unreadable(Arc::from(why));
            payload
        };
        let mut missed = None;
        if let Some(store) = &self.sources.store {
            let keys = match Pointer::parse(pointer) {
                Ok(Pointer::Stored { keys, .. }) => keys,
                Ok(Pointer::Opaque { scheme }) => {
                    return unreadable(format!("{scheme}:// is not read from here"));
                }
                Err(error) => return unreadable(error.to_string()),
            };
            for key in keys {
                let found = match store.len(&key).await {
                    Ok(Some(size)) if size > facts::MAX_PAYLOAD => {
                        return facts::payload(job, pointer, at, size, Some(&[]));
                    }
                    Ok(Some(_)) => store.get(&key).await,
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                };
                match found {
                    Ok(Some(bytes)) => {
                        let size = bytes.len() as u64;
                        return facts::payload(job, pointer, at, size, Some(&bytes));
                    }
                    Ok(None) => missed = Some(facts::payload(job, pointer, at, 0, None)),
                    Err(error) => missed = Some(unreadable(backfill::chain(&error))),
                }
            }
        }
        let Some(gateway) = &self.sources.gateway else {
            return missed.unwrap_or_else(|| {
                unreadable("payloads are read from a gateway or a store".to_owned())
            });
        };
        match gateway.memory(pointer).await {
            Ok(it) => facts::payload(job, pointer, at, it.size_bytes, Some(&it.bytes)),
            Err(GatewayError::NotFound { .. }) => facts::payload(job, pointer, at, 0, None),
            Err(error) => missed.unwrap_or_else(|| unreadable(error.to_string())),
        }
    }

    pub(super) async fn read_job(&self, job: &JobId) -> Outcome {
        let fact = match self.page(job).await {
            Ok(fact) => fact,
            Err(outcome) => return outcome,
        };
        self.answer(Event::Jobs(vec![fact])).await;
        self.refresh.notify_waiters();
        Outcome::Done(None)
    }

    /// Reads the jobs of traces. A gateway tells of workflows by the same route if it is
    /// one of ours; one that has no such route has nothing to tell.
    pub(super) async fn read_trace(&self, names: &[Arc<str>]) -> Outcome {
        for name in names {
            let told = match (&self.sources.gateway, &self.sources.store) {
                (Some(gateway), _) => match gateway.trace(name).await {
                    Ok(list) => list.items.iter().map(facts::job_fact).collect(),
                    Err(GatewayError::NotFound { .. }) => Vec::new(),
                    Err(error) => return before_sending(&error),
                },
                (None, Some(store)) => {
                    let mut troubles = Troubles::default();
                    let read = records::of_trace(store, name, &mut troubles).await;
                    troubles.log();
                    match read {
                        Ok(jobs) => jobs,
                        Err(error) => return failed(&backfill::chain(&error)),
                    }
                }
                (None, None) => {
                    return failed("the jobs of a trace are read from a gateway or from Redis");
                }
            };
            if !told.is_empty() {
                self.answer(Event::Jobs(told)).await;
            }
        }
        Outcome::Done(None)
    }

    /// Reads the pages of jobs. One that the plane forgot has nothing to tell.
    pub(super) async fn read_lives(&self, jobs: &[JobId]) -> Outcome {
        for job in jobs {
            match self.page(job).await {
                Ok(fact) => self.answer(Event::Jobs(vec![fact])).await,
                Err(Outcome::Refused(refusal)) if refusal.status == 404 => {}
                Err(outcome) => return outcome,
            }
        }
        Outcome::Done(None)
    }

    /// All that the gateway, or the store without one, has of a job.
    async fn page(&self, job: &JobId) -> Result<JobFact, Outcome> {
        Ok(match (&self.sources.gateway, &self.sources.store) {
            (Some(gateway), _) => match gateway.job(job).await {
                Ok(detail) => {
                    let mut fact = facts::detail_fact(&detail);
                    // The page is whole without them, and the older generation has none.
                    if let Ok(list) = gateway.decisions(job).await {
                        facts::with_decisions(&mut fact, &list.items);
                    }
                    self.completed(fact).await
                }
                Err(error) => return Err(before_sending(&error)),
            },
            (None, Some(store)) => {
                let mut troubles = Troubles::default();
                let read = records::record(&**store, job, None, Depth::Page, &mut troubles).await;
                troubles.log();
                match read {
                    Ok(Some(record)) => record.job,
                    Ok(None) => {
                        return Err(Outcome::Refused(Refusal {
                            by: Refuser::Plane,
                            status: 404,
                            code: Arc::from("not_found"),
                            text: Arc::from("Redis has no record of it"),
                        }));
                    }
                    Err(error) => return Err(failed(&backfill::chain(&error))),
                }
            }
            (None, None) => {
                return Err(failed(
                    "a job's own page is read from a gateway or from Redis",
                ));
            }
        })
    }

    /// A gateway's page of a job with what only the store has of it.
    async fn completed(&self, fact: JobFact) -> JobFact {
        let Some(store) = &self.sources.store else {
            return fact;
        };
        let mut more = fact.clone();
        match records::complete(&**store, &mut more).await {
            Ok(()) => more,
            // That the store is away, its lamp says; the gateway's page is whole.
            Err(_) => fact,
        }
    }
}
