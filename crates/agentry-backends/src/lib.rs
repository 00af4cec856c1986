//! Every stateful product outside, and its in-memory model.
