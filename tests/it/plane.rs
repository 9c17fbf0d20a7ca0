//! Tests of plane.
