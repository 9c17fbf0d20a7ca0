//! The operator's log: append-only, hash-chained, verifiable.
