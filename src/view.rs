//! Selectors: from the state to plain rows, without styling and without width.
