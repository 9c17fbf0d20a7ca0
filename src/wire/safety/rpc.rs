//! The gRPC service `cordum.agent.v1.SafetyKernel`, from either side.
//!
//! [`Client`] asks over a channel, [`routes`] serve whoever [`Answers`]. The
//! generated code stays in here.
//!
//! The message of an answer cannot tell "no retries at all" from "no word about
//! retries". Beside it, as metadata that others overlook, it can.

use std::sync::Arc;

use tonic::metadata::MetadataValue;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::convert;
use super::{PolicyAnswer, PolicyCheck};
use crate::time::BoxFuture;
use crate::wire::generated as pb;
use crate::wire::generated::safety_kernel_client::SafetyKernelClient;
use crate::wire::generated::safety_kernel_server::{
    SERVICE_NAME, SafetyKernel, SafetyKernelServer,
};

/// The full name of the service, as the health service knows it.
pub const NAME: &str = SERVICE_NAME;

/// The longest message that is read, in bytes. A question may bring 2 MiB of input
/// to look at, which is the limit of CAP deployments, and as much configuration.
pub const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// The metadata of an answer that allows no retries; its value is `0`.
pub const MAX_RETRIES: &str = "capdeck-max-retries";

/// Who answers the calls of the service.
pub trait Answers: Send + Sync + 'static {
    /// `Check` and `Evaluate`: what is decided; it may be counted.
    ///
    /// # Errors
    /// The status that the caller gets.
    fn check(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>>;

    /// `Simulate`: what would be decided; nothing is counted.
    ///
    /// # Errors
    /// The status that the caller gets.
    fn simulate(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>>;

    /// `Explain`: as `Simulate`; the answer has no room for more.
    ///
    /// # Errors
    /// The status that the caller gets.
    fn explain(&self, asked: PolicyCheck) -> BoxFuture<'_, Result<PolicyAnswer, Status>>;

    /// `ListSnapshots`: newest first, the first is in force.
    ///
    /// # Errors
    /// The status that the caller gets.
    fn snapshots(&self) -> BoxFuture<'_, Result<Vec<String>, Status>>;
}

/// The service, to be added to a server.
pub fn routes(answers: impl Answers) -> Routes {
    let service = SafetyKernelServer::new(Served(Arc::new(answers)))
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    Routes::new(service)
}

fn told(answer: PolicyAnswer) -> Response<pb::PolicyCheckResponse> {
    let limits = answer.constraints.as_ref();
    let budgets = limits.and_then(|limits| limits.budgets.as_ref());
    let no_retries = budgets.is_some_and(|budgets| budgets.max_retries == Some(0));
    let mut response = Response::new(convert::answer_to(answer));
    if no_retries {
        let none = MetadataValue::from_static("0");
        response.metadata_mut().insert(MAX_RETRIES, none);
    }
    response
}

fn heard(response: Response<pb::PolicyCheckResponse>) -> PolicyAnswer {
    let said = response.metadata().get(MAX_RETRIES);
    let no_retries = said.is_some_and(|said| said == "0");
    let mut answer = convert::answer_from(response.into_inner());
    if no_retries {
        let limits = answer.constraints.get_or_insert_default();
        let budgets = limits.budgets.get_or_insert_default();
        // What the message itself says goes before.
        budgets.max_retries.get_or_insert(0);
    }
    answer
}

struct Served<A>(Arc<A>);

#[tonic::async_trait]
impl<A: Answers> SafetyKernel for Served<A> {
    async fn check(
        &self,
        request: Request<pb::PolicyCheckRequest>,
    ) -> Result<Response<pb::PolicyCheckResponse>, Status> {
        let asked = convert::check_from(request.into_inner());
        let answer = self.0.check(asked).await?;
        Ok(told(answer))
    }

    async fn evaluate(
        &self,
        request: Request<pb::PolicyCheckRequest>,
    ) -> Result<Response<pb::PolicyCheckResponse>, Status> {
        self.check(request).await
    }

    async fn explain(
        &self,
        request: Request<pb::PolicyCheckRequest>,
    ) -> Result<Response<pb::PolicyCheckResponse>, Status> {
        let asked = convert::check_from(request.into_inner());
        let answer = self.0.explain(asked).await?;
        Ok(told(answer))
    }

    async fn simulate(
        &self,
        request: Request<pb::PolicyCheckRequest>,
    ) -> Result<Response<pb::PolicyCheckResponse>, Status> {
        let asked = convert::check_from(request.into_inner());
        let answer = self.0.simulate(asked).await?;
        Ok(told(answer))
    }

    async fn list_snapshots(
        &self,
        _: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let snapshots = self.0.snapshots().await?;
        Ok(Response::new(pb::ListSnapshotsResponse { snapshots }))
    }
}

/// Asks a kernel over a channel; clones share it.
#[derive(Clone, Debug)]
pub struct Client(SafetyKernelClient<Channel>);

impl Client {
    /// A client; nothing is sent yet.
    pub fn new(channel: Channel) -> Self {
        let client = SafetyKernelClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        Self(client)
    }

    /// `Check`.
    ///
    /// # Errors
    /// What the kernel or the line to it says.
    pub async fn check(mut self, asked: PolicyCheck) -> Result<PolicyAnswer, Status> {
        let answer = self.0.check(convert::check_to(asked)).await?;
        Ok(heard(answer))
    }

    /// `Simulate`.
    ///
    /// # Errors
    /// What the kernel or the line to it says.
    pub async fn simulate(mut self, asked: PolicyCheck) -> Result<PolicyAnswer, Status> {
        let answer = self.0.simulate(convert::check_to(asked)).await?;
        Ok(heard(answer))
    }

    /// `Explain`.
    ///
    /// # Errors
    /// What the kernel or the line to it says.
    pub async fn explain(mut self, asked: PolicyCheck) -> Result<PolicyAnswer, Status> {
        let answer = self.0.explain(convert::check_to(asked)).await?;
        Ok(heard(answer))
    }

    /// `ListSnapshots`.
    ///
    /// # Errors
    /// What the kernel or the line to it says.
    pub async fn snapshots(mut self) -> Result<Vec<String>, Status> {
        let listed = self.0.list_snapshots(pb::ListSnapshotsRequest {}).await?;
        Ok(listed.into_inner().snapshots)
    }
}
