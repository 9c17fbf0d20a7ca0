//! A typed HTTP client for any CAP gateway, of both API generations.
