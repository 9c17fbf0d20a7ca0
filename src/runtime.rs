//! Runs the state: what comes in, the step loop, and the effects that go out.
