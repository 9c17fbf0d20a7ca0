//! The one integration binary: a file a topic.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a test that cannot go on says so by panicking, and may read the clock and the environment"
)]

mod acting;
mod agents;
mod bus;
mod cli;
mod color;
mod config;
mod decide;
mod foreign;
mod gateway;
mod generated;
mod kernel_grpc;
mod keys;
mod moved;
mod older_gateway;
mod outage;
mod panics;
mod peers;
mod pipes;
mod plane;
mod policy;
mod properties;
mod readme;
mod records;
mod refusals;
mod running;
mod screens;
mod shared;
mod standin;
mod store;
mod support;
mod terminal;
mod tidy;
mod together;
mod traps;
mod verbs;
mod written_first;
