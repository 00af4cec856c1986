//! What happens to one model call.
