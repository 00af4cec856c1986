//! Speaks each vendor's wire.
