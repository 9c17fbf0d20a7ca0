//! What went wrong with a job, from the result that says so.

use crate::wire::packet::{ErrorCode, JobResult, JobStatus, WireEnum as _};

/// What went wrong, as one code: the sender's words, else the wire's name of the
/// number, else the status, of which [`UNKNOWN_STATUS`] stands for all that the contract
/// does not have.
pub fn error_code_of(result: &JobResult) -> String {
    if !result.error_code.is_empty() {
        result.error_code.clone()
    } else if result.error_code_enum != ErrorCode::Unspecified {
        format!("ERROR_CODE_{}", result.error_code_enum.name())
    } else if result.status == JobStatus::Succeeded {
        String::new()
    } else if result.status.is_known() {
        result.status.name().to_lowercase()
    } else {
        UNKNOWN_STATUS.to_owned()
    }
}

/// The code of a result whose status the contract does not have.
pub const UNKNOWN_STATUS: &str = "unknown_status";

/// What went wrong, for people: the sender's words, after the number of a status that the
/// contract does not have.
pub fn error_message_of(result: &JobResult) -> String {
    let JobStatus::Unknown(number) = result.status else {
        return result.error_message.clone();
    };
    let says = format!("the worker reported status {number}, which the contract does not have");
    match result.error_message.as_str() {
        "" => says,
        words => format!("{says}: {words}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_code_even_when_its_sender_gave_only_a_number() {
        let code = |error_code: &str, number| {
            error_code_of(&JobResult {
                status: JobStatus::FailedFatal,
                error_code: error_code.to_owned(),
                error_code_enum: number,
                ..JobResult::default()
            })
        };
        assert_eq!(code("E_DISK", ErrorCode::JobTimeout), "E_DISK");
        assert_eq!(code("", ErrorCode::JobTimeout), "ERROR_CODE_JOB_TIMEOUT");
        assert_eq!(code("", ErrorCode::Unspecified), "failed_fatal");
    }

    #[test]
    fn a_status_that_the_contract_does_not_have_is_named_and_its_number_is_told() {
        let odd = |error_code: &str, error_message: &str| {
            let result = JobResult {
                status: JobStatus::Unknown(99),
                error_code: error_code.to_owned(),
                error_message: error_message.to_owned(),
                ..JobResult::default()
            };
            (error_code_of(&result), error_message_of(&result))
        };
        let says = "the worker reported status 99, which the contract does not have";
        assert_eq!(odd("", ""), ("unknown_status".to_owned(), says.to_owned()));
        let with_words = ("E_DISK".to_owned(), format!("{says}: the disk is full"));
        assert_eq!(odd("E_DISK", "the disk is full"), with_words);
    }
}
