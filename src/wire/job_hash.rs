//! The job hash that binds an approval to what was asked.
