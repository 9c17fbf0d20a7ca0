//! Requests and results as bytes that a control plane keeps for itself: the
//! protobuf message without an envelope, exactly as it was understood.

use prost::Message as _;
use thiserror::Error;

use super::convert;
use super::generated as pb;
use super::packet::{JobRequest, JobResult};

/// The bytes are no such message.
#[derive(Debug, Error)]
#[error("the stored {what} cannot be read")]
pub struct Unreadable {
    what: &'static str,
    #[source]
    source: prost::DecodeError,
}

/// The bytes of a request; [`job_request`] gives it back.
pub fn job_request_bytes(request: &JobRequest) -> Vec<u8> {
    convert::job_request_to(request).encode_to_vec()
}

/// The request behind `bytes`.
///
/// # Errors
/// [`Unreadable`] when they are none.
pub fn job_request(bytes: &[u8]) -> Result<JobRequest, Unreadable> {
    let what = "request";
    let message = pb::JobRequest::decode(bytes).map_err(|source| Unreadable { what, source })?;
    Ok(convert::job_request_from(message))
}

/// The bytes of a result; [`job_result`] gives it back.
pub fn job_result_bytes(result: &JobResult) -> Vec<u8> {
    convert::job_result_to(result).encode_to_vec()
}

/// The result behind `bytes`.
///
/// # Errors
/// [`Unreadable`] when they are none.
pub fn job_result(bytes: &[u8]) -> Result<JobResult, Unreadable> {
    let what = "result";
    let message = pb::JobResult::decode(bytes).map_err(|source| Unreadable { what, source })?;
    Ok(convert::job_result_from(message))
}
