//! The pointer grammars.
