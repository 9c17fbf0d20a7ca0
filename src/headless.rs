//! The model without a screen: tables and JSON.
