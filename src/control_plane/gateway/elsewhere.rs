//! Requests that another plane has to answer: passed on to the plane that leads, and
//! answered here for planes that do not.
//!
//! What is asked and what is answered lies in the store, under keys that live for half a
//! minute; the bus only says that it is there. So a request is as trustworthy as the
//! record itself: whoever could forge one could write the record, and whoever can only
//! speak on the bus can ask for nothing. The caller was judged where it called.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::App;
use super::admission::TRACE_ID;
use super::answer::Refusal;
use super::guard::{MAX_BODY, OPEN, too_long};
use super::keys::{Caller, Role};
use crate::bus::{Bus, BusError, Pattern, Subject, Subscription};
use crate::control_plane::keeper::{Keeper, NotKept, Standing};
use crate::store::Store;
use crate::time::{Clock, Elapsed, sleep};

/// How long an answer to what changes something is waited for: longer than any of ours
/// takes, shorter than callers wait.
const CHANGE_LIMIT: Elapsed = Elapsed::from_secs(8);
/// The same for what only reads, for which callers wait 5 s.
const READ_LIMIT: Elapsed = Elapsed::from_secs(4);
/// How long a question or an answer lies in the store.
const LIES: Elapsed = Elapsed::from_secs(30);
/// Requests of others that are answered at a time.
const AT_ONCE: usize = 256;
/// Bytes of an answer at most: a payload of 2 MiB in base64 and in words.
const MAX_ANSWER: usize = 8 << 20;
/// Headers of an answer that go with it.
static CARRIED: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::ALLOW,
    TRACE_ID,
];

/// What every plane answers for itself.
const HERE: [&str; 3] = ["/api/v1/status", "/api/v1/stream", "/api/v1/openapi.json"];

/// A plane's post: what it sent to others and awaits.
pub(super) struct Post {
    keeper: Arc<Keeper>,
    bus: Arc<dyn Bus>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    awaited: Mutex<HashMap<String, oneshot::Sender<()>>>,
    sent: AtomicU64,
}

#[derive(Serialize, Deserialize)]
struct Question {
    from: String,
    method: String,
    uri: String,
    content_type: Option<String>,
    role: String,
    tenant: Option<String>,
    name: Option<String>,
    key_id: String,
    personal: bool,
    #[serde(default)]
    named_by_key: bool,
    body: String,
}

#[derive(Serialize, Deserialize)]
struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

fn asked_key(id: &str) -> String {
    format!("capdeck:asked:{id}")
}

fn answered_key(id: &str) -> String {
    format!("capdeck:answered:{id}")
}

fn subject(plane: &str, what: &str) -> Result<Subject, BusError> {
    Subject::parse(&format!("capdeck.plane.{plane}.{what}"))
}

impl Post {
    pub(super) fn new(
        keeper: Arc<Keeper>,
        bus: Arc<dyn Bus>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            keeper,
            bus,
            store,
            clock,
            awaited: Mutex::default(),
            sent: AtomicU64::new(1),
        }
    }

    /// Where this plane stands, for whoever asks.
    pub(super) fn standing(&self) -> Value {
        let name = self.keeper.name();
        let (leads, leader) = match &*self.keeper.standing().borrow() {
            Standing::Leads { .. } => (true, Some(name.to_owned())),
            Standing::By { leader } => (false, leader.clone()),
        };
        json!({
            "name": name, "leads": leads, "leader": leader,
            "policy_differs": self.keeper.policy_differs(),
        })
    }

    /// Begins to listen for questions and answers.
    ///
    /// # Errors
    /// [`BusError`] when there is no bus to listen to.
    pub(super) async fn listen(&self) -> Result<Ears, BusError> {
        let name = self.keeper.name();
        let hear = async |what| {
            let pattern = Pattern::from(&subject(name, what)?);
            self.bus.subscribe(&pattern, None).await
        };
        Ok(Ears {
            questions: hear("asked").await?,
            answers: hear("answered").await?,
        })
    }

    /// Takes what comes until `stop`; questions are answered by `router`.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut ears: Ears,
        router: Router,
        stop: CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        loop {
            let (heard, is_question) = tokio::select! {
                () = stop.cancelled() => return,
                heard = ears.answers.recv() => (heard, false),
                heard = ears.questions.recv() => (heard, true),
                Some(_ended) = running.join_next() => continue,
            };
            let Some(heard) = heard else { return };
            let Ok(id) = std::str::from_utf8(&heard.payload) else {
                continue;
            };
            if !is_question {
                if let Some(waiting) = self.awaited().remove(id) {
                    // It may have given up just now.
                    let _heard = waiting.send(());
                }
                continue;
            }
            // Whoever finds no place hears nothing, and says so to its caller.
            if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                let (post, router, id) = (Arc::clone(&self), router.clone(), id.to_owned());
                running.spawn(async move {
                    post.answer(&id, router).await;
                    drop(place);
                });
            }
        }
    }

    fn awaited(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, id: &str, router: Router) {
        let question = match self.store.get(&asked_key(id)).await {
            Ok(Some(question)) => question,
            Ok(None) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return tracing::warn!(error, id, "a request of another plane cannot be read");
            }
        };
        // Whoever takes it away answers it, once.
        if !self.store.delete(&asked_key(id)).await.unwrap_or(false) {
            return;
        }
        let Some((from, request)) = Question::read(&question) else {
            return tracing::warn!(id, "a request of another plane is none");
        };
        let Ok(response) = router.oneshot(request).await;
        let reply = Reply::of(response).await;
        let lies = self
            .store
            .put(&answered_key(id), reply, Some(LIES))
            .await
            .map_err(|error| error.to_string());
        let told = match (lies, subject(&from, "answered")) {
            (Ok(()), Ok(subject)) => {
                let id = Bytes::copy_from_slice(id.as_bytes());
                let told = self.bus.publish(&subject, id).await;
                told.map_err(|error| error.to_string())
            }
            (Err(error), _) => Err(error),
            (_, Err(error)) => Err(error.to_string()),
        };
        if let Err(error) = told {
            tracing::warn!(error, id, "another plane does not get its answer");
        }
    }

    /// Asks the plane that leads.
    async fn ask(&self, leader: &str, question: Question) -> Result<Response, Refusal> {
        let away = |error: &dyn std::fmt::Display| {
            no_leader(format!("the plane that leads cannot be asked: {error}"))
        };
        let limit = match question.method.as_str() {
            "GET" | "HEAD" => READ_LIMIT,
            _ => CHANGE_LIMIT,
        };
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{number}", self.keeper.name());
        let text = serde_json::to_vec(&question).map_err(|error| away(&error))?;
        self.store
            .put(&asked_key(&id), Bytes::from(text), Some(LIES))
            .await
            .map_err(|error| away(&error))?;
        let (done, answered) = oneshot::channel();
        let awaits = Awaits::answer(self, &id, done);
        let subject = subject(leader, "asked").map_err(|error| away(&error))?;
        let said = self.bus.publish(&subject, Bytes::from(id.clone())).await;
        said.map_err(|error| away(&error))?;
        tokio::select! {
            _told = answered => {}
            () = sleep(&*self.clock, limit) => {}
        }
        drop(awaits);
        let key = answered_key(&id);
        // Looked for in any case: the word that it is there may be lost.
        let reply = self.store.get(&key).await.map_err(|error| away(&error))?;
        let Some(reply) = reply else {
            // What was not taken up is taken back; what was may have been done.
            let untouched = self.store.delete(&asked_key(&id)).await.unwrap_or(false);
            return Err(if untouched {
                no_leader(format!(
                    "the plane {leader} leads and does not answer on the bus of this one; nothing was done"
                ))
            } else {
                Refusal::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "leader_timeout",
                    format!(
                        "the plane {leader} did not answer in time; it is not known what was done"
                    ),
                )
            });
        };
        // It would go by itself.
        drop(self.store.delete(&key).await);
        Reply::read(&reply).ok_or_else(|| away(&"its answer cannot be read"))
    }
}

/// An answer that is awaited, until whoever awaits it is gone.
struct Awaits<'a> {
    post: &'a Post,
    id: &'a str,
}

impl<'a> Awaits<'a> {
    fn answer(post: &'a Post, id: &'a str, done: oneshot::Sender<()>) -> Self {
        post.awaited().insert(id.to_owned(), done);
        Self { post, id }
    }
}

impl Drop for Awaits<'_> {
    fn drop(&mut self) {
        self.post.awaited().remove(self.id);
    }
}

/// What a post hears.
pub(super) struct Ears {
    questions: Subscription,
    answers: Subscription,
}

impl Question {
    async fn of(from: &str, request: Request) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY).await.map_err(|_| too_long())?;
        let caller = parts.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| {
            let says = "a request came past the guard";
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", says)
        })?;
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        Ok(Self {
            from: from.to_owned(),
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            content_type: content_type
                .and_then(|it| it.to_str().ok())
                .map(str::to_owned),
            role: caller.role.name().to_owned(),
            tenant: caller.tenant.clone(),
            name: caller.name.clone(),
            key_id: caller.key_id.clone(),
            personal: caller.personal,
            named_by_key: caller.named_by_key,
            body: STANDARD.encode(body),
        })
    }

    fn read(text: &[u8]) -> Option<(String, Request)> {
        let asked: Self = serde_json::from_slice(text).ok()?;
        let mut request = Request::builder()
            .method(asked.method.parse::<Method>().ok()?)
            .uri(&asked.uri);
        if let Some(kind) = &asked.content_type {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let body = HttpBody::from(STANDARD.decode(asked.body).ok()?);
        let mut request = request.body(body).ok()?;
        request.extensions_mut().insert(Caller {
            role: Role::from_name(&asked.role)?,
            tenant: asked.tenant,
            name: asked.name,
            key_id: asked.key_id,
            personal: asked.personal,
            named_by_key: asked.named_by_key,
        });
        request.extensions_mut().insert(Passed);
        Some((asked.from, request))
    }
}

impl Reply {
    async fn of(response: Response) -> Bytes {
        let (parts, body) = response.into_parts();
        let headers = CARRIED.iter().filter_map(|name| {
            let value = parts.headers.get(name)?.to_str().ok()?;
            Some((name.to_string(), value.to_owned()))
        });
        let headers = headers.collect();
        let (status, body) = match to_bytes(body, MAX_ANSWER).await {
            Ok(body) => (parts.status, body),
            Err(_) => (StatusCode::BAD_GATEWAY, Bytes::new()),
        };
        let reply = Self {
            status: status.as_u16(),
            headers,
            body: STANDARD.encode(body),
        };
        Bytes::from(serde_json::to_vec(&reply).unwrap_or_default())
    }

    fn read(text: &[u8]) -> Option<Response> {
        let reply: Self = serde_json::from_slice(text).ok()?;
        let mut response = Response::new(HttpBody::from(STANDARD.decode(reply.body).ok()?));
        *response.status_mut() = StatusCode::from_u16(reply.status).ok()?;
        for (name, value) in reply.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let value = HeaderValue::from_str(&value).ok()?;
            response.headers_mut().insert(name, value);
        }
        Some(response)
    }
}

/// Marks a request that was passed on, which is not passed on again.
#[derive(Clone, Copy)]
struct Passed;

fn no_leader(says: String) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", says).retry_after(2)
}

/// Lets the plane that leads answer. Where this one leads, an answer to what changes
/// something leaves only when the change is on record.
pub(super) async fn where_it_belongs(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(post) = &app.post else {
        return next.run(request).await;
    };
    let path = request.uri().path();
    if HERE.contains(&path) || OPEN.contains(&path) {
        return next.run(request).await;
    }
    match post.keeper.sure_standing().await {
        Standing::Leads { .. } => {
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            let response = next.run(request).await;
            if reads {
                return response;
            }
            match post.keeper.keep().await {
                Ok(()) => response,
                Err(error) => not_kept(&error).into_response(),
            }
        }
        Standing::By {
            leader: Some(leader),
        } if request.extensions().get::<Passed>().is_none() => {
            let asked = async {
                let question = Question::of(post.keeper.name(), request).await?;
                post.ask(&leader, question).await
            };
            asked
                .await
                .unwrap_or_else(|refusal| refusal.into_response())
        }
        Standing::By { .. } => {
            let says = "no plane leads at the moment; nothing was done".to_owned();
            no_leader(says).into_response()
        }
    }
}

fn not_kept(error: &NotKept) -> Refusal {
    let says = match error {
        NotKept::Deposed => {
            "another plane has begun to lead; look there what has become of this".to_owned()
        }
        NotKept::Away(error) => {
            format!(
                "this is not on record, because {error}; it is tried again, look what becomes of it"
            )
        }
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_on_record", says).retry_after(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::local::LocalBus;
    use crate::control_plane::keeper;
    use crate::control_plane::ledger::Ledger;
    use crate::store::memory::MemoryStore;
    use crate::time::{ManualClock, Timestamp};

    /// A plane that stands by, on a bus where nobody leads.
    fn post(clock: &ManualClock) -> Post {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        let bus: Arc<dyn Bus> = Arc::new(LocalBus::new());
        let parts = keeper::Parts {
            store: Arc::clone(&store),
            bus: Arc::clone(&bus),
            clock: Arc::clone(&clock),
            ledger: Arc::new(Mutex::new(Ledger::new(1, 0))),
            kernel: None,
            wake: Arc::default(),
        };
        let keeper = Arc::new(Keeper::new(parts, "capdeck-b".to_owned()));
        Post::new(keeper, bus, store, clock)
    }

    async fn question(method: Method) -> Question {
        let mut request = Request::new(HttpBody::empty());
        *request.method_mut() = method;
        request.extensions_mut().insert(Caller {
            role: Role::Admin,
            tenant: None,
            name: None,
            key_id: String::new(),
            personal: false,
            named_by_key: false,
        });
        let question = Question::of("capdeck-b", request).await;
        question.expect("a question")
    }

    #[tokio::test]
    async fn whoever_reads_is_told_that_nobody_leads_before_they_give_up() {
        let clock = ManualClock::at(Timestamp::from_millis(0));
        let post = post(&clock);
        for (method, limit) in [(Method::GET, READ_LIMIT), (Method::POST, CHANGE_LIMIT)] {
            let question = question(method).await;
            let mut asking = std::pin::pin!(post.ask("capdeck-a", question));
            assert!(futures_util::poll!(&mut asking).is_pending());
            clock.advance(Elapsed::from_millis(limit.as_millis() - 1));
            assert!(futures_util::poll!(&mut asking).is_pending());
            clock.advance(Elapsed::from_millis(1));
            let refusal = asking.await.expect_err("nobody answers");
            let status = refusal.into_response().status();
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test]
    async fn a_caller_who_hangs_up_is_forgotten() {
        let post = post(&ManualClock::at(Timestamp::from_millis(0)));
        let question = question(Method::GET).await;
        {
            let asking = std::pin::pin!(post.ask("capdeck-a", question));
            assert!(futures_util::poll!(asking).is_pending());
            assert_eq!(post.awaited().len(), 1);
        }
        assert_eq!(post.awaited().len(), 0);
    }
}
