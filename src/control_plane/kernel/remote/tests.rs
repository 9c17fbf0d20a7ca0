//! Both sides of the service on a real line.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Server;

use super::*;
use crate::control_plane::kernel::Decision;
use crate::control_plane::kernel::cases::{policy, question};
use crate::control_plane::kernel::live::PolicyKernel;
use crate::control_plane::kernel::serve::{KernelServer, Options, ServeError};
use crate::time::{Clock, SystemClock};
use crate::wire::safety::rpc::{self, Answers};
use crate::wire::safety::{DecisionType, PolicyAnswer};

/// How long anything may take that should take an instant.
const PATIENCE: Duration = Duration::from_secs(20);

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn at(url: impl Into<String>) -> Address {
    Address {
        url: url.into(),
        ca: None,
        identity: None,
    }
}

fn kernel_at(addr: SocketAddr) -> RemoteKernel {
    RemoteKernel::new(&at(format!("http://{addr}"))).expect("an address")
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn serve(text: &str) -> (KernelServer, RemoteKernel) {
    let kernel = Arc::new(PolicyKernel::new(policy(text), clock()));
    let options = Options {
        listen: loopback(),
        tls: None,
        plaintext: false,
    };
    let server = KernelServer::start(kernel, &options, clock())
        .await
        .expect("it listens");
    let remote = kernel_at(server.addr());
    (server, remote)
}

#[tokio::test]
async fn a_kernel_elsewhere_decides_and_counts_as_the_one_here_does() {
    let text = "version: v7
rules:
  - {id: fast, velocity: {max_requests: 1, window_seconds: 3600, key: tenant}, match: {topics: ['job.a']}, decision: throttle, reason: too fast}
  - {id: rest, match: {topics: ['job.*']}, decision: allow, constraints: {max_runtime_sec: 5}}
";
    let (server, remote) = serve(text).await;
    let asked = |job: &str| Question {
        job_id: job.into(),
        ..question("topic=job.a tenant=acme")
    };
    let rule = |verdict: Result<Verdict, KernelError>| verdict.expect("a verdict").rule_id;
    let (rest, fast) = (Some("rest".to_owned()), Some("fast".to_owned()));
    assert_eq!(rule(remote.simulate(&asked("j1")).await), rest);
    assert_eq!(rule(remote.check(&asked("j1")).await), rest);
    let explained = remote.explain(&asked("j2")).await.expect("explained");
    assert_eq!(explained.rules, None);
    assert_eq!(explained.verdict.rule_id, fast);
    assert_eq!(rule(remote.simulate(&asked("j2")).await), fast);
    let verdict = remote.check(&asked("j2")).await.expect("a verdict");
    assert_eq!(verdict.decision, Decision::Throttle);
    assert_eq!(verdict.reason, "too fast");
    let snapshots = remote.snapshots().await.expect("snapshots");
    assert_eq!(snapshots, [verdict.snapshot]);
    let denied = remote.check(&Question::default()).await.expect("a verdict");
    assert_eq!(denied.reason, "missing topic");
    server.shutdown().await;
}

#[tokio::test]
async fn a_list_of_snapshots_is_answered_without_a_look_at_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("policy.yaml");
    std::fs::write(&path, "version: v1\nrules: []\n").expect("a file");
    let kernel = Arc::new(PolicyKernel::from_file(&path, clock()).expect("a policy"));
    let options = Options {
        listen: loopback(),
        tls: None,
        plaintext: false,
    };
    let server = KernelServer::start(kernel.clone(), &options, clock());
    let server = server.await.expect("it listens");
    let remote = kernel_at(server.addr());
    std::fs::write(&path, "version: v2\nrules: []\n").expect("a file");
    let versions = async || {
        let snapshots = remote.snapshots().await.expect("snapshots");
        let versions = snapshots.iter().map(|it| it[..2].to_owned());
        versions.collect::<Vec<_>>()
    };
    assert_eq!(versions().await, ["v1"]);
    kernel.refresh().await;
    assert_eq!(versions().await, ["v2", "v1"]);
    server.shutdown().await;
}

#[tokio::test]
async fn a_kernel_that_is_away_says_where_it_should_be_and_why_it_is_not() {
    let free = TcpListener::bind(loopback()).await.expect("a port");
    let addr = free.local_addr().expect("bound");
    drop(free);
    let remote = kernel_at(addr);
    let error = remote.check(&question("topic=job.a")).await;
    let error = error.expect_err("nobody is there").to_string();
    let begins = format!("the safety kernel does not answer: http://{addr}: ");
    assert!(error.starts_with(&begins), "{error}");
    assert!(error.contains("Connection refused"), "{error}");
    assert!(remote.snapshots().await.is_err());
}

/// Accepts one connection after the other and never says anything.
async fn silent() -> (SocketAddr, JoinHandle<()>, tokio::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind(loopback()).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let (told, accepted) = tokio::sync::mpsc::channel(8);
    let task = tokio::spawn(async move {
        let mut lines = Vec::new();
        while let Ok((line, _)) = listener.accept().await {
            lines.push(line);
            if told.send(()).await.is_err() {
                return;
            }
        }
    });
    (addr, task, accepted)
}

#[tokio::test]
async fn a_question_that_was_given_up_is_followed_by_one_on_a_new_line() {
    let (addr, task, mut accepted) = silent().await;
    let remote = kernel_at(addr);
    let asked = question("topic=job.a");
    for _ in 0..3 {
        let (one, other) = (remote.check(&asked), remote.check(&asked));
        tokio::select! {
            _ = one => panic!("it said something"),
            _ = other => panic!("it said something"),
            line = timeout(PATIENCE, accepted.recv()) => assert_eq!(line, Ok(Some(()))),
        }
    }
    // Two at a time, and one line for both.
    assert!(accepted.try_recv().is_err());
    task.abort();
}

/// Answers as no kernel of ours would.
struct Odd(DecisionType);

impl Answers for Odd {
    fn check(&self, _: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>> {
        let answer = PolicyAnswer {
            decision: self.0,
            ..PolicyAnswer::default()
        };
        Box::pin(std::future::ready(Ok(answer)))
    }

    fn simulate(&self, _: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>> {
        let status = Status::internal("out of order");
        Box::pin(std::future::ready(Err(status)))
    }

    fn explain(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>> {
        self.check(asked)
    }

    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, Status>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

#[tokio::test]
async fn an_answer_that_is_not_understood_is_an_error_in_words() {
    let listener = TcpListener::bind(loopback()).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    let lines = futures_util::stream::unfold(listener, |listener| async move {
        let line = listener.accept().await.map(|(line, _)| line);
        Some((line, listener))
    });
    let odd = rpc::routes(Odd(DecisionType::Unknown(42)));
    let served = Server::builder().add_routes(odd).serve_with_incoming(lines);
    let task = tokio::spawn(served);
    let remote = kernel_at(addr);
    let asked = question("topic=job.a");
    let not_understood = |says: &str| KernelError::NotUnderstood(says.to_owned());
    assert_eq!(
        remote.check(&asked).await,
        Err(not_understood(
            "there is no decision number 42 in the contract"
        ))
    );
    assert_eq!(
        remote.snapshots().await,
        Err(not_understood("it does not say which policy is in force"))
    );
    let error = remote.simulate(&asked).await.expect_err("a status");
    assert_eq!(
        error.to_string(),
        format!("the safety kernel does not answer: http://{addr}: Internal: out of order")
    );
    task.abort();
}

#[test]
fn an_address_that_is_none_is_refused_with_the_reason() {
    for (url, says) in [
        ("127.0.0.1:50051", "one begins with http:// or https://"),
        ("grpc://k:1", "one begins with http:// or https://"),
        (
            "http://k",
            "it needs a host and a port, such as http://127.0.0.1:50051",
        ),
        (
            "http://:50051",
            "it needs a host and a port, such as http://127.0.0.1:50051",
        ),
        (
            "http://k:port",
            "it needs a host and a port, such as http://127.0.0.1:50051",
        ),
        (
            "http://k:50051/v1",
            "it needs a host and a port, such as http://127.0.0.1:50051",
        ),
        ("http://k k:50051", "it is no address"),
    ] {
        let error = RemoteKernel::new(&at(url)).expect_err(url).to_string();
        let expected = format!("`{url}` is not the address of a safety kernel: {says}");
        assert_eq!(error, expected);
    }
    let secret = RemoteKernel::new(&at("http://me:pw@k:50051"));
    assert_eq!(
        secret.expect_err("credentials").to_string(),
        "`http://k:50051` is not the address of a safety kernel: it holds credentials, which \
         gRPC has no place for"
    );
    let unencrypted = Address {
        ca: Some("/ca.pem".into()),
        ..at("http://k:50051")
    };
    let error = RemoteKernel::new(&unencrypted).expect_err("no TLS");
    assert!(error.to_string().contains("http:// is not encrypted"));
    let unreadable = Address {
        ca: Some("/nowhere/ca.pem".into()),
        ..at("https://k:50051")
    };
    let error = RemoteKernel::new(&unreadable).expect_err("no file");
    assert_eq!(error.to_string(), "cannot read `/nowhere/ca.pem`");
}

#[test]
fn an_authority_without_certificates_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, "no certificate").expect("a file");
    let address = Address {
        ca: Some(ca.clone()),
        ..at("https://k:50051")
    };
    let error = RemoteKernel::new(&address).expect_err("no certificate");
    let says = format!("`{}` holds no PEM certificates", ca.display());
    assert_eq!(error.to_string(), says);
}

#[test]
fn what_leaves_this_machine_unencrypted_is_exposed() {
    for (url, exposed) in [
        ("http://127.0.0.1:50051", false),
        ("http://[::1]:50051", false),
        ("http://localhost:50051", false),
        ("https://kernel.eu:50051", false),
        ("http://kernel.eu:50051", true),
        ("http://10.0.0.1:50051", true),
        ("http://localhost.eu:50051", true),
    ] {
        assert_eq!(at(url).is_exposed(), exposed, "{url}");
    }
}

#[tokio::test]
async fn nobody_serves_where_others_reach_it_without_encryption_or_leave() {
    let kernel = Arc::new(PolicyKernel::new(policy("rules: []"), clock()));
    let mut options = Options {
        listen: SocketAddr::from(([0, 0, 0, 0], 0)),
        tls: None,
        plaintext: false,
    };
    let started = KernelServer::start(kernel.clone(), &options, clock()).await;
    let refused = matches!(started, Err(ServeError::Plaintext { .. }));
    assert!(refused, "{started:?}");
    options.plaintext = true;
    let started = KernelServer::start(kernel, &options, clock()).await;
    started.expect("by leave").shutdown().await;
}
