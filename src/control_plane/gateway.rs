//! HTTP in, bus out: how people and programs without a bus reach the plane.

pub mod submission;
